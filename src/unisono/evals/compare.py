"""Members and fused methods side by side on the same items, with paired intervals."""

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
    """One line of a comparison. gain: how much better than the best member, positive is better; None for members.

    seconds and forwards are None for routers, which run nothing of their own here.
    """

    name: str
    kind: str  # member, fused or router
    score: Estimate
    gain: Estimate | None
    seconds: float | None
    tokens_per_second: float | None
    forwards_per_token: tuple[float, ...]
    scores: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values without the single scores, for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "score": self.score.as_dict(),
            "gain_over_best_member": self.gain.as_dict() if self.gain else None,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "forwards_per_token": list(self.forwards_per_token),
        }


def compare(
    ensemble: Ensemble,
    task: Task,
    combinations: Sequence[object],
    schedule: str = "auto",
    progress: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """Every member alone, every combination, and for exact answers the routers that pick a member per prompt.

    Before each is timed it runs on a few items, so that nobody pays for what is made at first use.
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
    """The one with the best mean score."""
    means = [ratio(outcome.scores, outcome.sizes).value for outcome in outcomes]
    return outcomes[means.index(max(means) if higher else min(means))]


def routers(ensemble: Ensemble, task: ExactMatch, alone: Sequence[Outcome], best: Outcome) -> list[Row]:
    """Routers between whole members, per prompt: by the lower perplexity of the prompt, and by knowing the answer."""
    likelihoods = []
    for index in range(len(alone)):
        pairs = [("", item.prompt) for item in task.items]
        scores, _ = log_probabilities(ensemble, pairs, f"only:{index}")
        likelihoods.append([score.total for score in scores])
    chosen = [values.index(max(values)) for values in zip(*likelihoods, strict=True)]
    routed = {
        "router: lower prompt perplexity": tuple(alone[pick].scores[item] for item, pick in enumerate(chosen)),
        "router: oracle": tuple(max(values) for values in zip(*(each.scores for each in alone), strict=True)),
    }
    return [_row(name, "router", Outcome(name, values, 0.0, 0), best, task) for name, values in routed.items()]


def _row(name: str, kind: str, outcome: Outcome, best: Outcome | None, task: Task) -> Row:
    gain = None
    if best is not None:
        pair = (outcome.scores, best.scores) if task.higher else (best.scores, outcome.scores)
        gain = difference(*pair, outcome.sizes)
    ran = outcome.tokens > 0
    return Row(
        name,
        kind,
        ratio(outcome.scores, outcome.sizes),
        gain,
        outcome.seconds if ran else None,
        outcome.tokens / outcome.seconds if ran else None,
        tuple(count / outcome.tokens for count in outcome.forwards) if ran else (),
        outcome.scores,
    )


def by_skill(task: ExactMatch, rows: Sequence[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Per group of items, per row: accuracy with its interval. Groups are single skills, and `two skills`."""
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(task.items):
        groups.setdefault(item.skills[0] if len(item.skills) == 1 else "two skills", []).append(index)
    return {
        group: {row.name: ratio([row.scores[index] for index in indices]).as_dict() for row in rows}
        for group, indices in groups.items()
    }
