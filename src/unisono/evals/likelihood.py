"""Log-probabilities of many texts in one batch, and the logits of each member along one text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unisono.ensemble import Ensemble
from unisono.members.base import Work
from unisono.request import Scoring, score_all
from unisono.text.prompts import Pair
from unisono.types import Score, Stats


def scorings(ensemble: Ensemble, pairs: Sequence[Pair], method: Mapping[str, Any]) -> list[Scoring]:
    """Score the continuation of each pair after its prompt. Return one `Scoring` per pair.

    Raises:
        RequestError: a pair cannot be split into tokens, or does not fit the context of a member.
    """
    found = ensemble.scorings(pairs, combine=ensemble.method(**method).combination)
    score_all(found, ensemble.engine)
    return found


def log_probabilities(
    ensemble: Ensemble, pairs: Sequence[tuple[str, str]], combine: object = None
) -> tuple[list[Score], tuple[int, ...]]:
    """Return the score of each (prompt, continuation) pair, and the number of forwards of each member."""
    found = scorings(ensemble, [Pair(*pair) for pair in pairs], {"combine": combine})
    return [scoring.score() for scoring in found], forwards_of(scoring.row.stats for scoring in found)


def forwards_of(stats: Iterable[Stats]) -> tuple[int, ...]:
    """Return the number of forwards of each member, over all requests."""
    counts = [[member.forwards for member in each.members] for each in stats]
    return tuple(map(sum, zip(*counts, strict=True)))


@torch.inference_mode()
def forced(ensemble: Ensemble, prompt: str, continuation: str) -> tuple[list[int], list[Tensor]]:
    """Return the K tokens of the continuation, and for each member the logits [K, V] that predict these tokens.

    Raises:
        RequestError: the texts cannot be split into tokens, or do not fit the context of a member.
    """
    prepared = ensemble.prompts.prepare(Pair(prompt, continuation))
    found, target = [], prepared.units
    for member, context in zip(ensemble.members, prepared.contexts, strict=True):
        slot = member.open(context)
        try:
            (scores,) = member.score([Work(slot, context.size, target[:-1], len(target))])
            found.append(scores.logits.clone())
        finally:
            member.close(slot)
    return list(target), found
