"""Log-probabilities of many texts in one batch, with the forwards of the members."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unisono.ensemble import Ensemble
from unisono.request import Scoring, score_all
from unisono.text.prompts import Pair
from unisono.types import Score, Stats


def scorings(ensemble: Ensemble, pairs: Sequence[Pair], method: Mapping[str, Any]) -> list[Scoring]:
    """Score continuations after their prompts.

    Raises:
        RequestError: a pair cannot be split into tokens, or does not fit the context of a member.
    """
    found = ensemble.scorings(pairs, combine=ensemble.method(**method).combination)
    score_all(found, ensemble.engine)
    return found


def log_probabilities(
    ensemble: Ensemble, pairs: Sequence[tuple[str, str]], combine: object = None
) -> tuple[list[Score], tuple[int, ...]]:
    """Return the scores of (prompt, continuation) pairs under a combination, and each member's number of forwards."""
    found = scorings(ensemble, [Pair(*pair) for pair in pairs], {"combine": combine})
    return [scoring.score() for scoring in found], forwards_of(scoring.row.stats for scoring in found)


def forwards_of(stats: Iterable[Stats]) -> tuple[int, ...]:
    """Return the number of forwards per member, over all requests."""
    counts = [[member.forwards for member in each.members] for each in stats]
    return tuple(map(sum, zip(*counts, strict=True)))
