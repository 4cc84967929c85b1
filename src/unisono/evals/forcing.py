"""The logits of each member along a given text."""

import torch
from torch import Tensor

from unisono.ensemble import Ensemble
from unisono.members.base import Work
from unisono.text.prompts import Pair


@torch.inference_mode()
def forced(ensemble: Ensemble, prompt: str, continuation: str) -> tuple[list[int], list[Tensor]]:
    """Return the continuation's K tokens, and for each member the logits [K, V] that predict them.

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
