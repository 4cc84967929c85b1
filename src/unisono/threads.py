"""Threads that compute. OpenMP keeps a team of helpers for every thread that has computed, as long as that lives.

Once the teams of a process are larger than its cores, helpers sleep between two operations instead of waiting for the next
one, and each of the hundreds of operations of a forward wakes them: a compiled forward of 88M parameters took 28 ms
beside an idle second team, 12 ms without (docs/log.md).
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from unisono.errors import require_count

T = TypeVar("T")


def use(count: int | None) -> None:
    """Let every operation of this process take so many threads; None leaves it as it is.

    Raises:
        ConfigurationError: it is no integer, 1 or more.
    """
    if count is not None:
        require_count("threads", count, 1)
        torch.set_num_threads(count)


def apart(function: Callable[[], T]) -> T:
    """What a function gives in a thread of its own, whose team ends with it: for whoever leaves computing to others."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome.result()


def side_by_side(count: int) -> ThreadPoolExecutor:
    """Threads that compute at the same time, each with its share of the cores. None is started before it is given work."""
    cores = torch.get_num_threads()
    return ThreadPoolExecutor(count, initializer=_share, initargs=(max(1, cores // count), cores))


def _share(threads: int, default: int) -> None:
    """Let this thread use so many; torch makes that the default of later threads as well, so another one puts it back."""
    torch.get_num_threads()  # else its first operation would take the default
    torch.set_num_threads(threads)
    restoring = threading.Thread(target=torch.set_num_threads, args=(default,))
    restoring.start()
    restoring.join()
