"""The access log, which has one line per request. The line and the response header X-Request-Id have the same id."""

import logging
import re
import time
import uuid
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unisono.server.errors import CLIENT_CLOSED

LOG = logging.getLogger("unisono.server")
HEADER = "X-Request-Id"
ALLOWED = re.compile(r"[!-~]{1,128}")  # an id with other characters could forge a line of the log
LONGEST = 1000  # characters of a reason


class Access:
    """ASGI middleware that gives each request an id and writes one log line for each request.

    The line has the client, method, path, status, seconds, id and reason. The id is the X-Request-Id of the request, or
    a new id if the header is missing or invalid. Code that refuses a request must put the reason into
    `scope["state"]["reason"]`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given, state = Headers(scope=scope).get(HEADER, ""), scope.setdefault("state", {})
        state["request_id"] = given if ALLOWED.fullmatch(given) else uuid.uuid4().hex
        state["reason"] = ""
        started, status = time.perf_counter(), CLIENT_CLOSED  # the status until a response begins

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = state["request_id"]
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception as error:
            status, state["reason"] = 500, f"{type(error).__name__}, whose traceback follows"
            raise
        finally:
            _log(scope, status, time.perf_counter() - started)


def _log(scope: Scope, status: int, seconds: float) -> None:
    client, state = scope.get("client") or ("-",), scope["state"]
    reason = state["reason"][:LONGEST]
    shown = reason if reason.isprintable() else ascii(reason)
    request = f"{scope['method']} {quote(scope['path'], errors='replace')}"
    LOG.info(
        '%s "%s" %d in %.3f s, id %s%s',
        client[0],
        request,
        status,
        seconds,
        state["request_id"],
        shown and f": {shown}",
    )
