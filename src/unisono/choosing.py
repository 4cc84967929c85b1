"""Which method a call uses: names and objects as users give them, and what `auto` makes of a request.

Where the schedule is `auto`, the request may have another way to the same law: `weighted` becomes `drawn` at a temperature
above 0, unless log-probabilities are asked for. With a given seed the text must not depend on how fast the members are
today: the combination stays, and the verification is `coupled`.
"""

from collections.abc import Sequence

from unisono.combine import as_combination
from unisono.experience import Experience
from unisono.params import SamplingParams
from unisono.pilot import Kind, adaptive
from unisono.schedules import as_schedule
from unisono.task import Method
from unisono.verify import automatic, parse, usable
from unisono.warp import Warp


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
    rule = parse(str(verification)) or automatic(warp.greedy, reproducible)
    rule = usable(rule, warp.greedy or plan.certain)
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
