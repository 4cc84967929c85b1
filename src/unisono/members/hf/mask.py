"""Attention masks for rows of unequal length, in the form that the model takes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Masks:
    """Makes the attention mask of a forward.

    kinds: the kinds of attention in the model's layers, full or sliding. sliding: tokens in the sliding window.
    additive: dtype of a mask that is added to attention scores; None for a boolean mask.
    """

    kinds: tuple[str, ...]
    sliding: int
    additive: torch.dtype | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Masks | None":
        """Return the masks for this model; None if the model has another kind of attention."""
        config = model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        listed = getattr(config, "layer_types", None)
        kinds = tuple(sorted(set(listed or [SLIDING if window else FULL])))
        implementation = config._attn_implementation
        if not set(kinds) <= {FULL, SLIDING} or implementation not in ("sdpa", "eager"):
            return None
        return cls(kinds, window or 0, model.dtype if implementation == "eager" else None)

    def __call__(self, positions: Tensor, seen: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the mask [R, 1, W, N], or one per kind: position p sees positions up to p (the last `sliding`).

        Args:
            positions: [R, W]. seen: [N], the positions of the keys: 0, 1, 2, ...
        """
        positions = positions.unsqueeze(-1)
        full = seen <= positions
        masks = {
            kind: self._form(full if kind == FULL else full & (seen > positions - self.sliding)) for kind in self.kinds
        }
        return masks if len(masks) > 1 else masks[self.kinds[0]]

    def _form(self, mask: Tensor) -> Tensor:
        mask = mask.unsqueeze(1)
        if self.additive is None:
            return mask
        lowest = torch.finfo(self.additive).min
        return torch.zeros(mask.shape, dtype=self.additive, device=mask.device).masked_fill(~mask, lowest)
