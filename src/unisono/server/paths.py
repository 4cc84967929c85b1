"""Errors for unknown paths and for wrong methods. Each error names the endpoint or the method to use instead."""

import re
from collections.abc import Collection

from unisono.server.errors import APIError

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ELSEWHERE = (  # paths of OpenAI, Anthropic, vLLM, TGI, Ollama and llama.cpp as patterns, and a hint for each
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
    """Return the error for an unknown path.

    The status is 307 if the path is right except for slashes at its end, and 404 otherwise.

    Args:
        known: the paths of this server.
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
    """Return the error with status 405 and the header Allow, for an HTTP method that the path does not allow."""
    return APIError(405, f"{path} does not take {method}; use {allowed}", headers={"Allow": allowed})


def _near(path: str, known: Collection[str]) -> str | None:
    """Return the longest known path that `path` ends with, or None. The prefix `/v1` may be missing in `path`.

    Repeated slashes in `path` count as one slash.
    """
    plain = re.sub("/+", "/", path).rstrip("/")
    near = [each for each in known if each != "/" and plain.endswith(each.removeprefix("/v1"))]
    return max(near, key=len, default=None)
