"""A client's request in a worker: its rows, and the queue from which its answer is read."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from unisono.decoding.row import Row
from unisono.request import Request
from unisono.server.observation import Observer
from unisono.server.tally import Tally
from unisono.types import Commit, Piece, Result


@dataclass(frozen=True)
class Update:
    """What one step added to one choice of the answer. Only the last update has a `result`."""

    choice: int
    pieces: Sequence[Piece]
    observed: dict[str, Any] = field(default_factory=dict)

    @property
    def commits(self) -> list[Commit]:
        return [piece.commit for piece in self.pieces if piece.commit is not None]

    @property
    def result(self) -> Result | None:
        return self.pieces[-1].result if self.pieces else None


@dataclass
class Choice:
    """One row of a job.

    tally: counts the row's settlings as they happen. Between two calls of `take` there may be several, since the engine
    also steps for rows that score prompts. served: when the row last got tokens; None before the first. result: there once
    the row has ended.
    """

    request: Request
    observer: Observer | None = None
    tally: Tally = field(default_factory=Tally)
    served: float | None = None
    result: Result | None = None

    def __post_init__(self) -> None:
        self.request.listen(self.tally)

    def take(self, started: float) -> tuple[list[Piece], dict[str, Any]]:
        """Return the pieces since the last call, and the observer's description of the step that began at `started`.

        Raises the error that ended the row.
        """
        pieces = self.request.drain()
        if pieces:
            self.result = pieces[-1].result
        if self.observer is None:
            return pieces, {}
        count = sum(piece.commit is not None for piece in pieces)
        return pieces, self.observer.look(count, started, time.perf_counter())


class Lonely:
    """Rows without a job, and a future for their end. Made in the event loop's thread."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()

    def send(self, error: Exception | None) -> None:
        """Set the result of `over`, or the error that ended the rows. Called in any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: Exception | None) -> None:
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)


class CancelledError(Exception):
    """The client has left, so its request ends."""


class Job:
    """A request in two threads: the worker's thread steps its rows, the event loop's thread reads `updates`.

    Args:
        requests: one per choice of the answer.
        observer: of the only choice, if the client asked for a trace.
        deadline: when the job is given up, as `time.perf_counter` tells.
    """

    def __init__(
        self, requests: Sequence[Request], created: float, deadline: float, observer: Observer | None = None
    ) -> None:
        self.choices = [Choice(request, observer) for request in requests]
        self.created = created
        self.deadline = deadline
        self.ended = False  # for the worker
        self.released = False  # for the event loop
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[list[Update] | Exception] = asyncio.Queue()

    async def updates(self) -> AsyncIterator[Update]:
        """Yield what each step adds, until every choice has its result.

        Raises the error that ended the job early: an error of a row, `CancelledError`, or a time limit.
        """
        left = len(self.choices)
        while left:
            got = await self._queue.get()
            if isinstance(got, Exception):
                raise got
            for update in got:
                left -= update.result is not None
                yield update

    def put(self, found: list[Update] | Exception) -> None:
        """Give `updates` the next updates or the error. Called in the event loop's thread."""
        self._queue.put_nowait(found)

    def send(self, found: list[Update] | Exception) -> None:
        """Give `updates` the next updates or the error. Called in any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.put, found)

    def collect(self, started: float) -> list[Update]:
        """Return what the step added that began at `started` and just ended. Called in the worker's thread.

        Raises the error that ended a row.
        """
        found = []
        for index, choice in enumerate(self.choices):
            if choice.result is not None:
                continue
            pieces, seen = choice.take(started)
            if pieces or seen:
                found.append(Update(index, pieces, seen))
        return found
