"""Enlarge a Llama without changing its law, to measure real acceptance rates at the cost of a larger model.

Hidden states are padded with zeros from size h to H. This multiplies the mean square in RMSNorm by h / H, so its weight is
multiplied by sqrt(h / H) and its epsilon by h / H. The outputs of new heads, MLP columns and layers are zero. The logits are
equal to those of the small model up to rounding.
"""

import copy
import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel


@torch.no_grad()
def inflate(
    model: PreTrainedModel, hidden: int = 768, layers: int = 12, intermediate: int = 2048, seed: int = 0
) -> LlamaForCausalLM:
    """Return a Llama of the given size (88M parameters by default) with the logits of `model`.

    Args:
        model: a Llama with tied embeddings and as many key-value heads as heads. No size may exceed the given one.
        seed: for weights without effect on the logits: queries, keys and gates of the new layers.

    Raises:
        ValueError: a size of `model` is larger than the given one.
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
            weight.zero_()  # the output of a new layer is zero
        if name in source:
            small = source[name]
            weight.zero_()
            corner = tuple(slice(size) for size in small.shape)
            weight[corner] = small * (math.sqrt(share) if "norm" in name else 1.0)
    large.load_state_dict(target)
    large.generation_config = model.generation_config
    return large.eval()
