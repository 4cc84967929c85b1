"""Draw tokens by inverting cumulative sums, without a float64 copy of the laws."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unisono import transfer

BLOCK = 1024  # tokens
Floats = NDArray[np.floating]
WIDE = (torch.float32, torch.float64)  # the number types of numpy


def inverse(laws: Tensor, uniforms: Tensor) -> Tensor:
    """Return tokens [B] drawn from laws [B, V] by inverting their cumulative sums at uniform numbers [B] in (0, 1).

    The entries of a law need not sum to 1. A law with nan gives an arbitrary valid token; callers detect such laws
    separately. The token is that of `inverse_whole` except where a threshold is within rounding of a cumulative sum:
    the sums of blocks of tokens say in which block the token is, and only this block has cumulative sums. All sums are
    float64.
    """
    short = laws.shape[-1] <= 2 * BLOCK
    if short or laws.dtype not in WIDE or not transfer.on_host(laws):
        return inverse_whole(laws, uniforms)
    laws = laws.detach()
    sums = _sums(laws)
    rows = zip(laws.numpy(), sums.numpy(), uniforms.tolist(), strict=True)
    tokens = [_token(*row) for row in rows]
    return torch.tensor(tokens, dtype=torch.long)


def inverse_whole(laws: Tensor, uniforms: Tensor) -> Tensor:
    """Return the same as `inverse`, from the cumulative sums of the whole laws."""
    cumulative = torch.cumsum(laws, -1, dtype=torch.float64)
    total = cumulative[..., -1:]
    thresholds = total * uniforms.unsqueeze(-1)
    # right=True skips tokens with probability 0: it finds the first cumulative sum that exceeds the threshold
    tokens = torch.searchsorted(cumulative, thresholds, right=True)
    return tokens.squeeze(-1).clamp(max=laws.shape[-1] - 1)


def _sums(laws: Tensor) -> Tensor:
    """Return the float64 sum of each block of tokens: [B, N]. The last block may be shorter."""
    size = laws.shape[-1]
    whole = size // BLOCK * BLOCK
    blocks = laws[:, :whole].reshape(len(laws), size // BLOCK, BLOCK)
    sums = blocks.sum(-1, dtype=torch.float64)
    if whole == size:
        return sums
    rest = laws[:, whole:]
    last = rest.sum(-1, keepdim=True, dtype=torch.float64)
    return torch.cat([sums, last], -1)


def _token(law: Floats, sums: NDArray[np.float64], uniform: float) -> int:
    """Return the token of one law [V], given the sums of its blocks."""
    cumulative = sums.cumsum()
    threshold = cumulative[-1] * uniform
    block = int(cumulative.searchsorted(threshold, side="right"))
    block = min(block, len(sums) - 1)
    start = block * BLOCK
    below = cumulative[block - 1] if block else 0.0
    inside = law[start : start + BLOCK].cumsum(dtype=np.float64)
    # The sum of a block may exceed its last cumulative sum by a rounding error
    most = np.nextafter(inside[-1], 0.0)
    within = min(threshold - below, most)
    place = int(inside.searchsorted(within, side="right"))
    return start + min(place, len(inside) - 1)
