"""The measurements and the plans that all rows of an ensemble share."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

from unisono.auto.acceptance import Confidence, Rates
from unisono.auto.costs import Costs
from unisono.auto.draft_length import Worth
from unisono.auto.planner import Plan
from unisono.auto.setting import Setting
from unisono.decoding.events import Forward, StepBegan, StepEnded
from unisono.decoding.policy import RowRequest

WIDEST = 16  # the most tokens per row of the forwards that plans are computed for
MOST_KINDS = 256  # the largest number of kinds of requests with separate rates
FADING = 0.75  # the weight of the turns of one step, in the counts of the next step
ENOUGH = 32  # steps after which a plan is made without measured times for this number of rows
SOONEST, LATEST = 4, 32  # the smallest and the largest number of steps between two plans of a batch
LOOK = 8  # steps between two look-ups that only measure how many rows find an earlier occurrence of their last tokens
OFTEN = 0.25  # all steps look up tokens if at least this share of the rows found an earlier occurrence


@dataclass
class Common:
    """The plan that all rows of one kind follow, while several rows run.

    rows, until: the number of rows for which the plan was made, and the step from which on a new plan is made. turns,
    asked, found: the number of turns of these rows, of turns that looked up tokens, and of turns that found tokens.
    Older turns count less. looked: the last step in which a turn looked up tokens. chances, goes_on: for each row with
    a new proposal, the chance that one more token of its draft would be accepted, and the decision that was made from
    these chances.
    """

    setting: Setting
    plan: Plan
    worth: Worth
    rows: int
    until: int
    turns: float = 0.0
    asked: float = 0.0
    found: float = 0.0
    looked: int = 0
    chances: list[float] = field(default_factory=list)
    goes_on: bool | None = None

    def propose(self, chance: float) -> None:
        """Note that a row has a new proposal, and `chance` that all its proposals and one more would be accepted."""
        if self.goes_on is not None:  # the first row of the next step of the drafts
            self.goes_on = None
            self.chances.clear()
        self.chances.append(chance)

    def drafts_on(self, member: int) -> bool:
        """Return whether the member drafts one more token for all rows. All rows of a step get the same answer."""
        if self.goes_on is None:
            self.goes_on = bool(self.chances) and self.worth.drafts_on(mean(self.chances), member)
        return self.goes_on

    @property
    def share(self) -> float:
        """The share of the turns that find tokens when they look up tokens."""
        return min(1.0, self.found / self.asked) if self.asked else 0.0

    def fade(self) -> None:
        """Reduce the weight of the turns so far."""
        self.turns *= FADING
        self.asked *= FADING
        self.found *= FADING


class Batch:
    """Holds the data that rows share: measured times, acceptance rates, and plans.

    Args:
        parameters: the number of weights of each member.
        twins: groups of members that share weights.
    """

    def __init__(self, parameters: Sequence[int], twins: Sequence[tuple[int, ...]] = ()) -> None:
        self.costs, self.twins = Costs(parameters, twins), twins
        self.rows = 1  # the number of rows that run now
        self._step = 0
        self._since = 0  # the step since which about the same number of rows runs
        self._settled = 1  # this number of rows
        self._last: tuple[int, ...] = ()  # the member that ran last, or the twins that ran together
        self._proposes = False  # whether a plan of the last step with new turns proposes tokens
        self._fresh = False  # whether the current step has no new turn yet
        self._rates: dict[Hashable, Rates] = {}
        self._common: dict[Hashable, Common] = {}

    def observe(self, event: Any) -> None:
        """Learn from an event of the engine."""
        match event:
            case StepBegan():
                self._begin(max(1, event.rows))
            case Forward():
                self._last = event.members
                self.costs.add(event.members, event.rows, event.widest, event.seconds)
            case StepEnded():
                self.costs.add_step(event.outside, event.drafted, self.rows, self._proposes)

    def _begin(self, rows: int) -> None:
        self.rows, self._fresh = rows, True
        self._step += 1
        if changed(rows, self._settled):
            self._settled, self._since = rows, self._step
        for common in self._common.values():
            common.fade()

    def rates(self, kind: Hashable, first: Callable[[Hashable], float]) -> Rates:
        """Return the rates that requests of a kind share.

        `first` maps the name of a rate to the rate's starting value.
        """
        while kind not in self._rates and len(self._rates) >= MOST_KINDS:
            del self._rates[next(iter(self._rates))]
        return self._rates.setdefault(kind, Rates(first))

    def setting(self, request: RowRequest, members: int, confidence: Confidence, current: str = "") -> Setting:
        """Return the times and rates from which a plan for a request is computed, for the rows that run now."""
        costs, rows = self.costs, self.rows
        needed = () if request.odds else request.needed  # twins do not score together if members are drawn
        groups = [tuple(member for member in group if member in needed) for group in self.twins]
        return Setting(
            request.needed,
            request.proposer,
            [costs.forward(member, rows, WIDEST) for member in range(members)],
            costs.turn(rows),
            costs.draft,
            [confidence.agreement(member) for member in range(members)],
            request.odds,
            rows,
            {group: costs.forward(group[0], rows * len(group), WIDEST) for group in groups if len(group) > 1},
            costs.turn(rows, proposes=False),
            current,
        )

    def priced(self, setting: Setting) -> bool:
        """Return whether the forwards of `standard` were measured for about the number of rows that run now.

        After `ENOUGH` steps the answer is True, because forwards may always serve fewer rows than run.
        """
        known = all(self.costs.knows(member, self.rows) for member in setting.scorers)
        return known or self._step - self._since > ENOUGH

    def common(self, kind: Hashable, make: Callable[[], tuple[Setting, Plan]], confidence: Confidence) -> Common:
        """Return the plan that all rows of a kind follow in this step. The function `make` makes a new plan.

        A new plan is made after some steps, or if the number of rows has changed.
        """
        known = self._common.get(kind)
        if known is None or self._step >= known.until or changed(self.rows, known.rows):
            setting, plan = make()
            steps = min(LATEST, max(SOONEST, self._step - self._since)) if self.priced(setting) else 1
            while kind not in self._common and len(self._common) >= MOST_KINDS:
                del self._common[next(iter(self._common))]
            made = Common(setting, plan, Worth(setting, plan.seconds, confidence), self.rows, self._step + steps)
            if known is not None:
                made = replace(made, turns=known.turns, asked=known.asked, found=known.found, looked=known.looked)
            known = self._common[kind] = made
        known.turns += 1
        return known

    def follow(self, plan: Plan) -> None:
        """Note that a row follows the plan in this step."""
        self._proposes = plan.proposes or (self._proposes and not self._fresh)
        self._fresh = False

    def looks(self, common: Common) -> bool:
        """Return whether the rows of a kind look up tokens in this step."""
        if common.looked != self._step and (self._step - common.looked >= LOOK or common.share >= OFTEN):
            common.looked = self._step
        common.asked += common.looked == self._step
        return common.looked == self._step

    def copying(self, common: Common) -> float:
        """Return the share of all running rows that are of this kind and find tokens when they look up tokens."""
        turns = sum(each.turns for each in self._common.values())
        return common.share * common.turns / turns if turns else 0.0

    def next(self, order: Sequence[int], otherwise: int) -> int:
        """Return the member whose turn follows the last turn of the batch.

        Members take turns in the given order. Return `otherwise` if a member outside of this order ran last.
        """
        last = next((member for member in self._last if member in order), None)
        return otherwise if last is None else order[(order.index(last) + 1) % len(order)]


def changed(rows: int, before: int) -> bool:
    """Return whether the number of rows differs by more than a quarter from the number before."""
    return 4 * abs(rows - before) > before
