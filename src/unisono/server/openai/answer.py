"""Make the response to a request from the updates of its job, as one object or as a stream."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
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
from unisono.server.openai.schema import Sampling, StreamOptions
from unisono.server.openai.shapes import Shape, usage
from unisono.server.report import report
from unisono.text.prompts import Prepared
from unisono.tokens.token_text import parts
from unisono.types import Commit, Piece

LOG = logging.getLogger("unisono.server")


class Answer:
    """Runs an `Order`, which is a checked request, and makes the response.

    `timeout` is the number of seconds that the request may take.
    """

    def __init__(self, body: Sampling, order: Order, shape: Shape, timeout: float) -> None:
        self._body = body
        self._options = body.stream_options or StreamOptions()
        self._order = order
        self._shape = shape
        self._timeout = timeout
        self._identity = {"id": shape.prefix + uuid.uuid4().hex, "created": int(time.time()), "model": body.model}
        self._prompt_tokens = sum(len(prompt.contexts[0].tokens) for prompt in order.prompts)
        self._echoes: list[list[Piece]] = []  # per prompt; empty without `echo`
        self._streamed = 0  # tokens of all choices so far

    async def respond(self, request: Request) -> Response:
        """Run the order and return the response.

        Raises:
            APIError: the request failed before its first token. If the request fails later, the stream contains
                an error event instead.
            CancelledError: the client disconnected.
        """
        created = time.perf_counter()
        self._order.worker.require_room(max(self._order.rows, len(self._order.texts)))
        await self._read_echoes(request, created + self._timeout)
        if not self._order.limit:
            return self._whole([[] for _ in self._order.prompts])
        job = await self._begin(created)
        watch = asyncio.create_task(self._watch(request, job))
        updates = _checked(job)
        with ExitStack() as closing:
            closing.callback(self._order.worker.release, job)
            closing.callback(watch.cancel)
            first = await anext(updates)  # before any part of a response is sent, an error can still set the status
            response: Response
            if self._body.stream:
                response = sse.Stream(self._stream(request, job, first, updates, closing.pop_all()))
            else:
                response = await self._collect(job, first, updates)
        return response

    async def _begin(self, created: float) -> Job:
        """Submit the job to the worker and return it."""
        try:
            requests = await run_in_threadpool(self._order.start)
        except UnisonoError as error:
            raise errors.refused(error, type(self._body).model_fields) from error
        observer, worker = None, self._order.worker
        if self._body.trace is not None:
            observer = Observer(worker.ensemble.tokenizer, requests[0].row, self._body.trace.candidates, created)
        job = Job(requests, created, created + self._timeout, observer)
        worker.require_room(self._order.rows)  # again: other requests may have been submitted meanwhile
        worker.submit(job)
        return job

    async def _watch(self, request: Request, job: Job) -> None:
        """Wait until the client disconnects, and then cancel the job."""
        await _gone(request)
        job.put(CancelledError())
        self._order.worker.release(job)  # at once, before a stream reads the error

    async def _read_echoes(self, request: Request, deadline: float) -> None:
        """Set `_echoes` to one list of pieces for each prompt that the response repeats.

        If the request asks for log-probabilities, first score these prompts.
        """
        order = self._order
        if order.top is None:
            self._echoes = [[Piece(text)] for text in order.texts]
            return
        ensemble, prompts = order.worker.ensemble, order.prompts[: len(order.texts)]
        with _translated():
            echoes = [Echo(ensemble, order.combination, prompt, order.top) for prompt in prompts]
            scoring = asyncio.create_task(order.worker.run([row for each in echoes for row in each.rows]))
            gone = asyncio.create_task(_gone(request))
            try:
                left = deadline - time.perf_counter()
                await asyncio.wait({scoring, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not scoring.done():
                    raise CancelledError if gone.done() else errors.timed_out(self._timeout)
                scoring.result()
            finally:
                gone.cancel()
                scoring.cancel()
        self._echoes = [each.pieces(text) for each, text in zip(echoes, order.texts, strict=True)]

    def _echo(self, choice: int) -> list[Piece]:
        return self._echoes[choice // self._order.params.n if self._order.limit else choice] if self._echoes else []

    async def _collect(self, job: Job, first: Update, updates: AsyncIterator[Update]) -> Response:
        found: list[list[Update]] = [[] for _ in job.choices]
        found[first.choice].append(first)
        async for update in updates:
            found[update.choice].append(update)
        return self._whole(found, report(job, self._body.spec_decode_metrics))

    def _whole(self, found: list[list[Update]], metrics: dict[str, Any] | None = None) -> Response:
        """Return the response as one JSON object. `found` contains one list of updates per choice."""
        choices = []
        for index, updates in enumerate(found):
            pieces = [*self._echo(index), *(piece for update in updates for piece in update.pieces)]
            reason = updates[-1].result.finish_reason if updates and updates[-1].result else "length"
            choices.append(self._shape.whole(index, pieces, reason))
        used = usage(self._prompt_tokens, sum(len(update.commits) for updates in found for update in updates))
        content = {**self._identity, "object": self._shape.kind, "choices": choices, "usage": used}
        return sse.JSON(content if metrics is None else {**content, "metrics": metrics})

    async def _stream(
        self, request: Request, job: Job, first: Update, updates: AsyncIterator[Update], closing: ExitStack
    ) -> AsyncIterator[bytes]:
        try:
            for index in range(len(job.choices)):
                yield self._opening(index)
            yield self._chunks(first)
            async for update in updates:
                yield self._chunks(update)
            yield self._ending(job) + sse.DONE
        except CancelledError:
            request.state.reason = errors.GONE
        except errors.APIError as error:
            request.state.reason = error.message
            yield sse.event(error.body) + sse.DONE
        finally:
            closing.close()

    def _opening(self, index: int) -> bytes:
        opening, before = self._shape.opening(index), self._echo(index)
        events = b"" if opening is None else self._event([opening])
        return events + self._event([self._shape.delta(index, before)]) if before else events

    def _chunks(self, update: Update) -> bytes:
        """Return the server-sent events for an update.

        One event contains the new text. If the choice has ended, another event contains the finish reason.
        """
        self._streamed += len(update.commits)
        events, choice = b"", self._shape.delta(update.choice, update.pieces)
        if self._shape.says(choice) or update.observed or (update.commits and self._order.top is not None):
            events += self._event([choice], **({"unisono": update.observed} if update.observed else {}))
        if update.result is not None:
            events += self._event([self._shape.closing(update.choice, update.result.finish_reason)])
        return events

    def _ending(self, job: Job) -> bytes:
        """Return the last event before `DONE`. The event contains the requested usage and metrics.

        Return no bytes if the request asks for neither usage nor metrics.
        """
        metrics = report(job, self._body.spec_decode_metrics)
        extra = {} if metrics is None else {"metrics": metrics}
        if self._options.include_usage:
            extra = {"usage": usage(self._prompt_tokens, self._streamed), **extra}
        return self._event([], **extra) if extra else b""

    def _event(self, choices: list[dict[str, Any]], **extra: Any) -> bytes:
        if self._options.include_usage:
            now = usage(self._prompt_tokens, self._streamed) if self._options.continuous_usage_stats else None
            extra.setdefault("usage", now)
        return sse.event({**self._identity, "object": self._shape.chunk_kind, "choices": choices, **extra})


async def _gone(request: Request) -> None:
    """Wait until the client has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@contextmanager
def _translated() -> Iterator[None]:
    """Turn every exception except `CancelledError` into an `APIError`."""
    try:
        yield
    except (errors.APIError, CancelledError):
        raise
    except UnisonoError as error:
        raise errors.refused(error) from error
    except Exception as error:  # the worker has logged the exception
        raise errors.internal() from error


async def _checked(job: Job) -> AsyncIterator[Update]:
    """Yield the updates of the job. Every exception except `CancelledError` becomes an `APIError`."""
    with _translated():
        async for update in job.updates():
            yield update


class Echo:
    """Rows that score the prompt, token by token. The tokens are the tokens that the first member reads.

    The first token has no log-probability. Tokens of a prefix that only some members read have no log-probability
    either. `pieces` leaves out the tokens that the tokenizer adds before the text.

    Args:
        top: the number of candidates to return for each token.

    Raises:
        RequestError: the members read different prompts, or the prompt is too long for a member or for the caches.
    """

    def __init__(self, ensemble: Ensemble, combination: Combination, prompt: Prepared, top: int) -> None:
        self._tokenizer = ensemble.tokenizer
        self._scoring = ensemble.echo(prompt, top, combine=combination)
        self.rows = self._scoring.rows
        tokens = prompt.contexts[0].tokens
        first = tokens[prompt.added : len(tokens) - len(self._scoring.row.task.given)]
        self._first = [Commit(token, "drawn") for token in first]

    def pieces(self, text: str) -> list[Piece]:
        """Return the text of the prompt as pieces of one token each. The rows must have ended before this call."""
        scored = (Commit(each.token, "drawn", logprob=each.logprob, top=each.top) for each in self._scoring.commits)
        commits = [*self._first, *scored]
        texts = parts(self._tokenizer, text, [commit.token for commit in commits])
        return [Piece(part, commit, token_text=part) for part, commit in zip(texts, commits, strict=True)]
