"""Which method a call uses: names and objects as users give them, and what `auto` makes of a request.

Where the schedule is `auto`, the request may have another way to the same law: `weighted` becomes `drawn` at a temperature
above 0, unless log-probabilities are asked for. With a given seed the text must not depend on how fast the members are
today: the combination stays, and the verification is `coupled`.
"""

from collections.abc import Sequence

from unisono.combine import as_combination
from unisono.params import SamplingParams
from unisono.schedules import as_schedule, default_proposer, peers
from unisono.task import Method
from unisono.verify import automatic, parse, usable
from unisono.warp import Warp


def choose(
    parameters: Sequence[int], params: SamplingParams, combine: object, schedule: object, verification: object
) -> Method:
    """The method for members with that many parameters each.

    Raises:
        ConfigurationError: a name is unknown, or does not fit the members or the parameters.
    """
    count, warp = len(parameters), Warp.of(params)
    combination = as_combination(combine, count)
    if schedule == "auto" and params.seed is None and not params.logprobs:
        combination = combination.equivalent(warp)
    needed, weights = combination.needed(count), [combination.weight(member) for member in range(count)]
    plan = as_schedule(schedule, parameters, needed, weights, combination.odds(warp))
    opener = combination.opener()
    proposer = default_proposer(parameters, weights, needed) if opener is None else opener
    equals = peers(proposer, parameters, weights, needed)
    reproducible = params.seed is not None and schedule == "auto"
    rule = parse(str(verification)) or automatic(warp.greedy, reproducible)
    return Method(combination, plan, usable(rule, warp.greedy), proposer, equals)
