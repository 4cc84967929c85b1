"""The law of a combination, from plain logits, and what is known of it before all members have scored."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unisono.combine import Combination, Positions
from unisono.combine.base import target_law
from unisono.sampling.warp import AnyWarp


def law_of(combination: Combination, logits: Sequence[Tensor], warp: AnyWarp) -> Tensor:
    """Return the target law [N, V] of a combination that reads nothing but the members' logits [N, V]."""
    return target_law(combination, Positions.of(logits, warp), warp)


def heard_by(logits: Sequence[Tensor], heard: Sequence[int], warp: AnyWarp) -> Positions:
    """Return positions that only some members have scored; the other members get the scores of the first of these."""
    given = [each if member in heard else logits[heard[0]] for member, each in enumerate(logits)]
    return Positions(Positions.of(given, warp).scores, frozenset(heard))


def fixed(combination: Combination, logits: Sequence[Tensor], heard: Sequence[int], warp: AnyWarp) -> Tensor:
    """Return where the law is known from the scores of some members: bool [N]."""
    certainty = combination.traits(warp).certainty
    if certainty is None:
        return torch.full((len(logits[0]),), set(heard) >= set(combination.needed(len(logits))))
    return certainty.fixed(heard_by(logits, heard, warp), warp)


def certain(
    combination: Combination,
    logits: Sequence[Tensor],
    heard: Sequence[int],
    warp: AnyWarp,
    tokens: Tensor,
    chances: Tensor,
) -> Tensor:
    """Return which proposals are accepted whatever the other members score: bool [N]."""
    certainty = combination.traits(warp).certainty
    if certainty is None:
        return torch.zeros(len(tokens), dtype=torch.bool)
    return certainty.certain(heard_by(logits, heard, warp), warp, tokens, chances)
