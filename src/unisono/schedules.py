"""Schedules: who runs next, and how many tokens it proposes.

A schedule is a pure function of a `View` of the frontier. It never sees a model or a token, so it can change the speed
but not the law of the output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from unisono.errors import ConfigurationError, unknown


@dataclass(frozen=True)
class View:
    """What a schedule may know of a row.

    open: number of open proposals. scored: per member, how many open positions it has scored. needed: the members
    without whose scores nothing can be decided now. proposer: the member that proposes by default. room: how many more
    tokens may be proposed before the end of the row; a turn that asks for more gets as many. drawn: if each position
    follows a member that is drawn for it, that of each open position and of some behind, from the first one on.
    """

    open: int
    scored: tuple[int, ...]
    needed: tuple[int, ...]
    proposer: int
    room: int = 2**31
    drawn: tuple[int, ...] = ()

    def least_scored(self) -> int:
        """The needed member that has scored the fewest open positions; the default proposer among equals."""
        return min(self.needed, key=lambda member: (self.scored[member], member != self.proposer, member))


@dataclass(frozen=True)
class Turn:
    """These members score all open positions; then a single one proposes up to `propose` tokens."""

    members: tuple[int, ...]
    propose: int = 0


@dataclass(frozen=True)
class Schedule:
    """A named rule. `name` is how a user writes it; `members` is how many it is for, None for any number.

    lazy: members that a position turns out not to need are not waited for there; all but `standard` are.
    """

    name: str
    turn: Callable[[View], Turn]
    members: int | None = None
    lazy: bool = True


def standard() -> Schedule:
    """Every member of the combination scores every position, then the token is drawn from its law: the reference."""
    return Schedule("standard", lambda view: Turn((view.least_scored(),)), lazy=False)


def parallel() -> Schedule:
    """As `standard`, with the members running at the same time (CoS' WE-P and CD-P baselines)."""
    return Schedule("parallel", lambda view: Turn(view.needed))


def speculative(length: int) -> Schedule:
    """The default proposer drafts `length` tokens, the others score them (CoS' Naive-CoS).

    Raises:
        ConfigurationError: length is below 1.
    """
    (draft,) = _lengths([length])

    def turn(view: View) -> Turn:
        if view.open == 0:
            return Turn((view.proposer,), draft)
        return Turn((view.least_scored(),))

    return Schedule(f"speculative:{draft}", turn)


def cos(*lengths: int) -> Schedule:
    """Alternate proposals for two members, CoS' Algorithm 2 for more: `lengths[i]` belongs to member i as listed.

    The member that has scored least scores all open proposals, and what it says about the position behind them is its
    own first proposal. After a rejection the default proposer starts again.

    Raises:
        ConfigurationError: a length is below 1.
    """
    drafts = _lengths(lengths)

    def turn(view: View) -> Turn:
        member = view.least_scored() if view.open else view.proposer
        return Turn((member,), drafts[member])

    return Schedule("cos:" + ",".join(map(str, drafts)), turn, len(drafts))


def risky(length: int) -> Schedule:
    """The default proposer drafts until `length` risky tokens are open and the next one would be risky too.

    Made for `drawn`: a position is risky if another member than the proposer is drawn for it, else its proposal stands.
    A block ends just before a risky position, whose token the checking member then draws itself. Members run only where
    they are drawn. `risky:0` is the Mixture-like Ensemble (arXiv 2605.00419). For other combinations all is risky.

    Raises:
        ConfigurationError: length is negative.
    """
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise ConfigurationError(f"risky takes a number of tokens, 0 or more, not: {length!r}")

    def turn(view: View) -> Turn:
        ours = view.drawn[:1] == (view.proposer,)
        if view.open or ours or length == 0:
            return Turn((view.proposer if ours and not view.open else view.least_scored(),))
        dangers = [offset for offset, member in enumerate(view.drawn) if member != view.proposer]
        end = dangers[length] if len(dangers) > length else len(view.drawn)
        return Turn((view.proposer,), end or length)

    return Schedule(f"risky:{length}", turn)


def _lengths(values: Sequence[int]) -> tuple[int, ...]:
    if not values:
        raise ConfigurationError("cos needs one draft length per member")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(f"a draft length must be an integer, 1 or more, not: {value!r}")
    return tuple(values)


SMALL = 0.4  # of the largest member's parameters
NEARLY_ALL = 0.9  # of the law
NAMES = ("standard", "parallel", "speculative:G", "cos:G1,G2,...", "risky:K", "auto")


def as_schedule(
    value: object,
    parameters: Sequence[int],
    needed: Sequence[int],
    weights: Sequence[float] = (),
    odds: Sequence[float] = (),
) -> Schedule:
    """A schedule from its name or an object, for members with that many parameters each.

    Args:
        needed: the members without whose scores nothing can be decided. weights: how much of the law is each member's.
        odds: how probably each member is drawn for a position, if one is.

    Raises:
        ConfigurationError: the name or a draft length is wrong, or `cos` has not one draft length per member.
    """
    if isinstance(value, Schedule):
        return value if value.members in (None, len(parameters)) else _refuse_count(value.name, len(parameters))
    if not isinstance(value, str):
        raise ConfigurationError(f"a schedule is a name or an object of unisono.schedules, not: {value!r}")
    name, _, rest = value.partition(":")
    if name == "auto" and not rest:
        return drafting_ahead(parameters, odds) if odds else automatic(parameters, needed, weights)
    if name in ("standard", "parallel") and not rest:
        return standard() if name == "standard" else parallel()
    if name not in ("speculative", "cos", "risky"):
        raise unknown("schedule", value, NAMES)
    lengths = _parse_lengths(name, rest, len(parameters) if name == "cos" else 1)
    if name != "cos":
        build = speculative if name == "speculative" else risky
        return build(*lengths) if len(lengths) == 1 else _refuse_count(value, 1)
    return cos(*lengths) if len(lengths) == len(parameters) else _refuse_count(value, len(parameters))


def _parse_lengths(name: str, rest: str, count: int) -> list[int]:
    try:
        return [int(part) for part in rest.split(",")]
    except ValueError:
        example = ",".join("1" * count)
        raise ConfigurationError(
            f"schedule {name} needs draft lengths, as in {name}:{example}, not: {rest!r}"
        ) from None


def _refuse_count(value: str, count: int) -> NoReturn:
    if not value.startswith("cos"):
        raise ConfigurationError(f"schedule {value} needs 1 draft length, that of the proposer")
    raise ConfigurationError(f"schedule {value} needs {count} draft lengths, one for each of {count} members")


def automatic(parameters: Sequence[int], needed: Sequence[int], weights: Sequence[float] = ()) -> Schedule:
    """The schedule that should pay for members of these sizes.

    `cos`, since one draft token each never loses against `standard` for two members (CoS, theory). A member whose own
    law is nearly the target (the expert of a contrastive pair) drafts two: its proposals stand. Otherwise a member at
    most `SMALL` times the size of the largest drafts four. Where one member alone fixes the law, it is drafted for by a
    small one, or decodes by itself.
    """
    if len(needed) == 1:
        others = [size for member, size in enumerate(parameters) if member != needed[0]]
        return speculative(4) if others and min(others) <= SMALL * parameters[needed[0]] else standard()
    if weights and max(weights) >= NEARLY_ALL * sum(weights) > 0:
        return cos(*(2 if weight == max(weights) else 1 for weight in weights))
    largest = max(parameters)
    return cos(*(4 if size <= SMALL * largest else 1 for size in parameters))


CHEAPEST = 0.1  # of the others' time per token: what the smallest member takes at least
AGREEMENT = 0.7  # of two members, before anything is known of them
MOST_RISKY = 4


def drafting_ahead(parameters: Sequence[int], odds: Sequence[float]) -> Schedule:
    """The `risky` schedule that should pay: most tokens per time, by its closed form.

    With `share` of the positions risky, agreement a, and a proposer that costs c of a check, a block of k risky tokens
    brings `(1 - a^(k+1)) / (share (1 - a))` tokens at the cost of `1 + c ((k + 1) (1 - share) / share + k)`.
    """
    proposer = min(range(len(odds)), key=lambda member: (parameters[member], -odds[member], member))
    share = 1 - odds[proposer]
    if share <= 0:
        return risky(0)
    others = [
        (size, odd) for member, (size, odd) in enumerate(zip(parameters, odds, strict=True)) if member != proposer
    ]
    check = sum(size * odd for size, odd in others) / share
    cost = max(CHEAPEST, parameters[proposer] / check)

    def speed(length: int) -> float:
        tokens = (1 - AGREEMENT ** (length + 1)) / (share * (1 - AGREEMENT))
        return tokens / (1 + cost * ((length + 1) * (1 - share) / share + length))

    return risky(max(range(MOST_RISKY + 1), key=speed))


def default_proposer(parameters: Sequence[int], weights: Sequence[float], needed: Sequence[int]) -> int:
    """The member with the fewest parameters (ties: larger weight, then first).

    A member that alone fixes the law has nothing to gain from proposing to itself, so any other goes before it.
    """
    alone = needed[0] if len(needed) == 1 else None
    candidates = [member for member in range(len(parameters)) if member != alone] or [0]
    return min(candidates, key=lambda member: (parameters[member], -weights[member], member))


def peers(proposer: int, parameters: Sequence[int], weights: Sequence[float], needed: Sequence[int]) -> tuple[int, ...]:
    """The needed members that are as good a proposer as the default one, itself included; none if it stands alone."""
    same = tuple(
        member
        for member in range(len(parameters))
        if (parameters[member], weights[member]) == (parameters[proposer], weights[proposer])
    )
    return same if len(same) > 1 and set(same) <= set(needed) else ()
