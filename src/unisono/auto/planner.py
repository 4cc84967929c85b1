"""Choose the schedule with the shortest expected time per token.

The expected times come from closed formulas (see `formulas`), with measured times and acceptance rates.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unisono.auto.formulas import alternating, drafted, drawn, lockstep, relayed
from unisono.auto.setting import Setting
from unisono.decoding.policy import Schedule, Turn, View
from unisono.decoding.schedules import cos, relay, risky, speculative, standard

LENGTHS = (1, 2, 3, 4, 6, 8)
RISKY = range(7)
CLEARLY = 1.1  # rows of a batch change their draft lengths only if this makes them faster by this factor
MARGIN = 1.03  # a plan must be expected to be faster than `standard` by this factor


@dataclass(frozen=True)
class Plan:
    """A schedule, its expected seconds per token, and the member that proposes first.

    If `start` is None, the default proposer proposes first.
    """

    schedule: Schedule
    seconds: float
    start: int | None = None

    @property
    def proposes(self) -> bool:
        return self.schedule.lazy

    def turn(self, view: View) -> Turn:
        return self.schedule.turn(view if self.start is None else replace(view, proposer=self.start))


def best(setting: Setting) -> Plan:
    """Return the plan with the fewest expected seconds per token.

    Return `standard` unless another plan is clearly faster. If one row draws its members, `risky:0` takes this role.
    """
    if setting.odds and setting.rows == 1:
        return min(_drawing(setting), key=lambda plan: plan.seconds)
    plain = Plan(standard(), setting.standard())
    mixing = _drawing(setting) if setting.odds else ()
    others = [*mixing, *(_alternating if setting.rows == 1 else _together)(_standing(setting)), *_drafting(setting)]
    fastest = min(others, key=lambda plan: plan.seconds, default=plain)
    current = next((plan for plan in others if plan.schedule.name == setting.current), None)
    if current is not None and setting.rows > 1 and fastest.seconds * CLEARLY > current.seconds:
        fastest = current
    return fastest if fastest.seconds * MARGIN < plain.seconds else plain


def _standing(setting: Setting) -> Setting:
    """Return the setting with the rates of all positions: a proposal of a member is accepted where it is drawn."""
    rates = [odd + (1 - odd) * rate for rate, odd in zip(setting.rates, setting.odds, strict=False)]
    return replace(setting, rates=[*rates, *setting.rates[len(rates) :]])


def _alternating(setting: Setting) -> Iterator[Plan]:
    """Yield plans of `cos` with the best draft length of each member.

    With two members, yield two plans: a different member proposes first in each plan.
    """
    if len(setting.scorers) < 2:
        return
    members = sorted(setting.scorers, key=lambda member: setting.times(member)[1])
    usual = setting.start if setting.start in setting.scorers else members[0]
    for start in setting.scorers if len(setting.scorers) == 2 else [usual]:
        lengths = [1] * len(setting.forwards)
        for member in members:
            choices = [[*lengths[:member], length, *lengths[member + 1 :]] for length in LENGTHS]
            lengths = min(choices, key=lambda each: alternating(setting, start, each))
        seconds = alternating(setting, start, lengths)
        # Equally good members keep the row's own order, which keeps the rows of a batch in step
        own = start == setting.start
        yield Plan(cos(*lengths), seconds * (1 if own or start == usual else MARGIN), None if own else start)


def _together(setting: Setting) -> Iterator[Plan]:
    """Yield the plan of `cos` with the best draft length of each member, for rows that all run in each step."""
    order = sorted(setting.scorers, key=lambda member: setting.times(member)[1])
    if len(order) < 2:
        return
    lengths = [1] * len(setting.forwards)
    for member in order:
        choices = [[*lengths[:member], length, *lengths[member + 1 :]] for length in LENGTHS]
        lengths = min(choices, key=lambda each: lockstep(setting, each))
    short = [1] * len(lengths)
    yield Plan(cos(*short), lockstep(setting, short))
    known = setting.current.removeprefix("cos:")
    others = [lengths] if known == setting.current else [lengths, [int(length) for length in known.split(",")]]
    for each in others:
        # Forwards of a new size are slow at first, and rows that draft several tokens are more easily out of step
        if max(each) > 1 and lockstep(setting, each) * CLEARLY < lockstep(setting, short):
            yield Plan(cos(*each), lockstep(setting, each))


def _drafting(setting: Setting) -> Iterator[Plan]:
    """Yield plans for each draft model (a member that is not needed).

    The draft model drafts once per round, or before each needed member.
    """
    for member in range(len(setting.forwards)):
        if member not in setting.needed:
            for length in LENGTHS:
                yield Plan(speculative(length), drafted(setting, member, length), member)
                if len(setting.scorers) > 1:
                    yield Plan(relay(length), relayed(setting, member, length), member)


def _drawing(setting: Setting) -> Iterator[Plan]:
    """Yield plans of `risky` for each possible proposer."""
    for member in range(len(setting.forwards)):
        odd = setting.odds[member] if member < len(setting.odds) else 0.0
        for length in RISKY if odd < 1 and setting.rows == 1 else [0]:
            yield Plan(risky(length), drawn(setting, member, odd, length), member)
