"""What each member says along a given text, for everything that needs more than the text's log-probabilities."""

import torch
from torch import Tensor

from unisono.ensemble import Ensemble
from unisono.members.base import Work


@torch.inference_mode()
def forced(ensemble: Ensemble, prompt: str, continuation: str) -> tuple[list[int], list[Tensor]]:
    """The continuation's tokens [K], and each member's logits [K, V] in front of them.

    Raises:
        RequestError: the texts cannot be split into tokens, or do not fit a member's context.
    """
    rows = ensemble.prompts.pair(prompt, continuation)
    found = []
    for member, (context, target) in zip(ensemble.members, rows, strict=True):
        slot = member.open()
        try:
            (logits,) = member.score([Work(slot, [*context, *target[:-1]], len(target))])
            found.append(logits.clone())
        finally:
            member.close(slot)
    return list(rows[0][1]), found
