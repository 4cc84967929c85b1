"""Admission of rows: a queue, and a memory budget for the members' KV caches.

Rows are admitted in the order of submission. A row that does not fit yet waits, and all later rows wait too. So short
requests cannot delay a long request forever. A row that can never fit is refused with an error.
"""

from collections import deque
from collections.abc import Sequence

from unisono.decoding.row import Row
from unisono.errors import RequestError
from unisono.members.base import Context
from unisono.members.lineup import Lineup


class Admission:
    """The queue of rows that wait until they can run in an engine.

    Args:
        rows: the maximum number of rows that run at the same time.
        memory: the maximum number of bytes of the caches of all members together.
    """

    def __init__(self, lineup: Lineup, rows: int, memory: int) -> None:
        self._lineup = lineup
        self._rows = rows
        self._memory = memory
        self._waiting: deque[Row] = deque()
        self._empty()

    def check(self, contexts: Sequence[Context], units: int) -> None:
        """Raise RequestError if a row with these contexts and `units` further tokens can never run."""
        places = self._lineup.places(contexts, units)
        needed = self._lineup.memory(1, places)
        if needed > self._memory:
            raise RequestError(
                f"the request does not fit: {max(places)} tokens (prompt and max_tokens) need {_mebi(needed)} of cache, "
                f"the budget is {_mebi(self._memory)}; ask for fewer tokens or give more memory"
            )

    def add(self, row: Row) -> None:
        self._waiting.append(row)

    @property
    def waiting(self) -> tuple[Row, ...]:
        return tuple(self._waiting)

    def remove(self, row: Row) -> None:
        """Remove a row from the queue. A row that is not in the queue is ignored."""
        if row in self._waiting:
            self._waiting.remove(row)

    def admit(self, running: Sequence[Row]) -> list[Row]:
        """Remove from the queue all rows that may start now, given the running rows. Return the removed rows."""
        if not (running or self._lineup.keeps):
            self._empty()
        admitted: list[Row] = []
        for row in list(self._waiting) if len(running) < self._rows else []:
            if row.finished:
                self._waiting.remove(row)
            if row.finished or not row.ready():
                continue
            together = len(running) + len(admitted) + 1
            grown = self._grow(together, self._lineup.places(row.task.contexts, row.task.limit))
            if together > self._rows or self._lineup.memory(*grown) > self._memory:
                break
            self._waiting.remove(row)
            self._grown = grown
            admitted.append(row)
        return admitted

    def _grow(self, rows: int, places: Sequence[int]) -> tuple[int, list[int]]:
        """Return the number of slots in the caches for `rows` rows, and for each member the length of a slot.

        All slots of a member have the length of the longest row that was admitted so far.
        """
        slots, longest = self._grown
        return max(slots, rows), [max(pair) for pair in zip(longest, places, strict=True)]

    def _empty(self) -> None:
        self._grown = (0, [0 for _ in self._lineup.everyone])


def _mebi(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
