"""The default dtype of a member. It depends only on the checkpoint and the processor, so results can be repeated."""

import torch
from transformers import PreTrainedConfig

from unisono.members.hf.artifact import machine


def default_dtype(config: PreTrainedConfig, device: str) -> torch.dtype:
    """Return the checkpoint's dtype; on a CPU, half precision becomes bfloat16 if it is fast there, else float32."""
    own = config.dtype or config.get_text_config().dtype or torch.float32  # models that read images set the second one
    if own not in (torch.bfloat16, torch.float16) or not device.startswith("cpu"):
        return own
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


def multiplies_bfloat16() -> bool:
    """Return whether this processor has AVX512-BF16, AMX or ARM's BF16 instructions."""
    _, flags = machine()
    found = {"avx512_bf16", "amx_bf16", "bf16"} & set(flags.split())
    return bool(found) or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
