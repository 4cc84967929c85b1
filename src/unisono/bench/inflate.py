"""Enlarge a Llama without changing its law.

The proposals of an enlarged model are accepted as often as those of the small model. A forward of an enlarged model
costs as much as a forward of any other model of the same size.

Hidden states are padded with zeros from size h to H. This multiplies the mean square in RMSNorm by h / H. To
compensate, the weight of RMSNorm is multiplied by sqrt(h / H), and its epsilon by h / H. New heads, new MLP columns and
new layers have the output zero. So the logits equal those of the small model up to rounding.
"""

import copy
import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel


@torch.no_grad()
def inflate(
    model: PreTrainedModel, hidden: int = 768, layers: int = 12, intermediate: int = 2048, seed: int = 0
) -> LlamaForCausalLM:
    """Return a Llama of the given size that has the logits of `model`. The default size is 88M parameters.

    Args:
        model: a Llama with tied embeddings and with equal numbers of heads and key-value heads.
        seed: the seed for weights without effect on the logits: the queries, keys and gates of the new layers.

    Raises:
        ValueError: `model` is larger than the given size.
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
