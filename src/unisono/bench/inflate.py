"""Enlarge a Llama without changing its law: real acceptance at the cost of a larger model.

Hidden states are padded with zeros, so RMSNorm's mean shrinks by h / H: its weight takes the factor sqrt(h / H) and its
epsilon h / H. New heads, MLP columns and layers write zeros. The logits are those of the small model up to rounding.
"""

import copy
import math

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel


@torch.no_grad()
def inflate(
    model: PreTrainedModel, hidden: int = 768, layers: int = 12, intermediate: int = 2048, seed: int = 0
) -> LlamaForCausalLM:
    """A Llama of the given size (88M parameters by default) with the logits of `model`.

    Args:
        model: a Llama with tied embeddings and as many key-value heads as heads, no larger in any way.
        seed: of the weights that do not matter: queries, keys, gates of the new layers.
    """
    old = model.config
    if old.hidden_size > hidden or old.num_hidden_layers > layers or old.intermediate_size > intermediate:
        raise ValueError("a model can only be enlarged")
    share, head = old.hidden_size / hidden, old.hidden_size // old.num_attention_heads
    settings = old.to_dict() | {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": intermediate,
        "num_attention_heads": hidden // head,
        "num_key_value_heads": hidden // head,
        "head_dim": head,
        "rms_norm_eps": old.rms_norm_eps * share,
    }
    torch.manual_seed(seed)
    large = LlamaForCausalLM(LlamaConfig(**settings)).to(torch.float32)
    source, target = copy.deepcopy(model).float().state_dict(), large.state_dict()
    for name, weight in target.items():
        if "norm" in name:
            weight.fill_(math.sqrt(share))
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()  # a new layer writes nothing
        if name in source:
            _place(weight, source[name], math.sqrt(share) if "norm" in name else 1.0)
    large.load_state_dict(target)
    large.generation_config = model.generation_config
    return large.eval()


def _place(weight: Tensor, small: Tensor, factor: float) -> None:
    """The small weight in the corner of zeros."""
    weight.zero_()
    weight[tuple(slice(size) for size in small.shape)] = small * factor
