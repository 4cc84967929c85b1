"""How much memory is free."""

import psutil
import torch


def free_memory(device: str) -> int:
    """Bytes that can be taken on a device now."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return int(psutil.virtual_memory().available)
