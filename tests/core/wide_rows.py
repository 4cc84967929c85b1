"""Rows of logits of large vocabularies, one kind of law each. The kernels for such rows are tested with all kinds."""

from collections.abc import Callable

import torch
from torch import Tensor

INF = float("inf")


def _masked(logits: Tensor) -> Tensor:
    return logits.masked_fill(torch.arange(len(logits)) % 3 > 0, -INF)


def _few(logits: Tensor) -> Tensor:
    return logits.masked_fill(torch.arange(len(logits)) % 997 > 0, -INF)


def _one_token(logits: Tensor) -> Tensor:
    return torch.full_like(logits, -INF).index_fill(0, torch.tensor([len(logits) - 1]), 3.0)


def _sure(logits: Tensor) -> Tensor:
    return logits.index_fill(0, torch.tensor([7]), 60.0)


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "flat": lambda normal: normal,
    "nearly uniform": lambda normal: normal / 1000,
    "peaked": lambda normal: 6 * normal,
    "sure": _sure,
    "tied": lambda normal: (2 * normal).round(),
    "equal": torch.zeros_like,
    "masked": _masked,
    "few": _few,
    "one token": _one_token,
    "bfloat16": lambda normal: (2 * normal).bfloat16().to(normal.dtype),
    "far apart": lambda normal: 1e4 * normal,
}
SIZES = (1025, 5000, 40_000)  # one more than a multiple of the blocks, and others


def row(kind: str, size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return logits [size] of this kind."""
    normal = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return KINDS[kind](normal)
