"""One request's answer, in one piece or as a stream, from the updates of its job."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from unisono.combine.base import Combination
from unisono.ensemble import Ensemble
from unisono.errors import UnisonoError
from unisono.server import errors, sse
from unisono.server.job import CancelledError, Job, Update
from unisono.server.observation import Observer
from unisono.server.openai.order import Order
from unisono.server.openai.schema import Sampling
from unisono.server.openai.shapes import Shape, usage
from unisono.server.report import report
from unisono.text.prompts import Prepared
from unisono.tokens.token_text import parts
from unisono.types import Commit, Piece

LOG = logging.getLogger("unisono.server")


class Answer:
    """From an order to a response.

    Args:
        body: the request as the client wrote it.
        timeout: seconds that it may take.
    """

    def __init__(self, body: Sampling, order: Order, shape: Shape, timeout: float) -> None:
        self._body = body
        self._order = order
        self._shape = shape
        self._timeout = timeout
        self._identity = {"id": shape.prefix + uuid.uuid4().hex, "created": int(time.time()), "model": body.model}
        self._prompt_tokens = sum(len(prompt.contexts[0].tokens) for prompt in order.prompts)
        self._echoes: list[list[Piece]] = []  # per prompt, if asked for
        self._streamed = 0  # tokens of all choices so far

    async def respond(self, request: Request) -> Response:
        """Raises: APIError: what is known before the first byte is sent has a status of its own."""
        created = time.perf_counter()
        self._order.worker.require_room(max(self._order.rows, len(self._order.texts)))
        await self._read_echoes(request, created + self._timeout)
        if not self._order.limit:
            choices = [self._whole(index, []) for index in range(len(self._order.prompts))]
            return sse.JSON(self._completed(choices, 0, None))
        job = await self._begin(created)
        watch = asyncio.create_task(self._watch(request, job))
        updates = _checked(job)
        try:
            first = await anext(updates)  # an error of the first step is still an HTTP status
            if self._body.stream:
                return sse.Stream(self._stream(request, job, first, updates, watch))
            response = await self._collect(job, first, updates)
        except BaseException:
            self._close(job, watch)
            raise
        self._close(job, watch)
        return response

    async def _begin(self, created: float) -> Job:
        """Hand the rows to the worker."""
        try:
            requests = await run_in_threadpool(self._order.start)
        except UnisonoError as error:
            raise errors.refused(error, type(self._body).model_fields) from error
        observer, order = None, self._order
        if self._body.trace is not None:
            tokenizer = order.worker.ensemble.tokenizer
            observer = Observer(tokenizer, requests[0].row, self._body.trace.candidates, created)
        job = Job(requests, created, created + self._timeout, observer)
        order.worker.require_room(order.rows)  # others may have come meanwhile
        order.worker.submit(job)
        return job

    async def _watch(self, request: Request, job: Job) -> None:
        """End the job as soon as the client has gone."""
        await _gone(request)
        job.put(CancelledError())
        self._order.worker.release(job)  # at once, whoever still writes

    def _close(self, job: Job, watch: asyncio.Task[None]) -> None:
        watch.cancel()
        self._order.worker.release(job)

    async def _read_echoes(self, request: Request, deadline: float) -> None:
        """The prompts' own tokens, with log-probabilities if those are asked for: then each prompt is a row meanwhile."""
        order = self._order
        if order.top is None:
            self._echoes = [[Piece(text)] for text in order.texts]
            return
        pairs = zip(order.texts, order.prompts, strict=False)
        with _translated({}):
            echoes = [(t, Echo(order.worker.ensemble, order.combination, prompt, order.top)) for t, prompt in pairs]
            rows = [row for _, each in echoes for row in each.rows]
            scoring, gone = asyncio.create_task(order.worker.run(rows)), asyncio.create_task(_gone(request))
            try:
                left = deadline - time.perf_counter()
                await asyncio.wait({scoring, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not scoring.done():
                    raise CancelledError if gone.done() else errors.timed_out(self._timeout)
                scoring.result()
            finally:
                gone.cancel()
                scoring.cancel()
        self._echoes = [each.pieces(text) for text, each in echoes]

    def _echo(self, choice: int) -> list[Piece]:
        return self._echoes[choice // self._order.params.n if self._order.limit else choice] if self._echoes else []

    async def _collect(self, job: Job, first: Update, updates: AsyncIterator[Update]) -> Response:
        found: list[list[Update]] = [[] for _ in job.choices]
        found[first.choice].append(first)
        async for update in updates:
            found[update.choice].append(update)
        tokens = sum(len(update.commits) for some in found for update in some)
        choices = [self._whole(index, some) for index, some in enumerate(found)]
        return sse.JSON(self._completed(choices, tokens, report(job, self._body.spec_decode_metrics)))

    def _whole(self, index: int, updates: list[Update]) -> dict[str, Any]:
        pieces = [*self._echo(index), *(piece for update in updates for piece in update.pieces)]
        reason = updates[-1].result.finish_reason if updates and updates[-1].result else "length"
        return self._shape.whole(index, pieces, reason)

    def _completed(self, choices: list[dict[str, Any]], tokens: int, metrics: dict[str, Any] | None) -> dict[str, Any]:
        used = usage(self._prompt_tokens, tokens)
        found = {**self._identity, "object": self._shape.kind, "choices": choices, "usage": used}
        return found if metrics is None else {**found, "metrics": metrics}

    async def _stream(
        self, request: Request, job: Job, first: Update, updates: AsyncIterator[Update], watch: asyncio.Task[None]
    ) -> AsyncIterator[bytes]:
        try:
            for index in range(len(job.choices)):
                yield self._opening(index)
            yield self._chunks(first)
            async for update in updates:
                yield self._chunks(update)
            yield self._ending(job) + sse.DONE
        except CancelledError:
            request.state.reason = "the client went away"
        except errors.APIError as error:
            request.state.reason = error.message
            yield sse.event(error.body) + sse.DONE
        finally:
            self._close(job, watch)

    def _opening(self, index: int) -> bytes:
        opening, before = self._shape.opening(index), self._echo(index)
        events = b"" if opening is None else self._event([opening])
        return events + self._event([self._shape.delta(index, before)]) if before else events

    def _chunks(self, update: Update) -> bytes:
        """What one step added: a chunk with its tokens, and at the end one with the reason."""
        self._streamed += len(update.commits)
        events = b""
        choice = self._shape.delta(update.choice, update.pieces)
        if self._shape.says(choice) or update.observed or (update.commits and self._order.top is not None):
            events += self._event([choice], **({"unisono": update.observed} if update.observed else {}))
        if update.result is not None:
            events += self._event([self._shape.closing(update.choice, update.result.finish_reason)])
        return events

    def _ending(self, job: Job) -> bytes:
        """The chunk without choices that has the totals."""
        asked = self._body.stream_options is not None and self._body.stream_options.include_usage
        metrics = report(job, self._body.spec_decode_metrics)
        extra: dict[str, Any] = {"usage": usage(self._prompt_tokens, self._streamed)} if asked else {}
        if metrics is not None:
            extra["metrics"] = metrics
        return self._event([], **extra) if extra else b""

    def _event(self, choices: list[dict[str, Any]], **extra: Any) -> bytes:
        if (asked := self._body.stream_options) is not None and asked.include_usage:
            now = usage(self._prompt_tokens, self._streamed) if asked.continuous_usage_stats else None
            extra.setdefault("usage", now)
        return sse.event({**self._identity, "object": self._shape.chunk_kind, "choices": choices, **extra})


async def _gone(request: Request) -> None:
    """Until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@contextmanager
def _translated(fields: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Whatever goes wrong while rows run is an APIError or `CancelledError`."""
    try:
        yield
    except (errors.APIError, CancelledError):
        raise
    except UnisonoError as error:
        raise errors.refused(error, fields) from error
    except Exception as error:  # the worker has logged it
        raise errors.internal() from error


async def _checked(job: Job) -> AsyncIterator[Update]:
    """The job's updates; whatever else goes wrong is an APIError or `CancelledError`."""
    with _translated():
        async for update in job.updates():
            yield update


class Echo:
    """A prompt's tokens, as the first member reads them, as a row that scores them.

    The first token has no log-probability, nor has a prefix that only some members read. What the tokenizer puts in front of
    a text is read, and not listed: the listed tokens are those of the text.

    Args:
        top: of how many candidates to tell.

    Raises:
        RequestError: members read different prompts, or the caches have no room.
    """

    def __init__(self, ensemble: Ensemble, combination: Combination, prompt: Prepared, top: int) -> None:
        self._tokenizer = ensemble.tokenizer
        self._scoring = ensemble.echo(prompt, top, combine=combination)
        self.rows = self._scoring.rows
        tokens = prompt.contexts[0].tokens
        self._first = [
            Commit(token, "drawn") for token in tokens[prompt.added : len(tokens) - len(self._scoring.row.task.given)]
        ]

    def pieces(self, text: str) -> list[Piece]:
        """The prompt's text in pieces of a token each, once the row has ended."""
        scored = (Commit(each.token, "drawn", logprob=each.logprob, top=each.top) for each in self._scoring.commits)
        commits = [*self._first, *scored]
        texts = parts(self._tokenizer, text, [commit.token for commit in commits])
        return [Piece(part, commit, token_text=part) for part, commit in zip(texts, commits, strict=True)]
