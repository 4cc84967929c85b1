"""`auto`: what steers one row by what its ensemble has measured, and decides again as the text changes.

A pilot looks at times, at what is committed and at proposals that stay proposals, so the law of the text is not its
business: it changes only who runs next and how far ahead tokens are proposed. A guide is what a row asks: it asks the
row's schedule, or the pilot in its place, and looks tokens up in the text.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from unisono.auto.acceptance import SURE, Confidence, Rates, expected, level
from unisono.auto.draft_length import LOOKED_UP, Worth, trusts
from unisono.auto.measurements import Experience
from unisono.auto.planner import Plan, Setting, best
from unisono.decoding.frontier import Frontier
from unisono.decoding.prompt_lookup import Lookup
from unisono.decoding.required import Needs
from unisono.decoding.schedules import Schedule, Turn, View
from unisono.decoding.spec import Method, Settled, Task
from unisono.sampling.warp import surely
from unisono.transfer import on_host

WIDEST = 16  # tokens per row of the forwards that plans are judged by
FAR = 16  # the most tokens that a member which is sure of them drafts at once: it is stopped where it is not
STRETCH = 2  # the same beyond the plan, of several rows, or where members are drawn
EVERY = 4  # rounds between two measurements of how far members agree
PATIENCE = 32  # rounds between two decisions, once the row is under way
LOOK = 10  # times what a turn takes besides: forwards so long hide that it is looked how far members agree


@dataclass(frozen=True)
class Kind:
    """What a pilot knows of a request: the members needed, the odds of those drawn, and whether it is coupled.

    key: requests with equal ones accept alike. leads: a member that often decides alone, and so runs first.
    """

    key: object
    needed: tuple[int, ...]
    odds: tuple[float, ...]
    start: int
    coupled: bool
    looks: bool
    greedy: bool
    leads: int | None = None


class Pilot:
    """Steers one row. See the module."""

    def __init__(self, kind: Kind, experience: Experience, choose: Callable[[Setting], Plan] = best) -> None:
        self._kind, self._experience, self._choose = kind, experience, choose
        first = expected(kind.greedy)
        self.confidence = Confidence(Rates(first, experience.rates(kind.key, first)), kind.coupled)
        self._rounds = self._next = 0
        self._rows = 1
        self._often = False  # whether it costs next to nothing to look how far members agree
        self._drafts = False  # whether the present turn may propose several tokens
        self._reads = False  # whether its member has something to read
        self._faded = False  # whether the present turn has found look-ups not to be worth it
        self._plan: Plan | None = None
        self._worth: Worth | None = None

    def turn(self, view: View) -> Turn:
        """As a schedule does."""
        crowded = 4 * abs(self._experience.rows - self._rows) > self._rows  # or emptied, since the plan was made
        if self._plan is None or self._worth is None or self._rounds >= self._next or crowded:
            self._plan, self._worth = self._decide(len(view.scored))
        self._rounds += 1
        self._faded = False
        turn = self._further(self._plan.turn(view), view, self._worth)
        self._drafts, self._reads = turn.propose > 1, view.scored[turn.members[0]] <= view.open
        # A block of `risky` ends where the next token is drawn for nothing; what is looked up there is in its way
        looks = self._kind.looks and not (self._kind.odds and self._plan.schedule.name != "risky:0")
        return replace(turn, lookup=LOOKED_UP) if looks and len(turn.members) == 1 else turn

    def _further(self, turn: Turn, view: View, worth: Worth) -> Turn:
        """The turn with room for as many proposals as its member may be sure of, or that of a better member."""
        if not turn.propose:
            return turn
        stretched = turn.propose + STRETCH * (turn.propose > 1)
        if self._kind.odds:
            return replace(turn, propose=stretched)
        member = turn.members[0]
        if view.open == 0 and any(view.scored):  # whoever scored the position had nothing to propose
            member = view.least_scored()
        if self._rows > 1:  # which a long draft of one of them would hold up
            return Turn((member,), stretched)
        return Turn((worth.before(member, view) if any(view.scored) else worth.first(member),), FAR)

    def _decide(self, members: int) -> tuple[Plan, Worth]:
        self._rows = self._experience.rows
        setting, plan = self._experience.shared(self._kind.key, lambda: self._planned(members))
        forwards = [setting.forwards[member][1] for member in setting.needed]
        self._often = self._rows == 1 and not setting.odds and 0 < LOOK * setting.turn < min(forwards)
        self._next = self._rounds + min(PATIENCE, max(2, self._rounds))
        return plan, Worth(setting, plan.seconds, self.confidence, self._kind.leads)

    def _planned(self, members: int) -> tuple[Setting, Plan]:
        costs, rates = self._experience.costs, [self.confidence.agreement(member) for member in range(members)]
        setting = Setting(
            self._kind.needed,
            self._kind.start,
            [costs.forward(member, self._rows, WIDEST) for member in range(members)],
            costs.turn,
            costs.draft,
            rates,
            self._kind.odds,
            self._rows,
        )
        return setting, self._choose(setting)

    @property
    def name(self) -> str:
        """The schedule that it follows at present."""
        return self._plan.schedule.name if self._plan else ""

    def curious(self, cheap: bool = True) -> bool:
        """Whether how far members agree is to be measured in this round; `cheap`: if that takes next to no time."""
        often = self._often and cheap
        return often or self._rounds < EVERY or self._rounds % (EVERY * min(self._rows, EVERY)) == 0

    def trust(self, member: int, law: Tensor, scores: Tensor) -> object:
        """What the member's next proposal, from the law [V], is told apart by; None where asking waits for a device."""
        if not (self._drafts and on_host(law)):
            return None
        return "draft", member, level(float(surely(scores, law, self._kind.greedy)))

    def starts(self, frontier: Frontier, member: int, trust: object) -> bool:
        """Whether the member's next proposal, of this trust, is worth deciding; yes if the turn does nothing else."""
        if self._worth is None or not self._reads or self._kind.odds or self._rows > 1:
            return True
        return self._worth.starts(frontier, member, trust)

    def stops(self, frontier: Frontier, member: int, run: int) -> bool:
        """Whether another proposal of the member, behind those that are open, is not worth its forward.

        Or the text has better ones, found by a `run` so long; 0 if it has none.
        """
        stops = self._worth is not None and self._worth.stops(frontier, member, run)
        if stops:
            self.confidence.fade(trusts(frontier))
        return stops

    def copies(self, frontier: Frontier, run: int) -> int:
        """How many tokens to look up that were found by a run so long, behind those that are open."""
        if self._worth is None or run == 0:
            return 0
        if not self._worth.copying(run):
            if not self._faded:
                self.confidence.fade_copied(run)
            self._faded = True
            return 0
        return self._worth.copies(frontier, run)


def adaptive(kind: Kind, experience: Experience, first: Schedule) -> Schedule:
    """The schedule `auto`. `first`: what it is for who has no pilot."""
    return replace(first, name="auto", steer=lambda: Pilot(kind, experience))


FEW = 5  # positions: members are compared with that many targets in next to no time


class Guide:
    """Asks the schedule of one row, or the pilot in its place.

    Whatever it looks at is committed, or a proposal that stays one; so nothing here changes the law of the text.
    """

    def __init__(self, method: Method, task: Task, frontier: Frontier, needs: Needs) -> None:
        self.pilot: Pilot | None = method.schedule.steer() if method.schedule.steer else None
        self._schedule, self._task, self._frontier, self._needs = method.schedule, task, frontier, needs
        self.trust: object = None  # what the pilot tells the proposal apart by that was asked about last
        self._text: Lookup | None = None  # once something was looked up
        self._lookup = 0  # how many tokens the present turn may look up

    def turn(self, view: View) -> Turn:
        """Whom the schedule wants next."""
        turn = (self.pilot or self._schedule).turn(view)
        self._lookup = getattr(turn, "lookup", 0)
        return turn

    def count(self, plans: dict[str, int]) -> None:
        """A turn was taken by the plan that the pilot follows."""
        if self.pilot is not None:
            plans[self.pilot.name] = plans.get(self.pilot.name, 0) + 1

    def curious(self, positions: int) -> bool:
        """Whether how far members agree is to be measured in this round, in which so many positions are known."""
        cheap = self._task.edits.nothing and positions <= FEW  # a processor of a user may take any time
        return self.pilot is not None and self.pilot.curious(cheap)

    def learn(self, settled: Settled) -> None:
        """Something was decided, and is not committed yet."""
        if self.pilot is None:
            return
        confidence, decided = self.pilot.confidence, trusts(self._frontier)[: len(settled.tokens)]
        confidence.decided(decided, settled.accepted, bool(settled.overlaps))
        for member, overlaps in enumerate(settled.overlaps):
            asked = [offset for offset in range(len(overlaps)) if not self._stands(offset, member)]
            for offset in asked:
                confidence.agreed(member, self._frontier.position + offset, *overlaps[offset])
            if not asked:
                confidence.unseen(member)

    def starts(self, member: int, law: Tensor) -> bool:
        """Whether a proposal of the member from this law [V], behind those that are open, is worth deciding."""
        if self.pilot is None:
            return True
        if self._stands(self._frontier.open, member):
            self.trust = SURE
            return True
        self.trust = self.pilot.trust(member, law, self._frontier.law_source(member))
        return self.pilot.starts(self._frontier, member, self.trust)

    def stops(self, member: int) -> bool:
        """Whether one more proposal of the member is not worth its forward, or the text has some to go on with."""
        if self.pilot is None:
            return False
        known = all(isinstance(proposal.token, int) for proposal in self._frontier.proposals)
        run = self.find(self._lookup)[1] if known else 0  # a draft does not wait for its device to be looked up
        return self.pilot.stops(self._frontier, member, run)

    def find(self, most: int) -> tuple[list[int], int]:
        """Up to `most` tokens that are worth looking up behind the open ones, and how long a run they were found by."""
        ends = self._task.ends
        if most <= 0:
            return [], 0
        open = [int(proposal.token) for proposal in self._frontier.proposals]  # waits for drafts on a device
        if self._text is None:
            self._text = Lookup(self._task.prompt)
        self._text.read(self._frontier.committed)
        found, run = self._text.find(open, most)
        if self.pilot is not None:
            found = found[: self.pilot.copies(self._frontier, run)]
        if not found or any(token in ends for token in open):
            return [], 0
        return found[: next((place + 1 for place, token in enumerate(found) if token in ends), most)], run

    def _stands(self, offset: int, member: int) -> bool:
        """Whether an open position follows the member, so that what it proposes there stands."""
        return self._needs.draws and self._needs.drawn(offset) == member
