"""Responses as JSON and as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from unisono.server.errors import APIError

DONE = b"data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def encode(content: Any) -> bytes:
    """Return `content` as JSON in UTF-8. A lone surrogate is written as an escape, because UTF-8 cannot encode it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def event(content: Any) -> bytes:
    """Return `content` as one server-sent event."""
    return b"data: " + encode(content) + b"\n\n"


class JSON(JSONResponse):
    """A JSON response in which a text may contain lone surrogates."""

    def render(self, content: Any) -> bytes:
        return encode(content)


class Refusal(JSON):
    """The response that reports an error. The reason in the access log is the message of the error."""

    def __init__(self, error: APIError) -> None:
        super().__init__(error.body, error.status, headers=error.headers)
        self._reason = error.message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["reason"] = self._reason
        await super().__call__(scope, receive, send)


class Stream(StreamingResponse):
    """A response of server-sent events.

    The response ends without an error if the server stops while the client does not read.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await super().__call__(scope, receive, send)
