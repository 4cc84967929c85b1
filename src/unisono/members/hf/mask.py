"""Attention masks for rows of unequal length, in the form that the model accepts."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Masks:
    """Makes the attention masks of a forward pass.

    kinds: the kinds of attention in the model's layers: full, sliding or both. sliding: number of tokens in the sliding
    window. additive: the dtype of masks that are added to attention scores; None for boolean masks.
    """

    kinds: tuple[str, ...]
    sliding: int
    additive: torch.dtype | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Masks | None":
        """Return a `Masks` object; None for attention that accepts no mask or is neither full nor sliding."""
        config = model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        listed = getattr(config, "layer_types", None)
        kinds = tuple(sorted(set(listed or [SLIDING if window else FULL])))
        implementation = config._attn_implementation
        if not set(kinds) <= {FULL, SLIDING} or implementation not in ("sdpa", "eager"):
            return None
        return cls(kinds, window or 0, model.dtype if implementation == "eager" else None)

    def __call__(self, positions: Tensor, seen: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the attention mask [R, 1, W, N]. If the layers have two kinds of attention, return one mask per kind.

        With full attention, position p attends to all positions up to p. With sliding attention, position p attends
        only to the last `sliding` of these positions.

        Args:
            positions: [R, W], the positions of the new tokens. seen: [N], the positions of the keys: 0, 1, 2, ...
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
