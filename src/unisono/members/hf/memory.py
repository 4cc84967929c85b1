"""Check before loading whether a model fits in memory."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from unisono.errors import MemberError
from unisono.members.memory import free_memory


def auto_class(config: PreTrainedConfig) -> Any:
    """Return the transformers class that loads a model with this config: for text, or for images and text."""
    causal, wrapped = AutoModelForCausalLM, AutoModelForImageTextToText
    own = getattr(config, "auto_map", None) or {}  # code in the model's folder
    known = type(config) in causal._model_mapping or causal.__name__ in own
    return wrapped if not known and (type(config) in wrapped._model_mapping or wrapped.__name__ in own) else causal


def empty_model(config: PreTrainedConfig, trust_remote_code: bool = False) -> PreTrainedModel:
    """Return a model with this config but without memory for weights, to read its properties before loading."""
    with torch.device("meta"):
        model: PreTrainedModel = auto_class(config).from_config(config, trust_remote_code=trust_remote_code)
    return model


def require_room(name: str, parameters: int, dtype: torch.dtype, device: str) -> None:
    """Raise MemberError if this number of parameters does not fit in the device's memory."""
    needed, free, kind = parameters * dtype.itemsize, free_memory(device), str(dtype).removeprefix("torch.")
    if needed > free:
        raise MemberError(
            f"member {name} does not fit: {parameters / 1e6:,.0f}M parameters in {kind} need "
            f"{needed / 2**30:.1f} GiB, {device} has {free / 2**30:.1f} GiB free; "
            "use a smaller dtype, a quantization, another device or a smaller model"
        )
