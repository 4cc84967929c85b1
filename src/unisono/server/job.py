"""A request of a client on its way through a worker: its rows, and the queue that its answer reads."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def commits(self) -> list[Commit]:
        return [piece.commit for piece in self.pieces if piece.commit is not None]

    @property
    def parts(self) -> list[tuple[str, list[Commit]]]:
        """Texts and the tokens that they came with."""
        return [(piece.text, [piece.commit] if piece.commit else []) for piece in self.pieces]

    @property
    def result(self) -> Result | None:
        return self.pieces[-1].result if self.pieces else None


@dataclass
class Choice:
    """One row of a job. `served` is when it last got tokens, None before the first; `result` is there at its end."""

    request: Request
    tally: Tally = field(default_factory=Tally)
    served: float | None = None
    result: Result | None = None


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
        self.choices = [Choice(request) for request in requests]
        self.created = created
        self.deadline = deadline
        self.observer = observer
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
        """The same from the worker's thread."""
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
            pieces = choice.request.drain()
            update = Update(index, pieces)
            choice.tally.add(choice.request.row, update.commits)
            choice.result = update.result
            if self.observer:
                seen = self.observer.look(choice.request.row, update.commits, started, time.perf_counter())
                update = Update(index, pieces, seen)
            if pieces or update.observed:
                found.append(update)
        return found
