"""A forward pass as a function of tensors only, for compilers and CUDA graphs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from unisono.members.hf.attention import FUSED, attention
from unisono.members.hf.facts import cache_argument
from unisono.members.hf.mask import Masks


class Step(torch.nn.Module):
    """Appends W tokens to each of R slots, and returns the logits after each token.

    Args:
        masks: makes the attention masks of the model. context: number of positions of the model; None for no limit.
    """

    def __init__(self, model: PreTrainedModel, masks: Masks, context: int | None) -> None:
        super().__init__()
        self.model = model
        self._masks = masks
        self._argument = cache_argument(model)
        self.context = context

    def forward(
        self, ids: Tensor, starts: Tensor, seen: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> Tensor:
        """Return the logits after each new token: [R, W, V] in float32.

        Args:
            ids: [R, W], the new tokens. starts: [R], the position of each slot's first new token.
            seen: [N], the positions that attention reads: the numbers from 0 to N - 1.
            keys, values: one tensor [R, heads, capacity, dim] per layer. Keys and values of the new tokens are written
                into these tensors.
        """
        positions = starts.unsqueeze(1) + torch.arange(ids.shape[1], device=ids.device)
        layers = [StepLayer(*stores, positions, seen.shape[0]) for stores in zip(keys, values, strict=True)]
        output = self.model(
            input_ids=ids,
            attention_mask=self._masks(positions, seen),
            position_ids=positions if self.context is None else positions.clamp(max=self.context - 1),
            use_cache=True,
            **{self._argument: Cache(layers=layers)},
        )
        logits: Tensor = output.logits.float()
        return logits


class Traced:
    """A `Step` that runs without a compiler, with the attention that is compiled. Tests use it in place of `Compiled`."""

    idle = 8

    def __init__(self, step: Step) -> None:
        self._step = step

    def frame(self, first: int, last: int, width: int) -> tuple[int, int, int]:
        """Return the range of places (start, end) and the number of tokens to run, without padding."""
        return first, last, width

    def __call__(
        self, ids: Tensor, starts: Tensor, window: int, keys: Sequence[Tensor], values: Sequence[Tensor]
    ) -> Tensor:
        """Return the logits [R, W, V] in float32."""
        with attention(self._step.model, FUSED):
            logits: Tensor = self._step(ids, starts, torch.arange(window, device=ids.device), keys, values)
        return logits


class StepLayer(CacheLayerMixin):
    """The keys and values [R, heads, capacity, dim] of one layer during a forward pass."""

    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor, window: int) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = True
        self._positions, self._window = positions, window

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing, because the constructor receives the tensors."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write states [R, heads, W, dim] of new tokens. Return keys and values [R, heads, N, dim] for attention."""
        rows = torch.arange(key_states.shape[0], device=key_states.device).unsqueeze(1)
        # Two index tensors with a slice between them put the indexed dimensions first: [R, W, heads, dim]
        self.keys[rows, :, self._positions] = key_states.transpose(1, 2)
        self.values[rows, :, self._positions] = value_states.transpose(1, 2)
        return self.keys[:, :, : self._window], self.values[:, :, : self._window]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._window, 0

    def get_seq_length(self) -> int:
        return self._window - self._positions.shape[1]

    def get_max_length(self) -> int:
        return -1
