"""A request: a row, the text it becomes, and whoever waits for its pieces."""

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from unisono.engine import Engine
from unisono.members.base import Member
from unisono.output import Transcript
from unisono.rng import KeyedNoise
from unisono.row import Method, Row, Task
from unisono.types import Commit, Piece, Result


class Request:
    """One prompt on its way through the engine.

    Args:
        facts: what the result says of the request: seed, sample, names of combination, schedule, verification.
    """

    def __init__(
        self, members: Sequence[Member], method: Method, task: Task, transcript: Transcript, facts: Mapping[str, Any]
    ) -> None:
        self.row = Row(members, method, task, KeyedNoise(facts["seed"], facts["sample"]), self._take)
        self._transcript = transcript
        self._facts = facts
        self._pieces: deque[Piece] = deque()

    def stream(self, engine: Engine) -> Generator[Piece, None, None]:
        """Run to the end; yields pieces as they come. Closing the iterator cancels the request."""
        engine.submit(self.row)
        try:
            while not self.row.finished:
                engine.run(self.row, waiting=lambda: not self._pieces)
                while self._pieces:
                    yield self._pieces.popleft()
        finally:
            engine.cancel(self.row)
        yield from self._pieces
        if self.row.error is not None:  # met by whoever ran the step, maybe another thread
            raise self.row.error
        yield self._last()

    def result(self) -> Result:
        """The result of a row that has ended."""
        if self.row.error is not None:
            raise self.row.error
        last = self._last()
        assert last.result is not None
        return last.result

    def _take(self, commits: list[Commit]) -> bool:
        """Called by the engine with every block of committed tokens; true at the end of the text."""
        for count, commit in enumerate(commits, 1):
            self._pieces.append(self._transcript.push(commit))
            if self._transcript.finish_reason:
                self.row.stats.drop(commits[count:])
                return True
        return False

    def _last(self) -> Piece:
        text = self._transcript.close()
        reason = self._transcript.finish_reason
        assert reason is not None
        result = Result(
            self._transcript.text,
            self._transcript.token_ids,
            reason,
            tuple(self._transcript.commits),
            self.row.stats,
            **self._facts,
        )
        return Piece(text, None, reason, result)


def run_all(requests: Sequence[Request], engine: Engine, progress: Callable[[], object] = lambda: None) -> list[Result]:
    """Run requests together; one result each, in their order. `progress` is called as each ends.

    An error in one cancels all and is raised.
    """
    try:
        for request in requests:
            engine.submit(request.row)
        for request in requests:
            engine.run(request.row)
            progress()
        return [request.result() for request in requests]
    finally:
        for request in requests:
            engine.cancel(request.row)
