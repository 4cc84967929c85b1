"""Give back memory that holds a copy of a file.

The loader of compiled forwards maps their file and copies the weights out of it, so they would count twice.
"""

import ctypes
from pathlib import Path

PAGEOUT = 21  # MADV_PAGEOUT of Linux 5.4 and later: pages that equal their file are dropped, and read again if touched
MAPS = Path("/proc/self/maps")


def drop(part: str) -> None:
    """Drop the resident pages of mapped files whose path contains `part`; elsewhere than on Linux do nothing."""
    if not MAPS.exists():
        return
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for line in MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        if part in line:
            start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            madvise(start, end - start, PAGEOUT)
