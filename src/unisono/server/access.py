"""One line of the log per request, and the id that the client has of it too: the header X-Request-Id."""

import logging
import re
import time
import uuid
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOG = logging.getLogger("unisono.server")
HEADER = "X-Request-Id"
ALLOWED = re.compile(rb"[!-~]{1,128}")  # else it might forge a line of the log
LONGEST = 1000  # characters of a reason


class Access:
    """ASGI middleware that names each request and logs it: who, what, status, seconds, id, and why it was refused.

    Whoever refuses a request puts the reason into the scope's state.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"], state["reason"] = _chosen(scope), ""
        started, status = time.perf_counter(), 499  # unless an answer begins

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (HEADER.lower().encode(), state["request_id"].encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception as error:
            status, state["reason"] = 500, f"{type(error).__name__}, whose traceback follows"
            raise
        finally:
            _log(scope, status, time.perf_counter() - started)


def _chosen(scope: Scope) -> str:
    """The client's id of the request, or a new one."""
    given: bytes = dict(scope["headers"]).get(HEADER.lower().encode(), b"")
    return given.decode() if ALLOWED.fullmatch(given) else uuid.uuid4().hex


def _log(scope: Scope, status: int, seconds: float) -> None:
    client, reason = scope.get("client") or ("-",), scope["state"]["reason"][:LONGEST]
    shown = reason if reason.isprintable() else ascii(reason)
    request = f"{scope['method']} {quote(scope['path'], errors='replace')}"
    LOG.info(
        '%s "%s" %d in %.3f s, id %s%s',
        client[0],
        request,
        status,
        seconds,
        scope["state"]["request_id"],
        shown and f": {shown}",
    )
