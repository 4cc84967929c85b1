"""Who may come in, and with how much: API keys, and a limit on bodies."""

import asyncio
import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unisono.server.errors import APIError, shutting_down
from unisono.server.sse import Refusal

OPEN = ("/", "/health", "/ready", "/version")  # what tells nothing about requests; and the playground's page


class Keys:
    """ASGI middleware that lets in who has one of the keys; without keys, everybody."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        closed = scope["type"] == "http" and not (scope["path"] in OPEN or scope["path"].startswith("/static/"))
        if closed and self._keys and not self._knows(scope):
            message, header = "give a valid API key, as in: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
            await Refusal(APIError(401, message, code="invalid_api_key", headers=header))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        # All keys are compared, each in constant time: how long it takes tells nothing
        matches = [hmac.compare_digest(known, key.strip()) for known in self._keys]
        return scheme.lower() == b"bearer" and any(matches)


class BodyLimit:
    """ASGI middleware that reads bodies before the application does, and refuses those that are too large or too slow.

    Args:
        limit: bytes. timeout: seconds from the first byte to the last.
    """

    def __init__(self, app: ASGIApp, limit: int, timeout: float) -> None:
        self._app = app
        self._limit = limit
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout):
                messages = await self._read(scope, receive)
        except APIError as error:
            await _refuse(error, scope, receive, send)
            return
        except TimeoutError:
            late = APIError(408, f"the body took longer than {self._timeout:g} seconds, this server's limit")
            await _refuse(late, scope, receive, send)
            return
        except asyncio.CancelledError:  # the server ends and waits no longer
            await _refuse(shutting_down(), scope, receive, send)
            return
        if messages[-1]["type"] == "http.disconnect":
            return

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> list[Message]:
        """The messages of the body; APIError as soon as it is too large."""
        error = APIError(413, f"the body has more than {self._limit} bytes, this server's limit")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            raise error
        messages: list[Message] = []
        size, more = 0, True
        while more:
            messages.append(await receive())
            size += len(messages[-1].get("body", b""))
            more = messages[-1].get("more_body", False)
            if size > self._limit:
                raise error
        return messages


async def _refuse(error: APIError, scope: Scope, receive: Receive, send: Send) -> None:
    error.headers["Connection"] = "close"
    await Refusal(error)(scope, receive, send)
