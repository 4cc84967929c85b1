"""Compare the schedules of one ensemble in a script."""

from collections.abc import Callable, Sequence
from typing import Any

from unisono import Ensemble, SamplingParams
from unisono.bench.choice import BASELINE, Choice
from unisono.bench.measure import Cell, Run, cells, measure


def compare(
    ensemble: Ensemble,
    prompts: Sequence[str],
    params: SamplingParams,
    schedules: Sequence[str],
    repeats: int = 3,
    progress: Callable[[], None] = lambda: None,
    **overrides: Any,
) -> list[Cell]:
    """Measure schedules against `standard`. Return one cell per schedule, the baseline first.

    Args:
        params: for every run; repeat i adds i to its seed.
        progress: called after each of the len(prompts) * repeats * (len(schedules) + 1) runs.
        overrides: as for `Ensemble.generate`.
    """
    choices = [Choice(BASELINE), *(Choice.parse(name) for name in schedules if name != BASELINE)]
    runs: list[Run] = []
    for run in measure(ensemble, [[prompt] for prompt in prompts], params, choices, repeats, **overrides):
        runs.append(run)
        progress()
    return cells(runs, choices, ensemble.method(params, **overrides).proposer)
