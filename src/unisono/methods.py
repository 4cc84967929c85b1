"""Which method a call uses: names and objects as users give them, and what `auto` makes of a request.

Where the schedule is `auto`, the request may have another way to the same law: `weighted` becomes `drawn` at a temperature
above 0, unless log-probabilities are asked for. With a given seed the text must not depend on how fast the members are
today: the combination stays, and the verification is `coupled`.
"""

from collections.abc import Sequence
from typing import NoReturn

from unisono.auto import static
from unisono.auto.measurements import Experience
from unisono.auto.policy import Kind, adaptive
from unisono.combine import as_combination
from unisono.decoding.schedules import Schedule, cos, lookup, parallel, relay, risky, speculative, standard
from unisono.decoding.spec import Method
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.errors import ConfigurationError, unknown
from unisono.params import SamplingParams
from unisono.sampling.warp import Warp


def choose(
    parameters: Sequence[int],
    params: SamplingParams,
    combine: object,
    schedule: object,
    verification: object,
    drafts: int = 0,
    experience: Experience | None = None,
) -> Method:
    """The method for members with that many parameters each, of which the last `drafts` only propose.

    Args:
        experience: what `auto` learns from; without it, `auto` goes by the members' sizes.

    Raises:
        ConfigurationError: a name is unknown, or does not fit the members or the parameters.
    """
    count, warp = len(parameters) - drafts, Warp.of(params)
    combination = as_combination(combine, count)
    if schedule == "auto" and params.seed is None and not params.logprobs:
        combination = combination.equivalent(warp)
    needed, weights = (
        combination.needed(count),
        [combination.weight(member) for member in range(count)] + [0.0] * drafts,
    )
    odds = combination.odds(warp)
    plan = as_schedule(schedule, parameters, needed, weights, (*odds, *[0.0] * drafts) if odds else ())
    opener = count if drafts else combination.opener()
    proposer = default_proposer(parameters, weights, needed) if opener is None else opener
    equals = peers(proposer, parameters, weights, needed)
    reproducible = params.seed is not None and schedule == "auto"
    rule = as_verification(str(verification)) or automatic_verification(warp.greedy, reproducible)
    rule = usable_verification(rule, warp.greedy or plan.certain)
    if schedule == "auto" and experience is not None:
        key = combination.name, warp, rule.name
        coupled, looks = rule.name == "coupled" and not warp.greedy, rule.name != "block"
        kind = Kind(key, needed, odds, proposer, coupled, looks, warp.greedy, combination.opener())
        plan = adaptive(kind, experience, plan)
    return Method(combination, plan, rule, proposer, equals, drafts)


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


ONE_LENGTH = {"speculative": speculative, "relay": relay, "risky": risky, "lookup": lookup}


NAMES = ("standard", "parallel", "speculative:G", "cos:G1,G2,...", "relay:G", "risky:K", "lookup:N", "auto")


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
        raise ConfigurationError(f"a schedule is a name or an object of unisono.decoding.schedules, not: {value!r}")
    name, _, rest = value.partition(":")
    if name == "auto" and not rest:
        return static.drafting_ahead(parameters, odds) if odds else static.automatic(parameters, needed, weights)
    if name in ("standard", "parallel") and not rest:
        return standard() if name == "standard" else parallel()
    if name not in (*ONE_LENGTH, "cos"):
        raise unknown("schedule", value, NAMES)
    lengths = _parse_lengths(name, rest, len(parameters) if name == "cos" else 1)
    if name != "cos":
        return ONE_LENGTH[name](*lengths) if len(lengths) == 1 else _refuse_count(value, 1)
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
        raise ConfigurationError(f"schedule {value} needs 1 draft length, as in {value.partition(':')[0]}:2")
    raise ConfigurationError(f"schedule {value} needs {count} draft lengths, one for each of {count} members")


FASTEST = "token"  # what `auto` takes where texts need not be reproducible


def as_verification(name: str) -> Verification | None:
    """The verification of that name; None for "auto", which is chosen for each request.

    Raises:
        ConfigurationError: there is no such verification.
    """
    if name != "auto" and name not in VERIFICATIONS:
        raise unknown("verification", name, ["auto", *VERIFICATIONS])
    return VERIFICATIONS.get(name)


def usable_verification(verification: Verification, certain: bool) -> Verification:
    """What decides proposals under it: of one-hot laws no rule accepts more than another, so there `block` is `token`."""
    return VERIFICATIONS["token"] if certain and verification.name == "block" else verification


def automatic_verification(greedy: bool, reproducible: bool) -> Verification:
    """The verification that measures best.

    Args:
        greedy: at temperature 0 all give the same text, and `token` costs least. reproducible: the text is to be the
            same whatever the schedule.
    """
    return VERIFICATIONS["coupled" if reproducible and not greedy else FASTEST]
