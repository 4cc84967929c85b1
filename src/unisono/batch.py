"""Decode many prompts together in one call, optionally with errors in the list of results."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from rich.console import Console
from rich.progress import Progress

from unisono.decoding.engine import Engine
from unisono.errors import ConfigurationError, MemberError, RequestError
from unisono.params import SamplingParams
from unisono.request import Request
from unisono.types import Result
from unisono.values import listed

Start = Callable[[Any, Any, int], Sequence[Request]]  # (prompt, params, index) -> one request per sample
Place = Request | Exception  # an entry of the list of results: a request, or the error that prevented it


class Batch:
    """The prompts of one call, with the parameters of each prompt.

    Args:
        params: one object for all prompts, or a list with one object per prompt.
        on_error: `raise` to raise the first error; `return` to put each error into the list of results.

    Raises:
        RequestError: the number of parameters differs from the number of prompts.
        ConfigurationError: `on_error` is neither `raise` nor `return`.
    """

    def __init__(self, prompts: Sequence[Any], params: Any, on_error: str = "raise") -> None:
        own = listed(params)
        settings = [params] * len(prompts) if own is None else own
        if len(settings) != len(prompts):
            raise RequestError(
                f"give one SamplingParams for all prompts or one each: {len(settings)} for {len(prompts)}"
            )
        if on_error not in ("raise", "return"):
            raise ConfigurationError(f"on_error must be 'raise' or 'return', not: {on_error!r}")
        self._asked = list(zip(prompts, settings, strict=True))
        self._returns = on_error == "return"
        self._places: list[list[Place]] = []  # one list per prompt that was started

    def run(self, start: Start, engine: Engine, progress: bool | None = None) -> list[Any]:
        """Return one result per sample. If `on_error` is `return`, the list has the error of each failed sample.

        Every raised exception, including an interrupt, gets the attribute `results`. This attribute is the list of
        results, with None for each unfinished sample. If `progress` is None, a progress bar is shown for several
        samples at a terminal.

        Raises:
            ConfigurationError: `start` raised this error. It is raised for every value of `on_error`.
        """
        try:
            for index, (prompt, params) in enumerate(self._asked):
                self._places.append(self._started(start, prompt, params, index))
            with self._bar(progress) as advance:
                self._finish(engine, advance)
            return [outcome(place) for place in self._all]
        except BaseException as error:
            error.results = self._finished()  # type: ignore[attr-defined]
            raise
        finally:
            for row in [row for request in self._requests for row in request.rows]:
                engine.cancel(row)

    @property
    def _all(self) -> list[Place]:
        return list(chain.from_iterable(self._places))

    @property
    def _requests(self) -> list[Request]:
        return [place for place in self._all if isinstance(place, Request)]

    def _started(self, start: Start, prompt: Any, params: Any, index: int) -> list[Place]:
        try:
            return list(start(prompt, params, index))
        except (RequestError, MemberError) as error:
            if not self._returns:
                raise
            return [error] * _samples(params)

    def _finish(self, engine: Engine, advance: Callable[[], object]) -> None:
        engine.submit(*(row for request in self._requests for row in request.rows))
        for request in self._requests:
            for row in request.rows:
                try:
                    engine.run(row)
                except Exception:
                    if not (self._returns and row.finished):
                        raise
            advance()

    def _finished(self) -> list[Result | None]:
        found = [outcome(place) for place in self._all]
        missing = sum(_samples(params) for _, params in self._asked[len(self._places) :])
        return [each if isinstance(each, Result) else None for each in found] + [None] * missing

    @contextmanager
    def _bar(self, wanted: bool | None) -> Iterator[Callable[[], object]]:
        console, total = Console(stderr=True), len(self._requests)
        shown = console.is_terminal and total > 1 if wanted is None else wanted
        with Progress(console=console, disable=not shown) as bar:
            task = bar.add_task("generating", total=total)
            yield lambda: bar.advance(task)


def outcome(place: Place) -> Result | Exception | None:
    """Return the result or the error of an entry. Return None if the request of the entry has not ended."""
    return place if isinstance(place, Exception) else place.outcome()


def _samples(params: Any) -> int:
    return params.n if isinstance(params, SamplingParams) else 1
