"""Schedules side by side: the same prompts, interleaved in one run, medians of ratios.

Machines are noisy and drift, so no absolute time is compared: within each prompt and repeat every schedule runs once,
in an order that rotates, and a schedule's speed-up is its tokens per second over those of the baseline run beside it.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from unisono.bench import predict
from unisono.ensemble import Ensemble
from unisono.params import SamplingParams
from unisono.types import Result, Stats

BASELINE = "standard"


@dataclass(frozen=True)
class Cell:
    """What was measured for one schedule.

    speedup: median over prompts of the median over repeats of tokens/s over the baseline's. acceptance: accepted over
    decided proposals. forwards: per member and token. cost: time of one forward of the default proposer over one of
    the other member; None for other than two members that both run. predicted: the paper's speed-up for both.
    """

    schedule: str
    speedup: float
    speedups: tuple[float, ...]  # one per prompt
    tokens_per_second: float
    acceptance: float | None
    acceptances: tuple[float, ...]  # of each run, to show how much it varies; empty if nothing is proposed
    forwards: tuple[float, ...]
    cost: float | None
    predicted: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def compare(
    ensemble: Ensemble,
    prompts: Sequence[str],
    params: SamplingParams,
    schedules: Sequence[str],
    repeats: int = 3,
    progress: Callable[[], None] = lambda: None,
    **overrides: Any,
) -> list[Cell]:
    """Measure schedules against `standard`; one cell per schedule, the baseline first.

    Args:
        params: of every run; its seed is counted up so that repeats differ.
        progress: called after every run; there are len(prompts) * repeats * (len(schedules) + 1) of them.
        overrides: as for `Ensemble.generate`.
    """
    names = [BASELINE, *(name for name in schedules if name != BASELINE)]
    for name in names:  # warm-up: caches, thread pools, lazy initialisation
        ensemble.generate(prompts[0], replace(params, max_tokens=8), schedule=name, **overrides)
    runs: dict[str, list[list[Result]]] = {name: [] for name in names}
    for prompt in prompts:
        for name in names:
            runs[name].append([])
        for repeat in range(repeats):
            turn = repeat % len(names)
            for name in names[turn:] + names[:turn]:
                setting = replace(params, seed=(params.seed or 0) + repeat)
                runs[name][-1] += ensemble.generate(prompt, setting, schedule=name, **overrides)
                progress()
    proposer = ensemble.method(**overrides).proposer
    return [_cell(name, runs[name], runs[BASELINE], proposer) for name in names]


def _cell(name: str, runs: list[list[Result]], baseline: list[list[Result]], proposer: int) -> Cell:
    speedups = tuple(
        statistics.median(_speed(run) / _speed(base) for run, base in zip(mine, theirs, strict=True))
        for mine, theirs in zip(runs, baseline, strict=True)
    )
    stats = [result.stats for results in runs for result in results]
    verified = sum(each.verified for each in stats)
    acceptance = sum(each.accepted for each in stats) / verified if verified else None
    tokens = sum(each.tokens for each in stats)
    count = len(stats[0].members)
    # Forwards of one token, as standard decoding makes them: the paper's cost ratio
    cost = _cost([result.stats for results in baseline for result in results], proposer) if count == 2 else None
    return Cell(
        schedule=runs[0][0].schedule,
        speedup=statistics.median(speedups),
        speedups=speedups,
        tokens_per_second=statistics.median(each.tokens_per_second for each in stats),
        acceptance=acceptance,
        acceptances=tuple(each.acceptance for each in stats if each.acceptance is not None),
        forwards=tuple(sum(each.members[k].forwards for each in stats) / tokens for k in range(count)),
        cost=cost,
        predicted=predicted_speedup(name, acceptance, cost, proposer),
    )


def predicted_speedup(schedule: str, acceptance: float | None, cost: float | None, proposer: int) -> float | None:
    """The paper's formula for a schedule of two members, or None where it has none."""
    name, _, lengths = schedule.partition(":")
    if acceptance is None or cost is None or name not in ("speculative", "cos"):
        return None
    drafts = [int(length) for length in lengths.split(",")]
    if name == "speculative":
        return predict.speculative(acceptance, cost, drafts[0])
    return predict.alternating(acceptance, cost, drafts[proposer], drafts[1 - proposer])


def _speed(result: Result) -> float:
    return result.stats.tokens_per_second


def _cost(stats: Sequence[Stats], proposer: int) -> float | None:
    """Median over runs of the ratio of mean forward times, proposer over verifier; None if one of them did not run."""
    if not all(member.forwards for each in stats for member in each.members):
        return None
    return statistics.median(
        (each.members[proposer].seconds / each.members[proposer].forwards)
        / (each.members[1 - proposer].seconds / each.members[1 - proposer].forwards)
        for each in stats
    )
