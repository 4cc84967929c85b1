"""The largest scores of rows, without sorting the vocabulary. The lowest id wins a tie."""

import torch
from torch import Tensor

from unisono import transfer

BLOCK = 64  # the largest scores of a row lie in the blocks with the largest maxima
WIDE = (torch.float32, torch.float64)  # the number types of numpy
DIRECT = 4096  # smaller rows are not divided into blocks


def best(scores: Tensor) -> Tensor:
    """Return the id of the largest score of the last dimension. The lowest id wins a tie."""
    if scores.dtype in WIDE and transfer.on_host(scores):
        # numpy's argmax is the same as torch's, and several times as fast
        found = scores.detach().numpy().argmax(-1)
        return torch.as_tensor(found)
    return scores.argmax(-1)


def largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest scores of the last dimension and their ids, best first; the lowest id wins a tie."""
    size = scores.shape[-1]
    if count <= 1:
        ids = best(scores).unsqueeze(-1)
        ids = ids[..., :count]
        return scores.gather(-1, ids), ids
    if size <= count or not transfer.on_host(scores):
        return largest_sorted(scores, count)
    rows = scores.reshape(-1, size)
    values, ids = top(rows, count + 1)
    least, next_one = values[:, count - 1], values[:, count]
    ids = ids[:, :count]
    tied = (~(least > next_one)).nonzero()  # also where one of the two is nan
    for row in tied[:, 0].tolist():
        ids[row] = _first_largest(rows[row], least[row], count)
    ids = ids.sort(-1).values  # the order of ids decides between equal scores
    values = rows.gather(-1, ids)
    values, order = values.sort(stable=True, dim=-1, descending=True)
    ids = ids.gather(-1, order)
    shape = (*scores.shape[:-1], count)
    return values.view(shape), ids.view(shape)


def largest_sorted(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the same as `largest`, by sorting all scores."""
    values, ids = scores.sort(stable=True, dim=-1, descending=True)
    return values[..., :count], ids[..., :count]


def _first_largest(scores: Tensor, least: Tensor, count: int) -> Tensor:
    """Return the ids of the `count` largest scores [V] in any order. `least` is the smallest of these scores."""
    if least.isnan():
        return largest_sorted(scores, count)[1]
    above = (~(scores <= least)).nonzero()  # nan is larger than every number
    equal = (scores == least).nonzero()
    missing = count - len(above)
    return torch.cat([above, equal[:missing]])[:, 0]


def top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest scores of rows [N, V] and their ids, best first. Any id may win a tie.

    A score that is one of the `count` largest lies in one of the `count` blocks with the largest maxima.
    """
    size, device = scores.shape[-1], scores.device
    blocks = size // BLOCK
    if size <= DIRECT or 4 * count > blocks:
        return scores.topk(count, -1)
    end = blocks * BLOCK
    whole = scores[:, :end].reshape(-1, blocks, BLOCK)
    peaks = whole.amax(-1)
    chosen = peaks.topk(count, -1).indices
    starts = chosen.unsqueeze(-1) * BLOCK
    inside = (starts + torch.arange(BLOCK, device=device)).flatten(1)
    rest = torch.arange(end, size, device=device)
    ids = torch.cat([inside, rest.expand(len(scores), -1)], -1)
    values, places = scores.gather(-1, ids).topk(count, -1)
    return values, ids.gather(-1, places)
