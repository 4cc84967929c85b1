"""A request in a worker: its rows, and the queue from which the server reads the updates of the answer."""

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
    """The tokens that one step added to one choice of the answer. Only the last update of a choice has a `result`."""

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
    """One choice of an answer. One row of the job decodes the choice.

    tally: the listener that counts the decided proposals of the row. Between two calls of `take`, the row may take
    several steps, because the engine also steps for rows that score prompts.
    served: the time of the row's latest tokens, or None if the row has no tokens yet.
    result: the result of the row, or None until the row has ended.
    """

    request: Request
    observer: Observer | None = None
    tally: Tally = field(default_factory=Tally)
    served: float | None = None
    result: Result | None = None

    def __post_init__(self) -> None:
        self.request.listen(self.tally)

    def take(self, started: float) -> tuple[list[Piece], dict[str, Any]]:
        """Return the pieces since the last call, and a description of the step that began at `started`.

        The description is empty if the choice has no observer. If the row has failed, raise the error of the row.
        """
        pieces = self.request.drain()
        if pieces:
            self.result = pieces[-1].result
        if self.observer is None:
            return pieces, {}
        count = sum(piece.commit is not None for piece in pieces)
        return pieces, self.observer.look(count, started, time.perf_counter())


class Lonely:
    """Rows without a job, and a future `over` that is done when the rows have ended.

    A `Lonely` object must be created in the event loop's thread.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()

    def send(self, error: Exception | None) -> None:
        """Set the result of `over` to None, or set its exception to `error`. Any thread may call this method."""
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
    """The error of a request whose client has disconnected."""


class Job:
    """A request that two threads share.

    The worker's thread steps the rows of the request. The event loop's thread reads `updates`.

    Args:
        requests: one request per choice of the answer.
        created: the time at which the request arrived, as returned by `time.perf_counter`.
        deadline: the time at which the job ends with an error, as returned by `time.perf_counter`.
        observer: the observer of the only choice, if the client asked for a trace.
    """

    def __init__(
        self, requests: Sequence[Request], created: float, deadline: float, observer: Observer | None = None
    ) -> None:
        self.choices = [Choice(request, observer) for request in requests]
        self.created = created
        self.deadline = deadline
        self.ended = False  # only the worker uses this flag
        self.released = False  # only the event loop uses this flag
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[list[Update] | Exception] = asyncio.Queue()

    async def updates(self) -> AsyncIterator[Update]:
        """Yield the updates of each step until every choice has its result.

        If the job ends earlier, raise the error that ended the job. Examples are the error of a failed row,
        `CancelledError`, and the error for the time limit.
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
        """Add updates or an error to the queue of `updates`. Only the event loop's thread may call this method."""
        self._queue.put_nowait(found)

    def send(self, found: list[Update] | Exception) -> None:
        """Add updates or an error to the queue of `updates`. Any thread may call this method."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.put, found)

    def collect(self, started: float) -> list[Update]:
        """Return the updates of the step that began at `started` and has just ended.

        Only the worker's thread calls this method. If a row has failed, raise the error of the row.
        """
        found = []
        for index, choice in enumerate(self.choices):
            if choice.result is not None:
                continue
            pieces, seen = choice.take(started)
            if pieces or seen:
                found.append(Update(index, pieces, seen))
        return found
