"""What each member says along a given text, for everything that needs more than the text's log-probabilities."""

import torch
from torch import Tensor

from unisono.ensemble import Ensemble
from unisono.members.base import Work
from unisono.text.prompts import Pair


@torch.inference_mode()
def forced(ensemble: Ensemble, prompt: str, continuation: str) -> tuple[list[int], list[Tensor]]:
    """The continuation's tokens [K], and each member's logits [K, V] in front of them.

    Raises:
        RequestError: the texts cannot be split into tokens, or do not fit a member's context.
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
