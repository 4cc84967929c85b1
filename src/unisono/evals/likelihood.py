"""Log-probabilities of many texts together, with what they took."""

from collections.abc import Mapping, Sequence
from typing import Any

from unisono.ensemble import Ensemble
from unisono.request import Scoring, score_all
from unisono.text.prompts import Pair
from unisono.types import Score


def scorings(ensemble: Ensemble, pairs: Sequence[Pair], method: Mapping[str, Any]) -> list[Scoring]:
    """Score continuations behind their prompts.

    Raises:
        RequestError: a pair cannot be split, or does not fit a member.
    """
    found = ensemble.scorings(pairs, combine=ensemble.method(**method).combination)
    score_all(found, ensemble.engine)
    return found


def log_probabilities(
    ensemble: Ensemble, pairs: Sequence[tuple[str, str]], combine: object = None
) -> tuple[list[Score], tuple[int, ...]]:
    """Scores of (prompt, continuation) pairs under a combination, and the members' forwards for all of them."""
    found = scorings(ensemble, [Pair(*pair) for pair in pairs], {"combine": combine})
    counts = [[member.forwards for member in scoring.row.stats.members] for scoring in found]
    return [scoring.score() for scoring in found], tuple(map(sum, zip(*counts, strict=True)))
