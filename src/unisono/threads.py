"""Threads that run torch operations.

OpenMP keeps a team of worker threads for every thread that has run an operation. The team exists until that thread
ends. If all teams of a process together have more threads than there are cores, workers sleep between operations
instead of spinning. Then each of the hundreds of operations of a forward pass has to wake its workers. A compiled
forward pass with 88M parameters took 28 ms with an idle second team, and 12 ms without a second team (docs/log.md).
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from unisono.errors import require_count

T = TypeVar("T")


def use(count: int | None) -> None:
    """Set the number of threads that run one torch operation, for this process. None changes nothing.

    Raises:
        ConfigurationError: `count` is no integer or less than 1.
    """
    if count is not None:
        require_count("threads", count, 1)
        torch.set_num_threads(count)


def apart(function: Callable[[], T]) -> T:
    """Run a function in a new thread and return the result. So the calling thread does not get an OpenMP team."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome.result()


def side_by_side(count: int) -> ThreadPoolExecutor:
    """Return a pool of `count` threads that share the cores equally. The pool starts each thread on demand."""
    cores = torch.get_num_threads()
    return ThreadPoolExecutor(count, initializer=_share, initargs=(max(1, cores // count), cores))


def _share(threads: int, default: int) -> None:
    """Set the number of OpenMP threads for operations of the current thread only.

    torch also makes this number the default for threads that start later. So another thread sets the old default again.
    """
    torch.get_num_threads()  # otherwise the first operation of this thread would use the default
    torch.set_num_threads(threads)
    restoring = threading.Thread(target=torch.set_num_threads, args=(default,))
    restoring.start()
    restoring.join()
