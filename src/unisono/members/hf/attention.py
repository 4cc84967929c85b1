"""Attention functions for few tokens on a CPU: `fused` for compiled forward passes, `widened` for other ones.

`fused` computes attention with plain products and sums. A compiler fuses these operations into one pass over the keys
and one pass over the values. For few tokens, the compiled code is faster than torch's kernel, which is made for many
queries. `widened` runs torch's kernel in float32. For one bfloat16 query, this is several times faster.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

FUSED, WIDENED = "unisono_fused", "unisono_widened"
LARGE = 2048  # heads times keys; above this number, `widened` is faster


def fused(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **options: Any
) -> tuple[Tensor, None]:
    """Compute attention with the arguments of transformers. Return the output [R, W, heads, dim] and None.

    Args:
        query: [R, heads, W, dim]. key, value: [R, groups, N, dim].
        attention_mask: [R, 1, W, N], true if the query attends to the key. Each query attends to at least one key.
        options: further options of torch's kernel. An option that would change the result raises ValueError.
    """
    changing = [name for name in ("softcap", "s_aux", "position_bias", "head_mask") if options.get(name) is not None]
    if changing:
        raise ValueError(f"attention with {changing[0]} cannot be fused")
    rows, heads, width, size = query.shape
    groups = key.shape[1]
    queries = _stored(query).float().reshape(rows, groups, heads // groups, width, 1, size)
    keys, values = key.float()[:, :, None, None], value.float()[:, :, None, None]
    scaling = options.get("scaling")
    scores = (queries * keys).sum(-1) * (size**-0.5 if scaling is None else scaling)
    scores = scores.masked_fill(~attention_mask.unsqueeze(2), torch.finfo(torch.float32).min)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    mixed = (weights.unsqueeze(-1) * values).sum(-2) / weights.sum(-1, keepdim=True)
    return mixed.to(query.dtype).reshape(rows, heads, width, -1).transpose(1, 2).contiguous(), None


def _stored(tensor: Tensor) -> Tensor:
    """Return a copy of the tensor. Without this copy, compiled code computes the query again for every key."""
    place = torch.empty_like(tensor, memory_format=torch.contiguous_format)
    place[torch.arange(tensor.shape[0], device=tensor.device)] = tensor
    return place


def widened(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Run torch's kernel in float32. One bfloat16 query is several times faster in this way, even with conversions."""
    mixed, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](
        module, query.float(), key.float(), value.float(), attention_mask, **options
    )
    return mixed.to(query.dtype), None


def widening(model: PreTrainedModel) -> float:
    """Return the smallest total number of keys of a forward pass for which `widened` is used; inf if never used."""
    heads = getattr(model.config.get_text_config(), "num_attention_heads", None)
    if model.dtype != torch.bfloat16 or model.device.type != "cpu" or not heads:
        return inf
    return float(LARGE / heads)


AttentionInterface.register(FUSED, fused)
AttentionInterface.register(WIDENED, widened)


_locks: WeakKeyDictionary[PreTrainedModel, RLock] = WeakKeyDictionary()


def lock_of(model: PreTrainedModel) -> RLock:
    """Return the lock of a model. Only one member at a time runs a model, because a run may replace its attention."""
    return _locks.setdefault(model, RLock())


@contextmanager
def attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Use the attention function `name` inside the `with` block, if the model is on a CPU and uses torch's kernel."""
    config = model.config.get_text_config()
    own = config._attn_implementation
    if own == "sdpa" and model.device.type == "cpu":
        config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = own
