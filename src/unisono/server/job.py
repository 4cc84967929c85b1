"""A request of a client on its way through a worker: its rows, and the queue that its answer reads."""

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
    """What one step added to one choice of the answer. `result` is there once, in the last one."""

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
    """One row of a job. `served` is when it last got tokens, None before the first; `result` is there at its end.

    Settlings are counted and observed as they happen: between two looks at the row there may be several, for whoever
    scores a prompt with the same engine steps it too.
    """

    request: Request
    observer: Observer | None = None
    tally: Tally = field(default_factory=Tally)
    served: float | None = None
    result: Result | None = None

    def __post_init__(self) -> None:
        self._emit = self.request.row.emit
        self.request.row.emit = self._settled

    def _settled(self, commits: list[Commit]) -> int | None:
        self.tally.add(self.request.row.stats)  # of the settlings before
        if self.observer is not None:
            self.observer.note(commits)
        return self._emit(commits)

    def take(self, started: float) -> tuple[list[Piece], dict[str, Any]]:
        """What was added since it was last asked, and what the observer tells of the step that began at `started`.

        Raises the error that ended the row.
        """
        row, pieces = self.request.row, self.request.drain()
        if pieces and pieces[-1].result is not None:
            self.tally.add(row.stats)
            self.result = pieces[-1].result
        if self.observer is None:
            return pieces, {}
        count = sum(piece.commit is not None for piece in pieces)
        return pieces, self.observer.look(count, started, time.perf_counter())


class Lonely:
    """Rows without a job, and what waits for their end. Made in the event loop's thread."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()

    def send(self, error: Exception | None) -> None:
        """Tell who waits that they have ended. Called in any thread."""
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
    """Nobody waits for the answer any more."""


class Job:
    """Lives in two threads: the worker's steps its rows, the event loop's reads `updates`.

    Args:
        requests: one per choice of the answer.
        observer: of the only choice, if the client wants to see how its tokens come about.
        deadline: when it is to be given up, as `time.perf_counter` tells.
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
        """What the steps add, until every choice has its result.

        Raises whatever ended the job before: an error of a row, `CancelledError`, a time limit.
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
        """Hand something to whoever reads `updates`. Called in the event loop's thread."""
        self._queue.put_nowait(found)

    def send(self, found: list[Update] | Exception) -> None:
        """The same from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.put, found)

    def collect(self, started: float) -> list[Update]:
        """What the step that began at `started` and just ended added. Called in the worker's thread.

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
