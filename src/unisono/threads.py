"""Threads that run torch operations.

OpenMP keeps a team of worker threads for every thread that has run an operation, until that thread ends. If all teams of a
process together have more threads than there are cores, workers sleep between operations instead of spinning. Then each of
the hundreds of operations of a forward has to wake them. A compiled forward of 88M parameters took 28 ms with an idle
second team and 12 ms without (docs/log.md).
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from unisono.errors import require_count

T = TypeVar("T")


def use(count: int | None) -> None:
    """Set the number of threads of an operation for this process; None changes nothing.

    Raises:
        ConfigurationError: `count` is no integer or less than 1.
    """
    if count is not None:
        require_count("threads", count, 1)
        torch.set_num_threads(count)


def apart(function: Callable[[], T]) -> T:
    """Run a function in a new thread and return its value, so that the calling thread gets no OpenMP team."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome.result()


def side_by_side(count: int) -> ThreadPoolExecutor:
    """Return a pool of `count` threads, each with an equal share of the cores. A thread is started when it is needed."""
    cores = torch.get_num_threads()
    return ThreadPoolExecutor(count, initializer=_share, initargs=(max(1, cores // count), cores))


def _share(threads: int, default: int) -> None:
    """Set the number of OpenMP threads of this thread only.

    torch also makes the number the default of threads that start later, so another thread restores that default.
    """
    torch.get_num_threads()  # otherwise the first operation of this thread would use the default
    torch.set_num_threads(threads)
    restoring = threading.Thread(target=torch.set_num_threads, args=(default,))
    restoring.start()
    restoring.join()
