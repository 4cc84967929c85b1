"""The amount of free memory of a device."""

import psutil
import torch


def free_memory(device: str) -> int:
    """Return how many bytes can be allocated on a device now."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return int(psutil.virtual_memory().available)
