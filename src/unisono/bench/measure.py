"""Choices side by side: the same prompts, interleaved in one run, medians of ratios.

Machines are noisy and drift, so no absolute time is compared: for each prompt and repeat every choice runs once, in an
order that rotates, and a choice's speed-up is its tokens per second over those of the baseline run beside it.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from unisono.bench import peers, predict
from unisono.bench.choice import BASELINE, Choice
from unisono.ensemble import Ensemble
from unisono.params import SamplingParams
from unisono.types import Result

RESAMPLES = 4000
LEVEL = 0.05  # of resamples below the lower bound
WARM = 8  # tokens of the run that warms up


@dataclass(frozen=True)
class Run:
    """One timed call. group: index of its prompt, or of the prompts that were rows of one batch.

    names: what the call used, `auto` resolved. members: per member forwards, seconds in them; all 0 for a peer, which
    does not tell. decided: per run of a row proposals that were decided, and accepted. plans: turns by what `auto` followed.
    """

    choice: str
    group: int
    repeat: int
    tokens: int
    seconds: float
    names: Mapping[str, str]
    decided: int = 0
    accepted: int = 0
    forwards: tuple[int, ...] = ()
    busy: tuple[float, ...] = ()
    plans: Mapping[str, int] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Cell:
    """What was measured for one choice.

    speedup: median over prompts of the median over repeats of tokens/s over the baseline's; low: its lower 95% bound,
    by resampling prompts and repeats. acceptance: accepted over decided proposals. forwards: per member and token. cost:
    time of one forward of the default proposer over one of the other member; None for other than two members that both
    run. predicted: the CoS paper's speed-up for both. replayed: ours, by `replay`. uses: what the call used.
    plans: shares of turns by the schedule that `auto` followed, largest first.
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
    low: float = 0.0
    replayed: float | None = None
    uses: str = ""
    plans: Mapping[str, float] = field(default_factory=dict)


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
    choices = [Choice(BASELINE), *(Choice.parse(name) for name in schedules if name != BASELINE)]
    runs: list[Run] = []
    groups = [[prompt] for prompt in prompts]
    for run in measure(ensemble, groups, params, choices, repeats, runs, **overrides):
        runs.append(run)
        progress()
    return cells(runs, choices, ensemble.method(params, **overrides).proposer)


def measure(
    ensemble: Ensemble,
    groups: Sequence[Sequence[Any]],
    params: SamplingParams,
    choices: Sequence[Choice],
    repeats: int,
    done: Sequence[Run] = (),
    **overrides: Any,
) -> Any:
    """Yield a `Run` for each choice, group of prompts and repeat, without those that are done already."""
    known = {(run.choice, run.group, run.repeat) for run in done}
    for choice in choices:  # warm-up: caches, thread pools, lazy initialisation
        _run(ensemble, groups[0], replace(params, max_tokens=min(WARM, params.max_tokens)), choice, overrides)
    for repeat in range(repeats):
        for index, group in enumerate(groups):
            turn = (repeat + index) % len(choices)
            for choice in [*choices[turn:], *choices[:turn]]:
                if (choice.label, index, repeat) not in known:
                    seed = None if params.seed is None else params.seed + repeat
                    found = _run(ensemble, group, replace(params, seed=seed), choice, overrides)
                    yield replace(found, choice=choice.label, group=index, repeat=repeat)


def _run(
    ensemble: Ensemble, group: Sequence[Any], params: SamplingParams, choice: Choice, overrides: Mapping[str, Any]
) -> Run:
    if choice.peer:
        tokens, seconds = peers.generate(choice.schedule, ensemble, group, params)
        return Run("", 0, 0, tokens, seconds, {"schedule": choice.schedule})
    asked = {**overrides, **choice.overrides}
    started = time.perf_counter()
    results = ensemble.generate(list(group), params, progress=False, **asked)
    return _counted(results, time.perf_counter() - started)


def _counted(results: Sequence[Result], seconds: float) -> Run:
    stats, first = [result.stats for result in results], results[0]
    names = {key: getattr(first, key) for key in ("combination", "schedule", "verification")}
    columns = list(zip(*(each.members for each in stats), strict=True))
    return Run(
        choice="",
        group=0,
        repeat=0,
        tokens=sum(each.tokens for each in stats),
        seconds=seconds,
        names=names,
        decided=sum(each.verified for each in stats),
        accepted=sum(each.accepted for each in stats),
        forwards=tuple(sum(member.forwards for member in column) for column in columns),
        busy=tuple(sum(member.seconds for member in column) for column in columns),
        plans=dict(sum((Counter(each.plans) for each in stats), Counter())),
    )


def cells(runs: Sequence[Run], choices: Sequence[Choice], proposer: int) -> list[Cell]:
    """One cell per choice, in their order, from all their runs."""
    baseline = [run for run in runs if run.choice == BASELINE]
    return [_cell([run for run in runs if run.choice == choice.label], baseline, proposer) for choice in choices]


def _cell(runs: Sequence[Run], baseline: Sequence[Run], proposer: int) -> Cell:
    gains = ratios(runs, baseline)
    decided, tokens = sum(run.decided for run in runs), sum(run.tokens for run in runs)
    acceptance = sum(run.accepted for run in runs) / decided if decided else None
    names, plans = runs[0].names, sum((Counter(run.plans) for run in runs), Counter())
    # Forwards of one token, as standard decoding makes them: the paper's cost ratio
    cost = _cost(baseline, proposer)
    return Cell(
        schedule=runs[0].choice,
        speedup=middle(gains),
        speedups=tuple(statistics.median(each) for each in gains),
        tokens_per_second=statistics.median(run.speed for run in runs),
        acceptance=acceptance,
        acceptances=tuple(run.accepted / run.decided for run in runs if run.decided),
        forwards=tuple(sum(column) / tokens for column in zip(*(run.forwards for run in runs), strict=True)),
        cost=cost,
        predicted=predict.of(names["schedule"], proposer, cost, acceptance),
        low=lower_bound(gains),
        uses=" ".join(names.values()),
        plans={name: count / plans.total() for name, count in plans.most_common()},
    )


def ratios(runs: Sequence[Run], others: Sequence[Run]) -> list[list[float]]:
    """Speed of runs over those of the same prompt and repeat beside them: per prompt, one per repeat."""
    beside = {(run.group, run.repeat): run.speed for run in others}
    groups: dict[int, list[float]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run.speed / beside[run.group, run.repeat])
    return [groups[index] for index in sorted(groups)]


def middle(values: Sequence[Sequence[float]]) -> float:
    """Median over prompts of the medians over repeats."""
    return statistics.median(statistics.median(each) for each in values)


def lower_bound(values: Sequence[Sequence[float]], seed: int = 0) -> float:
    """What `middle` exceeds in 95% of resamples of the prompts, and of the repeats of each."""
    dice = np.random.default_rng(seed)
    table = np.array([list(each[: min(map(len, values))]) for each in values])
    prompts = dice.integers(len(table), size=(RESAMPLES, len(table), 1))
    repeats = dice.integers(table.shape[1], size=(RESAMPLES, *table.shape))
    medians = np.median(np.median(table[prompts, repeats], axis=2), axis=1)
    return float(np.quantile(medians, LEVEL))


def _cost(runs: Sequence[Run], proposer: int) -> float | None:
    """Median over runs of the ratio of mean forward times, proposer over verifier; None unless two members ran."""
    if any(len(run.forwards) != 2 or not all(run.forwards) for run in runs):
        return None
    means = [[busy / count for busy, count in zip(run.busy, run.forwards, strict=True)] for run in runs]
    return statistics.median(each[proposer] / each[1 - proposer] for each in means)
