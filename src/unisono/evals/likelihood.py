"""Log-probabilities of many texts together, with what they took."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unisono.ensemble import Ensemble
from unisono.request import Scoring, score_all
from unisono.text.prompts import Pair
from unisono.types import Score, Stats


def scorings(ensemble: Ensemble, pairs: Sequence[Pair], method: Mapping[str, Any]) -> list[Scoring]:
    """Score continuations behind their prompts; RequestError if a pair cannot be split, or does not fit a member."""
    found = ensemble.scorings(pairs, combine=ensemble.method(**method).combination)
    score_all(found, ensemble.engine)
    return found


def log_probabilities(
    ensemble: Ensemble, pairs: Sequence[tuple[str, str]], combine: object = None
) -> tuple[list[Score], tuple[int, ...]]:
    """Scores of (prompt, continuation) pairs under a combination, and the members' forwards for all of them."""
    found = scorings(ensemble, [Pair(*pair) for pair in pairs], {"combine": combine})
    return [scoring.score() for scoring in found], forwards_of(scoring.row.stats for scoring in found)


def forwards_of(stats: Iterable[Stats]) -> tuple[int, ...]:
    """Per member, over all requests."""
    counts = [[member.forwards for member in each.members] for each in stats]
    return tuple(map(sum, zip(*counts, strict=True)))
