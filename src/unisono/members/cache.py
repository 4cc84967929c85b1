"""A key-value cache that is rolled back by lowering one number.

transformers' growing cache concatenates at every step and cannot drop tokens that left a sliding window. Here each
layer owns a buffer with room to spare; tokens are written behind the current length, and a rollback lowers the length
without touching the data. Layers with a sliding window keep all tokens: the model's mask hides those out of the window,
so a rollback across the window's edge is correct too.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class RewindableLayer(CacheLayerMixin):
    """Keys and values of one layer for one sequence: [1, heads, capacity, dim], of which `length` are valid."""

    is_sliding = False
    is_croppable = True
    block = 256  # capacity grows by doubling, from this many tokens

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = _room(key_states, self.block)
        self.values = _room(value_states, self.block)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append [1, heads, n, dim] behind the current length; return all valid keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        if end > self.keys.shape[-2]:
            self._grow(end)
        self.keys[..., self.length : end, :] = key_states
        self.values[..., self.length : end, :] = value_states
        self.length = end
        return self.keys[..., :end, :], self.values[..., :end, :]

    def rewind(self, length: int) -> None:
        self.length = min(self.length, length)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        self.length = 0

    def _grow(self, length: int) -> None:
        capacity = max(length, 2 * self.keys.shape[-2])
        keys, values = _room(self.keys, capacity), _room(self.values, capacity)
        keys[..., : self.length, :] = self.keys[..., : self.length, :]
        values[..., : self.length, :] = self.values[..., : self.length, :]
        self.keys, self.values = keys, values


class RewindableCache(Cache):
    """One `RewindableLayer` per layer of the model, made when the model first writes to it."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=RewindableLayer)

    def rewind(self, length: int) -> None:
        """Keep the first `length` tokens."""
        for layer in self.layers:
            layer.rewind(length)


def _room(like: Tensor, capacity: int) -> Tensor:
    """An empty buffer for `capacity` tokens. Zeros: garbage could be nan, and 0 * nan in a masked product is nan."""
    batch, heads, _, size = like.shape
    return torch.zeros(batch, heads, capacity, size, dtype=like.dtype, device=like.device)
