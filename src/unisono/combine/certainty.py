"""Combinations whose law may be known before all needed members have scored."""

import torch
from torch import Tensor

from unisono.combine.base import OwnCombination
from unisono.combine.positions import Positions
from unisono.sampling.warp import AnyWarp


class EarlyCombination(OwnCombination):
    """A combination that is its own `Certainty`. A subclass passes itself to `Traits` where it may know something early."""

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return where the law cannot change any more: bool [N]; here, where all needed members have scored."""
        logits = positions.scores[0].logits
        known = positions.heard.issuperset(self.needed(len(positions.scores)))
        return torch.full(logits.shape[:-1], known, device=logits.device)

    def certain(self, positions: Positions, warp: AnyWarp, tokens: Tensor, chances: Tensor) -> Tensor:
        """Return where the proposals `tokens` are accepted in any case: bool [N]; here, nowhere."""
        return torch.zeros_like(tokens, dtype=torch.bool)
