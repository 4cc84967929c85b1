"""Errors as OpenAI's clients expect them: one JSON shape, 4xx for the user's faults, 5xx for ours."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from unisono.errors import RequestError, UnisonoError

KINDS = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}  # of other 4xx: invalid_request_error
CLIENT_CLOSED = 499  # nobody reads it; it only shows up in the access log


class APIError(Exception):
    """An answer that is an error.

    status: of HTTP. parameter: the field of the request that is at fault. code: for programs. headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        parameter: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.parameter = parameter
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's JSON shape."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.parameter, "code": self.code}}


def refused(error: UnisonoError, fields: Mapping[str, Any] | None = None) -> APIError:
    """A mistake that the library found: the field is the one its message begins with, if the request has such a one."""
    word = re.match(r"\w+", str(error))
    name = word[0] if word and fields and word[0] in fields else None
    code = "context_length_exceeded" if isinstance(error, RequestError) and "too long" in str(error) else None
    return APIError(400, str(error), name, code)


def internal() -> APIError:
    """Our own fault, whose details are in the log and nowhere else."""
    return APIError(500, "the server failed on this request; its log says why", code="internal_error")


def shutting_down() -> APIError:
    return APIError(503, "the server is shutting down", code="shutting_down", headers={"Retry-After": "10"})


def timed_out(seconds: float) -> APIError:
    return APIError(504, f"the request took longer than {seconds:g} seconds, this server's limit", code="timeout")


def malformed(problems: Sequence[Mapping[str, Any]]) -> APIError:
    """The first thing that is wrong with a request's form, by the name of its field."""
    problem = min(problems, key=lambda each: "field" not in each.get("ctx", {}))
    # Behind a field stand the names of the forms that were tried
    place = [str(part) for part in problem["loc"] if part != "body" and "[" not in str(part)]
    if problem["type"] == "json_invalid":
        return APIError(400, "the body is not valid JSON")
    if "field" in problem.get("ctx", {}):
        path = ".".join([*place, problem["ctx"]["field"]])
        return APIError(400, f"{path}: {problem['msg']}", path, problem["type"])
    if not place:
        return APIError(400, "send a JSON object, with the header Content-Type: application/json")
    inside = f" ({'.'.join(place)})" if place[1:] else ""
    return APIError(400, f"{place[0]}: {problem['msg'].lower()}{inside}", place[0])
