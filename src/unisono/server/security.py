"""Middleware that checks the API key of a request, the size of the body, and the time until the body has arrived."""

import asyncio
import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unisono.server.errors import APIError, shutting_down
from unisono.server.sse import Refusal

OPEN = ("/", "/health", "/ready", "/version")  # these paths need no key, because they reveal nothing about requests


class Keys:
    """ASGI middleware that refuses requests without a valid API key. If `keys` is empty, no request needs a key.

    Requests for the paths in `OPEN` and for paths below `/static/` never need a key.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        closed = scope["type"] == "http" and not (scope["path"] in OPEN or scope["path"].startswith("/static/"))
        answer: ASGIApp = self._app
        if closed and self._keys and not self._knows(scope):
            message, header = "give a valid API key, as in: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
            answer = Refusal(APIError(401, message, code="invalid_api_key", headers=header))
        await answer(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        # Every key is compared, each in constant time, so the duration reveals nothing about the keys
        matches = [hmac.compare_digest(known, key.strip()) for known in self._keys]
        return scheme.lower() == b"bearer" and any(matches)


class BodyLimit:
    """ASGI middleware that reads the whole body of a request before the application is called.

    If the body is too large or arrives too late, the middleware refuses the request.

    Args:
        limit: the largest size of a body in bytes.
        timeout: seconds in which the whole body must arrive.
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
            messages = await self._read(scope, receive)
        except APIError as error:
            error.headers["Connection"] = "close"
            await Refusal(error)(scope, receive, send)
            return
        if messages[-1]["type"] == "http.disconnect":
            return

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> list[Message]:
        """Return the ASGI messages that contain the body.

        Raises:
            APIError: 413 as soon as the body is known to be too large, 408 after the timeout, 503 if the server is
                stopping.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._messages(scope, receive)
        except TimeoutError:
            raise APIError(408, f"the body took longer than {self._timeout:g} seconds, this server's limit") from None
        except asyncio.CancelledError:
            raise shutting_down() from None

    async def _messages(self, scope: Scope, receive: Receive) -> list[Message]:
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
