"""The default dtype of a member. It depends only on checkpoint, device and processor, so results can be repeated."""

import torch
from transformers import PreTrainedConfig

from unisono.members.hf.artifact import machine


def default_dtype(config: PreTrainedConfig, device: str) -> torch.dtype:
    """Return the checkpoint's dtype, except for half precision on a CPU.

    On a CPU, half precision is replaced by bfloat16 if the processor has instructions for bfloat16, else by float32.
    """
    own = config.dtype or config.get_text_config().dtype or torch.float32  # image models set the second
    if own not in (torch.bfloat16, torch.float16) or not device.startswith("cpu"):
        return own
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


def multiplies_bfloat16() -> bool:
    """Return whether this processor has AVX512-BF16, AMX or ARM's BF16 instructions."""
    _, flags = machine()
    found = {"avx512_bf16", "amx_bf16", "bf16"} & set(flags.split())
    return bool(found) or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
