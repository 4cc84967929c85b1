"""The schedule `auto`, which all rows of an ensemble share, and its policy for one row.

The policy uses measured times, committed tokens, and proposals that are not decided. It only chooses the members that
run next and the number of proposed tokens. It does not change the law of the text.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

from unisono.auto.acceptance import SURE, Confidence, Rates, expected, level
from unisono.auto.costs import Costs
from unisono.auto.draft_length import LOOKED_UP, Note, Worth, trusts
from unisono.auto.planner import Plan, Setting, best
from unisono.decoding.events import Accepted, Drawn, Forward, Measured, Proposed, Replaced, StepBegan, StepEnded
from unisono.decoding.policy import MemberLaws, Policy, RowRequest, Schedule, Turn, View
from unisono.decoding.proposals import FORCED, Name, Proposal
from unisono.decoding.schedules import LOOKUP
from unisono.transfer import on_host

MOST_KINDS = 256  # the largest number of kinds of requests with separate rates
WIDEST = 16  # the most tokens per row of the forwards that plans are computed for
FAR = 16  # the most tokens of a draft if one row runs; `goes_on` ends the draft where its member is unsure
STRETCH = 2  # tokens that a draft adds to the plan's length, if several rows run or members are drawn
EVERY = 4  # rounds between two comparisons of members
FEW = 5  # comparing members at this number of positions, or at fewer positions, takes almost no time
PATIENCE = 32  # the largest number of rounds between two plans
LOOK = 10  # comparing is cheap if each forward takes LOOK times as long as a turn takes outside of forwards


class Auto(Schedule):
    """Holds the data that rows share: measured times, acceptance rates, and the plans for the current step.

    Args:
        parameters: the number of weights of each member.
        twins: groups of members that share weights.
    """

    hears = (StepBegan, Forward, StepEnded)

    def __init__(self, parameters: Sequence[int], twins: Sequence[tuple[int, ...]] = ()) -> None:
        super().__init__("auto")
        self.costs, self.twins = Costs(parameters, twins), twins
        self.rows = 1  # the number of rows that run now
        self._rates: dict[Hashable, Rates] = {}
        self._plans: dict[Hashable, tuple[Setting, Plan]] = {}

    def policy(self, request: RowRequest) -> Policy:
        return AutoPolicy(request, self)

    def observe(self, event: Any) -> None:
        match event:
            case StepBegan():
                self.rows = max(1, event.rows)
                self._plans.clear()
            case Forward():
                self.costs.add(event.members, event.rows, event.widest, event.seconds)
            case StepEnded():
                self.costs.add_step(event.outside, event.drafted)

    def rates(self, kind: Hashable, first: Callable[[Hashable], float]) -> Rates:
        """Return the rates that requests of a kind share.

        `first` maps the name of a rate to the rate's starting value.
        """
        while kind not in self._rates and len(self._rates) >= MOST_KINDS:
            del self._rates[next(iter(self._rates))]
        return self._rates.setdefault(kind, Rates(first))

    def shared(self, kind: Hashable, make: Callable[[], tuple[Setting, Plan]]) -> tuple[Setting, Plan]:
        """Return a setting and a plan. Within a step of the engine, all rows of a kind get the same plan.

        If only one row runs, each call makes a new plan.
        """
        if self.rows == 1:
            return make()
        if kind not in self._plans:
            self._plans[kind] = make()
        return self._plans[kind]


class AutoPolicy(Policy):
    """Decides which members run and propose next for one row. The decisions use measurements of the whole ensemble.

    Args:
        choose: a function that returns the plan to follow.
    """

    hears = (Proposed, Measured, Accepted, Replaced, Drawn)

    def __init__(self, request: RowRequest, auto: Auto, choose: Callable[[Setting], Plan] = best) -> None:
        self._request, self._auto, self._choose = request, auto, choose
        self._kind = request.combination.name, request.warp, request.verification
        self._greedy = request.warp.greedy
        self._leads = request.combination.traits(request.warp).opener
        first = expected(self._greedy)
        coupled = request.verification == "coupled" and not self._greedy
        self.confidence = Confidence(Rates(first, auto.rates(self._kind, first)), coupled)
        self._rounds = self._next = 0
        self._rows = 1
        self._often = False  # whether comparing members takes almost no time
        self._drafts = False  # whether the current turn may propose several tokens
        self._reads = False  # whether the member of the current turn has positions to score
        self._looks = False  # whether the current turn may look up tokens
        self._faded = False  # whether a look-up was not worth its cost in the current turn
        self._plan: Plan | None = None
        self._worth: Worth | None = None
        self._position = 0  # the first open position
        self._open: list[Note] = []  # one note per open proposal
        self._accepted: list[Note] = []  # one note per proposal that was accepted since the current turn began
        self._measured = False  # whether members were compared in the current verification
        self._drawn: dict[int, int] = {}  # the drawn member by position, for the positions where it is known
        self._trust: object = None  # the trust that the last call of `draws` found
        self._run = 0  # the length of the token run that the last look-up found
        self._devices: set[Name] = set()  # proposers whose laws are not on the host

    @property
    def following(self) -> str:
        return self._plan.schedule.name if self._plan else ""

    def turn(self, view: View) -> Turn:
        self._begin(view)
        crowded = 4 * abs(self._auto.rows - self._rows) > self._rows  # or much emptier since the plan was made
        if self._plan is None or self._worth is None or self._rounds >= self._next or crowded:
            self._plan, self._worth = self._decide(len(view.scored))
        self._rounds += 1
        turn = self._further(self._plan.turn(view), view, self._worth)
        self._drafts, self._reads = _length(turn) > 1, view.scored[turn.members[0]] <= view.open
        # A block of `risky` ends where the next token is drawn without a proposal, so no tokens are looked up there
        blocks = self._request.odds and self._plan.schedule.name != "risky:0"
        self._looks = self._request.verification != "block" and not blocks and len(turn.members) == 1
        return replace(turn, drafts=(*turn.drafts, (LOOKUP, LOOKED_UP))) if self._looks else turn

    def _begin(self, view: View) -> None:
        self._drawn = {self._position + offset: member for offset, member in enumerate(view.drawn)}
        self._accepted.clear()
        self._faded = self._measured = False

    def _further(self, turn: Turn, view: View, worth: Worth) -> Turn:
        """Return the turn with a longer draft or a better member. The method `goes_on` may end the draft early."""
        if not turn.drafts:
            return turn
        (member,), length = turn.members, _length(turn)
        stretched = length + STRETCH * (length > 1)
        if self._request.odds:
            return _drafting(member, stretched)
        if view.open == 0 and any(view.scored):  # the last member scored the position and proposed nothing
            member = view.least_scored()
        if self._rows > 1:  # all rows would wait for a long draft of one row
            return _drafting(member, stretched)
        return _drafting(worth.before(member, view) if any(view.scored) else worth.first(member), FAR)

    def _decide(self, members: int) -> tuple[Plan, Worth]:
        self._rows = self._auto.rows
        setting, plan = self._auto.shared(self._kind, lambda: self._planned(members))
        forwards = [setting.forwards[member][1] for member in setting.needed]
        self._often = self._rows == 1 and not setting.odds and 0 < LOOK * setting.turn < min(forwards)
        self._next = self._rounds + min(PATIENCE, max(2, self._rounds))
        return plan, Worth(setting, plan.seconds, self.confidence, self._leads)

    def _planned(self, members: int) -> tuple[Setting, Plan]:
        costs, request = self._auto.costs, self._request
        setting = Setting(
            request.needed,
            request.proposer,
            [costs.forward(member, self._rows, WIDEST) for member in range(members)],
            costs.turn,
            costs.draft,
            [self.confidence.agreement(member) for member in range(members)],
            request.odds,
            self._rows,
            {group: costs.forward(group[0], self._rows * len(group), WIDEST) for group in self._together()},
        )
        return setting, self._choose(setting)

    def _together(self) -> list[tuple[int, ...]]:
        """Return the groups of twins that must all score a position. The list is empty if members are drawn."""
        needed = () if self._request.odds else self._request.needed
        groups = [tuple(member for member in group if member in needed) for group in self._auto.twins]
        return [group for group in groups if len(group) > 1]

    def draws(self, open: Sequence[Proposal], proposer: Name, scores: MemberLaws) -> bool:
        """Return whether the next proposal is worth its cost. Return True if the policy has no estimate for it."""
        if isinstance(proposer, str):
            return True
        if self._drawn.get(self._position + len(open)) == proposer:
            self._trust = SURE
            return True
        self._trust = self._trust_in(proposer, scores)
        if self._worth is None or not self._reads or self._request.odds or self._rows > 1:
            return True
        return self._worth.starts(self._open, proposer, self._trust)

    def _trust_in(self, member: int, scores: MemberLaws) -> object:
        """Return the trust of the member's next proposal. The trust is the name of an acceptance estimate.

        Return None if the law is on a device, because the policy does not wait for devices.
        """
        if not self._drafts or member in self._devices:
            return None
        law = scores.raw if self._greedy else scores.law
        if not on_host(law):
            self._devices.add(member)
            return None
        return "draft", member, level(float(law.amax()))

    def goes_on(self, open: Sequence[Proposal], proposer: Name) -> bool:
        if self._worth is None or isinstance(proposer, str):
            return True
        goes_on = self._worth.goes_on(self._open, proposer, self._found(open))
        if not goes_on:
            self.confidence.fade(trusts(self._open))
        return goes_on

    def _found(self, open: Sequence[Proposal]) -> int:
        """Return how many last tokens were looked up successfully, to copy tokens after the open proposals.

        Return 0 if copying is not worth its cost. If open tokens are still on a device, return 0 without waiting.
        """
        tokens = [proposal.token for proposal in open if isinstance(proposal.token, int)]
        if not self._looks or len(tokens) < len(open):
            return 0
        found, run = self._request.text.find(tokens, LOOKED_UP)
        worth = found and self.copies(open, run) > 0
        return run if worth and self._request.ends.isdisjoint(tokens) else 0

    def copies(self, open: Sequence[Proposal], run: int) -> int:
        self._run = run
        if self._worth is None or run == 0:
            return 0
        if self._worth.copying(run):
            return self._worth.copies(self._open, run)
        if not self._faded:
            self.confidence.fade_copied(run)
        self._faded = True
        return 0

    def measures(self, positions: int) -> bool:
        """Return whether to compare members in this round.

        The policy compares members every few rounds, or in every round if comparing takes almost no time.
        """
        often = self._often and self._request.plain and positions <= FEW  # a user-defined edit may take long
        return often or self._rounds < EVERY or self._rounds % (EVERY * min(self._rows, EVERY)) == 0

    def observe(self, event: Any) -> None:
        match event:
            case Proposed():
                self._measured = False
                self._open.append(Note(event.proposer, self._trust_of(event.proposer)))
            case Measured():
                self._measured = True
                self._learn(event)
            case Accepted():
                for _ in event.tokens:
                    self._decided(True)
            case Replaced():
                self._decided(False)
                self._replaced(event.position)
            case Drawn():
                self._replaced(event.position)

    def _trust_of(self, proposer: Name) -> object:
        if isinstance(proposer, int):
            return self._trust
        return {LOOKUP: ("lookup", self._run), FORCED: SURE}.get(proposer)

    def _learn(self, event: Measured) -> None:
        """Record the comparisons, except at positions for which the compared member itself is drawn."""
        pairs = enumerate(zip(event.overlaps, event.surest, strict=True), event.first)
        compared = [(position, pair) for position, pair in pairs if self._drawn.get(position) != event.member]
        for position, (overlap, surest) in compared:
            self.confidence.agreed(event.member, position, overlap, surest)
        if not compared:
            self.confidence.unseen(event.member)

    def _decided(self, accepted: bool) -> None:
        self._accepted.append(self._open.pop(0))
        self.confidence.decided(trusts(self._accepted), accepted, self._measured)
        self._position += 1

    def _replaced(self, position: int) -> None:
        """Discard the notes of all proposals, because a token that was not proposed was committed at `position`."""
        self._open.clear()
        self._accepted.clear()
        self._position, self._measured = position + 1, False
        if not self._request.odds:  # later draws may depend on the text
            self._drawn.clear()


def _length(turn: Turn) -> int:
    return turn.drafts[0][1] if turn.drafts else 0


def _drafting(member: int, length: int) -> Turn:
    return Turn((member,), ((member, length),))
