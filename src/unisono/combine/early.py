"""A base class for combinations whose law may be known before all needed members have scored."""

import torch
from torch import Tensor

from unisono.combine.base import OwnCombination
from unisono.combine.positions import Positions
from unisono.sampling.warp import AnyWarp


class EarlyCombination(OwnCombination):
    """A combination that implements the protocol `Certainty`.

    A subclass overrides `fixed` or `certain`, and returns itself as `certainty` in `traits`.
    """

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return at which positions the law is final: bool [N].

        By default, the law of every position is final if all needed members have scored. Otherwise no law is final.
        """
        logits = positions.scores[0].logits
        known = positions.heard.issuperset(self.needed(len(positions.scores)))
        return torch.full(logits.shape[:-1], known, device=logits.device)

    def certain(self, positions: Positions, warp: AnyWarp, tokens: Tensor, chances: Tensor) -> Tensor:
        """Return bool [N]: whether a proposal is accepted for all possible scores of members that have not scored.

        By default, the result is False for all proposals.
        """
        return torch.zeros_like(tokens, dtype=torch.bool)
