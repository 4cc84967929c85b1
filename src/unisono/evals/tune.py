"""Choosing a combination's parameters on a development split; the test split is never looked at here."""

import itertools
from collections.abc import Callable, Iterator

from unisono.combine import (
    Combination,
    cascade,
    contrastive,
    contrastive_masked,
    cosd,
    gate,
    guidance,
    nudge,
    product,
    proxy,
    realign,
    weighted,
)
from unisono.ensemble import Ensemble
from unisono.errors import require_known
from unisono.evals.compare import best_of
from unisono.evals.tasks import Outcome, Task

TENTHS = [round(step / 10, 1) for step in range(11)]


def simplex(members: int) -> Iterator[list[float]]:
    """Weights in equal steps that sum to 1, each member with some: tenths for two members, sixths for more."""
    parts = 10 if members == 2 else max(members, 6)
    for cuts in itertools.combinations(range(1, parts), members - 1):
        borders = [0, *cuts, parts]
        yield [(after - before) / parts for before, after in itertools.pairwise(borders)]


GRIDS: dict[str, Callable[[int], list[Combination]]] = {
    "weighted": lambda members: [weighted(weights) for weights in simplex(members)],
    "product": lambda members: [product(weights) for weights in simplex(members)],
    "contrastive": lambda members: [contrastive(mu) for mu in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)],
    "contrastive_masked": lambda members: [
        contrastive_masked(alpha, beta) for alpha in (0.05, 0.1, 0.3) for beta in (0.1, 0.3, 0.5, 1.0)
    ],
    "cosd": lambda members: [cosd(alpha, beta) for alpha in (0.3, 0.5, 0.7, 0.9) for beta in (0.25, 0.5, 1.0, 1.5)],
    "cascade": lambda members: [
        cascade(rule, alpha) for rule in ("chow", "opt", "tokenv3") for alpha in (0.1, 0.3, 0.5, 0.7)
    ],
    "nudge": lambda members: [nudge(threshold) for threshold in TENTHS[2:10]],
    "gate": lambda members: [gate([1.0] * members, threshold) for threshold in TENTHS[2:10]],
    "proxy": lambda members: [proxy(alpha) for alpha in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)],
    "realign": lambda members: [realign(lam) for lam in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)],
    "guidance": lambda members: [guidance(scale) for scale in (1.1, 1.25, 1.5, 2.0, 3.0)],
}


def tune(
    ensemble: Ensemble,
    task: Task,
    name: str,
    schedule: str = "auto",
    progress: Callable[[str], None] = lambda name: None,
) -> tuple[Combination, list[Outcome]]:
    """The best parameters of a combination on a development task, and what every candidate did.

    Raises:
        ConfigurationError: the combination has no parameters to tune, or does not fit the members.
    """
    require_known("combination to tune", [name], GRIDS)
    count = len(ensemble.lineup.combined)
    candidates = GRIDS[name](count)
    for candidate in candidates:
        candidate.check(count)
    outcomes = []
    for candidate in candidates:
        progress(candidate.name)
        outcomes.append(task.run(ensemble, candidate, schedule))
    return candidates[outcomes.index(best_of(outcomes, task.higher))], outcomes
