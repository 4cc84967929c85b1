"""`auto`: what steers one row by what its ensemble has measured, and decides again as the text changes.

A pilot looks at times, at what is committed and at proposals that stay proposals, so the law of the text is not its
business: it changes only who runs next and how far ahead tokens are proposed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from unisono.experience import Experience, Rates
from unisono.frontier import Frontier
from unisono.planning import Plan, Setting, best
from unisono.schedules import Schedule, Turn, View
from unisono.transfer import on_host
from unisono.warp import Warp

AGREEMENT = 0.7  # how often a proposal stands, before anything is known
WIDEST = 16  # tokens per row of the forwards that plans are judged by
LOOKED_UP = 12  # the most tokens that are looked up at once
STRETCH = 2  # tokens that a draft may go beyond the plan where it is sure of them: it is stopped where it is not
EVERY = 4  # rounds between two measurements of how far members agree
PATIENCE = 32  # rounds between two decisions, once the row is under way
SURE = "sure"  # the trust of a proposal that stands in any case
CONFIDENCE = (0.3, 0.5, 0.7, 0.9)  # what drafted tokens are told apart by: the largest probability in their law


@dataclass(frozen=True)
class Kind:
    """What a pilot knows of a request: the members needed, the odds of those drawn, and whether it is coupled.

    key: requests with equal ones accept alike.
    """

    key: object
    needed: tuple[int, ...]
    odds: tuple[float, ...]
    start: int
    coupled: bool
    looks: bool
    greedy: bool


class Pilot:
    """Steers one row. See the module."""

    def __init__(self, kind: Kind, experience: Experience, choose: Callable[[Setting], Plan] = best) -> None:
        self._kind, self._experience, self._choose = kind, experience, choose
        self._rates = Rates(AGREEMENT, experience.rates(kind.key, AGREEMENT))
        self._rounds = self._next = 0
        self._rows = 1
        self._drafts = False  # whether the present turn may propose several tokens
        self._plan: Plan | None = None
        self._setting: Setting | None = None

    def turn(self, view: View) -> Turn:
        """As a schedule does."""
        if self._plan is None or self._rounds >= self._next or self._crowded():
            self._decide(len(view.scored))
        assert self._plan is not None
        self._rounds += 1
        turn = self._plan.turn(view)
        self._drafts = turn.propose > 1
        if self._drafts:
            turn = replace(turn, propose=turn.propose + STRETCH)
        # A block of `risky` ends where the next token is drawn for nothing; what is looked up there is in its way
        looks = self._kind.looks and not (self._kind.odds and self._plan.schedule.name != "risky:0")
        return replace(turn, lookup=LOOKED_UP) if looks and len(turn.members) == 1 else turn

    def _crowded(self) -> bool:
        """Whether clearly more or fewer rows run than when the plan was made."""
        return 4 * abs(self._experience.rows - self._rows) > self._rows

    def _decide(self, members: int) -> None:
        costs, self._rows = self._experience.costs, self._experience.rows
        rates = [self._rates["member", member].value for member in range(members)]
        if self._kind.coupled:  # the same winner: between a / (2 - a) and a, for laws that overlap by a
            rates = [(rate / (2 - rate) + rate) / 2 for rate in rates]
        self._setting = Setting(
            self._kind.needed,
            self._kind.start,
            [costs.forward(member, self._rows, WIDEST) for member in range(members)],
            costs.turn,
            costs.draft,
            rates,
            self._kind.odds,
            self._rows,
        )
        self._plan = self._choose(self._setting)
        self._next = self._rounds + min(PATIENCE, max(2, self._rounds))

    @property
    def name(self) -> str:
        """The schedule that it follows at present."""
        return self._plan.schedule.name if self._plan else ""

    def curious(self) -> bool:
        """Whether how far members agree is to be measured in this round."""
        return self._rounds % EVERY == 0 or self._rounds < EVERY

    def agreed(self, member: int, overlaps: Sequence[float]) -> None:
        """How much of the target the member's law covered, at committed positions; none: it was not measured."""
        rate = self._rates["member", member]
        for overlap in overlaps:
            rate.add(overlap)
        if not overlaps:
            rate.fade()

    def decided(self, trusts: Sequence[object], accepted: int) -> None:
        """Proposals were decided, and the first ones stand; `trusts` is what `trust` and `look_up` said of them."""
        for place, trust in enumerate(trusts[: accepted + 1]):
            if trust is not None and trust != SURE:
                self._rates[trust].add(float(place < accepted))

    def trust(self, member: int, law: Tensor, scores: Tensor) -> object:
        """What a drafted token is told apart by; None where asking would wait for a device."""
        if not (self._drafts and on_host(law)):
            return None
        surest = float((Warp()(scores) if self._kind.greedy else law).max())
        return "draft", member, sum(surest > limit for limit in CONFIDENCE)

    def stops(self, frontier: Frontier, member: int, run: int) -> bool:
        """Whether another proposal of the member, behind those that are open, is not worth its forward.

        Or the text has better ones, found by a `run` so long; 0 if it has none.
        """
        setting, plan = self._setting, self._plan
        if setting is None or plan is None:
            return False
        gain = setting.rates[member] * plan.seconds - setting.drafting(member, 1) / self._reach(frontier)
        return gain < max(0.0, self._gain(run) if run else 0.0)

    def worth(self, frontier: Frontier, run: int) -> int:
        """How many tokens to look up that were found by a run so long, behind those that are open.

        None where a member that would draft behind them is worth more; after a while it is tried again.
        """
        if self._plan is None or run == 0:
            return 0
        if self._gain(run) < self._drafters():
            self._rates["lookup", run].fade()
            return 0
        rate, reach, count = self._rates["lookup", run].value, self._reach(frontier), 0
        while count < LOOKED_UP and reach * rate * self._plan.seconds > self._wider():
            reach *= rate
            count += 1
        return count

    def _gain(self, run: int) -> float:
        """Seconds that a token which is looked up saves, if it is reached."""
        assert self._plan is not None
        return self._rates["lookup", run].value * self._plan.seconds - self._wider()

    def _drafters(self) -> float:
        """Seconds that a token of the best drafting member saves, if it is reached."""
        setting, plan = self._setting, self._plan
        assert setting is not None
        assert plan is not None
        gains = [rate * plan.seconds - setting.drafting(member, 1) for member, rate in enumerate(setting.rates)]
        return max(0.0, *gains)

    def _wider(self) -> float:
        """Seconds that one more token adds to the forwards that decide it."""
        assert self._setting is not None
        times = [self._setting.forwards[member] for member in self._setting.needed]
        return sum(each[-1] - each[1] for each in times) / (WIDEST - 1)

    def _reach(self, frontier: Frontier) -> float:
        """The chance that all open proposals stand."""
        assert self._setting is not None
        reach = 1.0
        for proposal in frontier.proposals:
            if proposal.trust is not None and proposal.trust != SURE:
                reach *= self._rates[proposal.trust].value
            elif proposal.trust is None and proposal.member is not None:
                reach *= self._setting.rates[proposal.member]
        return max(reach, 1e-3)


def adaptive(kind: Kind, experience: Experience, first: Schedule) -> Schedule:
    """The schedule `auto`. `first`: what it is for who has no pilot."""
    return replace(first, name="auto", steer=lambda: Pilot(kind, experience))
