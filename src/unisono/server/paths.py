"""What to use instead of a path that there is not, or of a method that a path does not take."""

import re
from collections.abc import Collection

from unisono.server.errors import APIError

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ELSEWHERE = (  # endpoints of OpenAI, Anthropic, vLLM, TGI, Ollama and llama.cpp by what they begin with, and what is here
    (r"/responses|/messages|/threads|/assistants|/conversations|/api/chat|/chat$|/invocations", f"use {CHAT}"),
    (r"/generate|/api/generate|/completion$|/infill|/edits|/engines", f"use {TEXT}"),
    (r"/embed|/rerank|/score|/pooling|/classify|/moderations|/api/embed",
     f"models only generate text here; the log-probabilities of a text come from {TEXT} with echo and logprobs"),
    (r"/audio|/images|/videos|/realtime", f"models only read and write text here, at {CHAT}"),
    (r"/files|/batches|/uploads|/fine_tuning|/vector_stores", f"nothing is stored here; send each request to {CHAT}"),
    (r"/api/tags|/api/ps|/props|/info", "use /v1/models"),
    (r"/ping|/healthz|/livez|/readyz", "use /health or /ready"),
)  # fmt: skip


def missing(path: str, known: Collection[str]) -> APIError:
    """The answer to a path that there is not. One slash too many at the end is a redirection.

    Args:
        known: the paths that there are.
    """
    near = _near(path, known)
    if near is not None and path.rstrip("/") == near:
        return APIError(307, f"use {near}, without the slash at the end", headers={"Location": near})
    if near is not None:
        base = "; clients' base URL ends in /v1" if near == f"/v1{path}" else ""
        return APIError(404, f"there is no {path} here; use {near}{base}")
    rest = path.removeprefix("/v1")
    hint = next((hint for begin, hint in ELSEWHERE if re.match(begin, rest)), "the endpoints are in /openapi.json")
    return APIError(404, f"there is no {path} here; {hint}")


def wrong_method(method: str, path: str, allowed: str) -> APIError:
    """The answer to a method that a path does not take."""
    return APIError(405, f"{path} does not take {method}; use {allowed}", headers={"Allow": allowed})


def _near(path: str, known: Collection[str]) -> str | None:
    """The longest known path that this one ends with, whatever stands before, and however it is divided by slashes."""
    plain = re.sub("/+", "/", path).rstrip("/")
    return next((near for near in sorted(known, key=len, reverse=True) if _ends_with(plain, near)), None)


def _ends_with(path: str, near: str) -> bool:
    return near != "/" and path.endswith(near.removeprefix("/v1"))
