"""Compare members and combinations on the same items, with paired intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.ensemble import Ensemble
from unisono.evals.likelihood import log_probabilities
from unisono.evals.statistics import Estimate, difference, ratio
from unisono.evals.tasks import ExactMatch, Outcome, Task

WARM_UP = 2  # items


@dataclass(frozen=True)
class Row:
    """One row of a comparison.

    kind: `member`, `fused` (a combination) or `router`.
    gain: the advantage over the best member. A positive gain is better. None for members.
    seconds, tokens_per_second: the cost. None for routers, because a router runs no member.
    """

    name: str
    kind: str
    score: Estimate
    gain: Estimate | None
    seconds: float | None
    tokens_per_second: float | None
    forwards_per_token: tuple[float, ...]
    scores: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain values for JSON, without the scores of the single items."""
        kept = {key: getattr(self, key) for key in ("name", "kind", "seconds", "tokens_per_second")}
        gain = self.gain.as_dict() if self.gain else None
        forwards = list(self.forwards_per_token)
        return kept | {"score": self.score.as_dict(), "gain_over_best_member": gain, "forwards_per_token": forwards}


def compare(
    ensemble: Ensemble,
    task: Task,
    combinations: Sequence[object],
    schedule: str = "auto",
    progress: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """Run every member alone and every combination on the task. If the task has exact answers, also evaluate routers.

    A router picks one member for each prompt. Before a method is timed, the method runs on a few
    items once, because a first run takes longer.
    """

    def outcome(name: str, combination: object, plan: str) -> Outcome:
        progress(name)
        task.first(WARM_UP).run(ensemble, combination, plan)
        return task.run(ensemble, combination, plan)

    alone = [outcome(name, f"only:{index}", "standard") for index, name in enumerate(ensemble.names)]
    fused = [outcome(str(combination), combination, schedule) for combination in combinations]
    best = best_of(alone, task.higher)
    rows = [_row(name, "member", outcome, None, task) for name, outcome in zip(ensemble.names, alone, strict=True)]
    rows += [_row(outcome.method, "fused", outcome, best, task) for outcome in fused]
    if isinstance(task, ExactMatch) and len(alone) > 1:
        progress("routers")
        rows += routers(ensemble, task, alone, best)
    return rows


def best_of(outcomes: Sequence[Outcome], higher: bool) -> Outcome:
    """Return the outcome with the best mean score. `higher` says whether a higher score is better."""
    return (max if higher else min)(outcomes, key=lambda each: ratio(each.scores, each.sizes).value)


def routers(ensemble: Ensemble, task: ExactMatch, alone: Sequence[Outcome], best: Outcome) -> list[Row]:
    """Return the rows of two routers that pick one member for each prompt.

    One router picks the member for which the prompt has the lowest perplexity. The other router is an oracle: if any
    member answers the prompt correctly, the oracle picks such a member.
    """
    pairs = [("", item.prompt) for item in task.items]
    found = [log_probabilities(ensemble, pairs, f"only:{index}")[0] for index in range(len(alone))]
    totals = [[score.total for score in scores] for scores in zip(*found, strict=True)]
    scores = list(zip(*(each.scores for each in alone), strict=True))
    routed = {
        "router: lower prompt perplexity": tuple(
            each[values.index(max(values))] for each, values in zip(scores, totals, strict=True)
        ),
        "router: oracle": tuple(map(max, scores)),
    }
    return [_row(name, "router", Outcome(name, values, 0.0, 0), best, task) for name, values in routed.items()]


def _row(name: str, kind: str, outcome: Outcome, best: Outcome | None, task: Task) -> Row:
    score, gain = ratio(outcome.scores, outcome.sizes), None
    if best is not None:
        pair = (outcome.scores, best.scores) if task.higher else (best.scores, outcome.scores)
        gain = difference(*pair, outcome.sizes)
    if outcome.tokens == 0:
        return Row(name, kind, score, gain, None, None, (), outcome.scores)
    forwards = tuple(count / outcome.tokens for count in outcome.forwards)
    speed = outcome.tokens / outcome.seconds
    return Row(name, kind, score, gain, outcome.seconds, speed, forwards, outcome.scores)


def by_skill(task: ExactMatch, rows: Sequence[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the accuracy and its interval for each skill and each row.

    Items with two skills form the group `two skills`.
    """
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(task.items):
        groups.setdefault(item.skills[0] if len(item.skills) == 1 else "two skills", []).append(index)
    return {
        group: {row.name: ratio([row.scores[index] for index in indices]).as_dict() for row in rows}
        for group, indices in groups.items()
    }
