"""JSON and server-sent events on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from unisono.server.errors import APIError

DONE = b"data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def encode(content: Any) -> bytes:
    """JSON in UTF-8; half of a surrogate pair, which UTF-8 does not have, stays an escape."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )


def event(content: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + encode(content) + b"\n\n"


class JSON(Response):
    """An answer in one piece."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encode(content)


class Refusal(JSON):
    """An error as an answer; its message is the reason that the log gives."""

    def __init__(self, error: APIError) -> None:
        super().__init__(error.body, error.status, headers=error.headers)
        self._reason = error.message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["reason"] = self._reason
        await super().__call__(scope, receive, send)


class Stream(StreamingResponse):
    """Events one by one. When the server ends, a client who does not read them is left."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await super().__call__(scope, receive, send)
