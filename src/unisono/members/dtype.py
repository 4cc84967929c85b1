"""Which number type is fast here: measured, since CPUs differ in their bfloat16 units."""

import functools
import time

import torch


def fast_dtype(own: torch.dtype | None, device: str) -> torch.dtype:
    """The checkpoint's own type; half precision on a CPU becomes bfloat16 where that is as fast as float32, else float32.

    Args:
        own: the type the checkpoint is stored in.
    """
    own = own or torch.float32
    if own not in (torch.bfloat16, torch.float16):
        return own
    if device.startswith("cpu"):
        return torch.bfloat16 if _bfloat16_pays() else torch.float32
    return own


@functools.cache
def _bfloat16_pays() -> bool:
    return _seconds(torch.bfloat16) <= _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """Fastest of several products of the shape of a decoding step: four tokens by a weight matrix."""
    tokens, weight = torch.ones(4, 1024, dtype=dtype), torch.ones(4096, 1024, dtype=dtype)
    runs = []
    for _ in range(8):
        started = time.perf_counter()
        torch.nn.functional.linear(tokens, weight)
        runs.append(time.perf_counter() - started)
    return min(runs)
