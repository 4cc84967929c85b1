"""Choose the parameters of a combination on the development split. This module does not use the test split."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from unisono import combine
from unisono.combine import Combination
from unisono.ensemble import Ensemble
from unisono.errors import require_known
from unisono.evals.compare import best_of
from unisono.evals.tasks import Outcome, Task

EIGHT_TENTHS = tuple(step / 10 for step in range(2, 10))
# For each combination, the values to try for each of its parameters
GRIDS: dict[str, Sequence[Sequence[object]]] = {
    "contrastive": [(0.05, 0.1, 0.2, 0.3, 0.5, 0.7)],
    "contrastive_masked": [(0.05, 0.1, 0.3), (0.1, 0.3, 0.5, 1.0)],
    "cosd": [(0.3, 0.5, 0.7, 0.9), (0.25, 0.5, 1.0, 1.5)],
    "cascade": [("chow", "opt", "tokenv3"), (0.1, 0.3, 0.5, 0.7)],
    "nudge": [EIGHT_TENTHS],
    "proxy": [(0.25, 0.5, 0.75, 1.0, 1.5, 2.0)],
    "realign": [(0.25, 0.5, 0.75, 1.0, 1.25, 1.5)],
    "guidance": [(1.1, 1.25, 1.5, 2.0, 3.0)],
}
WEIGHTED = ("weighted", "product", "gate")  # combinations with a weight per member


def simplex(members: int) -> Iterator[list[float]]:
    """Yield all weights of the members that are positive multiples of a step and have the sum 1.

    The step is a tenth for two members, a sixth for three to six members, and 1 / `members` for more members.
    """
    parts = 10 if members == 2 else max(members, 6)
    for cuts in itertools.combinations(range(1, parts), members - 1):
        borders = [0, *cuts, parts]
        yield [(after - before) / parts for before, after in itertools.pairwise(borders)]


def grid(name: str, members: int) -> list[Combination]:
    """Return the combinations with this name to try, one for each choice of parameters.

    Raise ConfigurationError if the combination has no parameters to tune.
    """
    require_known("combination to tune", [name], [*GRIDS, *WEIGHTED])
    build = getattr(combine, name)
    if name == "gate":
        return [build([1.0] * members, threshold) for threshold in EIGHT_TENTHS]
    if name in WEIGHTED:
        return [build(weights) for weights in simplex(members)]
    return [build(*values) for values in itertools.product(*GRIDS[name])]


def tune(
    ensemble: Ensemble,
    task: Task,
    name: str,
    schedule: str = "auto",
    progress: Callable[[str], None] = lambda name: None,
) -> tuple[Combination, list[Outcome]]:
    """Return the best candidate for a combination on a development task, and the outcomes of all candidates.

    Raises:
        ConfigurationError: the combination has no parameters to tune, or does not fit the members.
    """
    count = len(ensemble.lineup.combined)
    candidates = grid(name, count)
    for candidate in candidates:
        candidate.check(count)
    outcomes = []
    for candidate in candidates:
        progress(candidate.name)
        outcomes.append(task.run(ensemble, candidate, schedule))
    return candidates[outcomes.index(best_of(outcomes, task.higher))], outcomes
