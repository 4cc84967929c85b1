"""Small random models of the same class as a given model, for fast tests of attention beyond the model's window."""

import copy
import re
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

WINDOW = 8  # tokens in the window of a small model
NAMES = re.compile(r"(^|_)window(_size|_len)?$|attention_chunk_size|local_attention$")
WIDTHS = {"hidden_size": 64, "head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 2}
SIZES = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "intermediate_size", "moe_intermediate_size"), 64),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 16),
    **dict.fromkeys(("num_kv_shared_layers", "pad_token_id"), 0),
}


def window(model: PreTrainedModel) -> int:
    """Return the largest attention window or chunk of the model's layers, in tokens; 0 if the config has none."""
    return max(_windows(model.config.get_text_config()).values(), default=0)


def stand_in(model: PreTrainedModel) -> PreTrainedModel:
    """Return a small random float32 model of the same class, with windows of 8 tokens.

    The small model has one layer of each kind, and at least two layers. Errors from the model class are not caught.
    """
    try:
        return _built(model, SIZES | WIDTHS)
    except Exception:  # the widths may depend on each other, so keep the widths of the model
        return _built(model, SIZES)


@torch.inference_mode()
def _built(model: PreTrainedModel, sizes: dict[str, Any]) -> PreTrainedModel:
    config = copy.deepcopy(model.config)
    for part in (config, *(each for each in vars(config).values() if isinstance(each, PreTrainedConfig))):
        _shrink(part, sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built: PreTrainedModel = type(model)(config).float()
        for parameter in built.parameters():
            if parameter.dim() > 1:  # larger than usual, so that each attended token changes the logits
                parameter.data.normal_(0, 1.2 * parameter.shape[-1] ** -0.5)
    built.eval()(input_ids=torch.arange(WINDOW).unsqueeze(0))
    return built


def _shrink(config: PreTrainedConfig, sizes: dict[str, Any]) -> None:
    layers = getattr(config, "num_hidden_layers", None)
    if layers:
        kept = _kept(config, layers)
        for name, value in vars(config).items():
            if isinstance(value, list) and len(value) == layers:
                setattr(config, name, [value[index] for index in kept])
        config.num_hidden_layers = len(kept)
    for name, value in {**sizes, **dict.fromkeys(_windows(config), WINDOW)}.items():
        name = config.attribute_map.get(name, name)
        own = vars(config).get(name)
        if own is not None:
            setattr(config, name, [value] * len(own) if isinstance(own, list) else value)


def _kept(config: PreTrainedConfig, layers: int) -> list[int]:
    """Return the index of the first layer of each kind. Return at least two indices if the model has two layers.

    Two layers are of one kind if they have equal entries in all lists of the config.
    """
    listed = [each for each in vars(config).values() if isinstance(each, list) and len(each) == layers]
    kinds = list(zip(*listed, strict=True)) if listed else []
    first = sorted(kinds.index(kind) for kind in dict.fromkeys(kinds))
    return first if len(first) > 1 else list(range(min(2, layers)))


def _windows(config: PreTrainedConfig) -> dict[str, int]:
    """Return the attributes of a config that limit how many earlier tokens a layer attends to: name -> tokens."""
    found = {name: value for name, value in vars(config).items() if NAMES.search(name)}
    return {name: value for name, value in found.items() if type(value) is int and value > 0}
