"""Measure several choices on the same prompts and compare their speed with the speed of the baseline.

The speed of a machine changes during a measurement, so absolute times are not compared. For each prompt and repeat,
every choice runs once. The order of the choices rotates. A speed-up is the tokens per second of a run, divided by the
tokens per second of the baseline for the same prompt and repeat.
"""

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from unisono.bench import peers, predict
from unisono.bench.choice import BASELINE, Choice
from unisono.ensemble import Ensemble
from unisono.params import SamplingParams

RESAMPLES = 4000
LEVEL = 0.05  # the share of the resamples that are below the lower bound
WARM = 8  # tokens of the warm-up run


@dataclass(frozen=True)
class Run:
    """One timed call of `generate`.

    choice: the label of the choice.
    group: the index of the group of prompts that ran together.
    names: the names of the combination, the schedule and the verification.
    decided: the number of decided proposals. accepted: the number of accepted proposals.
    forwards: the number of forwards of each member. busy: the seconds of each member's forwards. The lists are empty if
    another library decoded.
    plans: for each plan that `auto` followed, the number of turns.
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
    """The result for one choice.

    speedup: for each prompt, the median over repeats is taken; the speed-up is the median of these values.
    low: the lower 95% bound of `speedup`.
    speedups: for each prompt, the median over repeats.
    acceptance: accepted proposals divided by decided proposals, over all runs.
    acceptances: the acceptance of each run that decided proposals.
    forwards: for each member, the number of forwards per token.
    cost: the time of one forward of the default proposer, divided by the time of one forward of the other member. None
    unless exactly two members ran.
    predicted: the speed-up by the formula of the CoS paper.
    replayed: the speed-up that the module `replay` predicts.
    uses: the names of the combination, the schedule and the verification.
    plans: for each plan that `auto` followed, its share of the turns. The largest share comes first.
    """

    schedule: str
    speedup: float
    speedups: tuple[float, ...]
    tokens_per_second: float
    acceptance: float | None
    acceptances: tuple[float, ...]
    forwards: tuple[float, ...]
    cost: float | None
    predicted: float | None
    low: float = 0.0
    replayed: float | None = None
    uses: str = ""
    plans: Mapping[str, float] = field(default_factory=dict)


def measure(
    ensemble: Ensemble,
    groups: Sequence[Sequence[Any]],
    params: SamplingParams,
    choices: Sequence[Choice],
    repeats: int,
    done: Sequence[Run] = (),
    **overrides: Any,
) -> Iterator[Run]:
    """Yield a `Run` for each choice, group of prompts and repeat that is not in `done`."""
    known = {(run.choice, run.group, run.repeat) for run in done}
    warm = replace(params, max_tokens=min(WARM, params.max_tokens))
    for choice in choices:  # the warm-up fills caches and starts thread pools
        run_once(ensemble, groups[0], warm, choice, overrides)
    for repeat in range(repeats):
        for index, group in enumerate(groups):
            turn = (repeat + index) % len(choices)
            for choice in [*choices[turn:], *choices[:turn]]:
                if (choice.label, index, repeat) not in known:
                    seed = None if params.seed is None else params.seed + repeat
                    found = run_once(ensemble, group, replace(params, seed=seed), choice, overrides)
                    yield replace(found, choice=choice.label, group=index, repeat=repeat)


def run_once(
    ensemble: Ensemble, group: Sequence[Any], params: SamplingParams, choice: Choice, overrides: Mapping[str, Any]
) -> Run:
    """Return one timed run. The caller must set the fields `choice`, `group` and `repeat` of the run."""
    if choice.peer:
        tokens, seconds = peers.generate(choice.schedule, ensemble, group, params)
        return Run("", 0, 0, tokens, seconds, {"schedule": choice.schedule})
    started = time.perf_counter()
    results = ensemble.generate(list(group), params, progress=False, **{**overrides, **choice.overrides})
    seconds, stats = time.perf_counter() - started, [result.stats for result in results]
    members = list(zip(*(each.members for each in stats), strict=True))
    return Run(
        *("", 0, 0, sum(each.tokens for each in stats), seconds),
        names={key: getattr(results[0], key) for key in ("combination", "schedule", "verification")},
        decided=sum(each.verified for each in stats),
        accepted=sum(each.accepted for each in stats),
        forwards=tuple(sum(row.forwards for row in member) for member in members),
        busy=tuple(sum(row.seconds for row in member) for member in members),
        plans=dict(sum((Counter(each.plans) for each in stats), Counter())),
    )


def cells(runs: Sequence[Run], choices: Sequence[Choice], proposer: int) -> list[Cell]:
    """Return one cell per choice, in the order of `choices`. `runs` has the runs of all choices."""
    baseline = [run for run in runs if run.choice == BASELINE]
    return [_cell([run for run in runs if run.choice == choice.label], baseline, proposer) for choice in choices]


def _cell(runs: Sequence[Run], baseline: Sequence[Run], proposer: int) -> Cell:
    gains, cost = ratios(runs, baseline), _cost(baseline, proposer)
    decided, tokens = sum(run.decided for run in runs), sum(run.tokens for run in runs)
    acceptance = sum(run.accepted for run in runs) / decided if decided else None
    names, plans = runs[0].names, sum((Counter(run.plans) for run in runs), Counter())
    return Cell(
        schedule=runs[0].choice,
        speedup=middle(gains),
        speedups=tuple(statistics.median(each) for each in gains),
        tokens_per_second=statistics.median(run.speed for run in runs),
        acceptance=acceptance,
        acceptances=tuple(run.accepted / run.decided for run in runs if run.decided),
        forwards=tuple(sum(member) / tokens for member in zip(*(run.forwards for run in runs), strict=True)),
        cost=cost,
        predicted=predict.of(names["schedule"], proposer, cost, acceptance),
        low=lower_bound(gains),
        uses=" ".join(names.values()),
        plans={name: count / plans.total() for name, count in plans.most_common()},
    )


def ratios(runs: Sequence[Run], others: Sequence[Run]) -> list[list[float]]:
    """Return one list per group of prompts, with one ratio per repeat.

    A ratio is the speed in `runs` divided by the speed in `others`, for the same group and repeat.
    """
    beside = {(run.group, run.repeat): run.speed for run in others}
    groups: dict[int, list[float]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run.speed / beside[run.group, run.repeat])
    return [groups[index] for index in sorted(groups)]


def middle(values: Sequence[Sequence[float]]) -> float:
    """Return the median of the medians. `values` has one list per prompt, with one value per repeat."""
    return statistics.median(map(statistics.median, values))


def lower_bound(values: Sequence[Sequence[float]], seed: int = 0) -> float:
    """Return the lower 95% bound of `middle(values)`.

    The bound is the 5% quantile of `middle` over bootstrap resamples. A resample draws prompts, and then
    repeats of each drawn prompt, with replacement.
    """
    generator = np.random.default_rng(seed)
    table = np.array([list(each[: min(map(len, values))]) for each in values])
    prompts = generator.integers(len(table), size=(RESAMPLES, len(table), 1))
    repeats = generator.integers(table.shape[1], size=(RESAMPLES, *table.shape))
    medians = np.median(np.median(table[prompts, repeats], axis=2), axis=1)
    return float(np.quantile(medians, LEVEL))


def _cost(runs: Sequence[Run], proposer: int) -> float | None:
    """Return the proposer's mean forward time divided by the other member's mean forward time.

    The result is the median over the runs. Return None unless exactly two members ran in each run.
    """
    if any(len(run.forwards) != 2 or not all(run.forwards) for run in runs):
        return None
    means = [[busy / count for busy, count in zip(run.busy, run.forwards, strict=True)] for run in runs]
    return statistics.median(each[proposer] / each[1 - proposer] for each in means)
