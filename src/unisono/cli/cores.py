"""Set the number of OpenMP threads, and how these threads wait. Call `settle` before torch is imported.

Threads that share an operation wait for each other at the end of the operation. By default, a waiting thread of GNU
OpenMP spins for up to 300,000 turns, which is longer than a time slice. If other processes run, a spinning thread can
occupy the core that the last thread needs. With these settings, a waiting thread spins only for about the time between
two operations, and then sleeps.
"""

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

SPINS = 5000
WAITING = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
COUNTS = {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}


def settle(environment: MutableMapping[str, str] = os.environ, system: Path = Path("/")) -> None:
    """Set the OpenMP variables that the user has not set.

    OpenMP itself respects the CPU affinity of the process, but not the CPU quota. So this function reads the quota and
    sets the number of threads.

    Args:
        environment: the environment variables. The function changes this mapping in place.
        system: the root of the file system.
    """
    if not WAITING & environment.keys():
        environment["GOMP_SPINCOUNT"] = str(SPINS)
        environment["KMP_BLOCKTIME"] = "1"  # milliseconds; for Intel's OpenMP
    quota = min(_quotas(system), default=None)
    if quota is not None and quota < _affinity() and not COUNTS & environment.keys():
        environment["OMP_NUM_THREADS"] = str(max(1, int(quota)))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(system: Path) -> Iterator[float]:
    """Yield the CPU quotas that apply to this process, in cores.

    The quotas come from the control groups of the process and from all parent groups, in version 1 or 2.
    """
    for line in _read(system / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = system / "sys/fs/cgroup" / ("cpu" if controllers else "")
        own = root / place.lstrip("/")
        for folder in (own, *own.parents):
            if not folder.is_relative_to(root):
                break
            split = (_read(folder / "cpu.cfs_quota_us") + _read(folder / "cpu.cfs_period_us")).split()
            limit, period = [*(split or _read(folder / "cpu.max").split()), "", ""][:2]
            if limit.isdigit() and period.isdigit():  # "max" and -1 mean no limit
                yield int(limit) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
