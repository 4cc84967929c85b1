"""Errors in OpenAI's JSON shape: status 4xx for a faulty request, 5xx for a fault of the server."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unisono.errors import RequestError, UnisonoError

# Types of errors by status. The type for every other 4xx status is invalid_request_error
KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
CLIENT_CLOSED = 499  # only the access log shows this status
GONE = "the client went away"


@dataclass(eq=False)
class APIError(Exception):
    """An error that the server sends as the response to a request.

    status: the HTTP status.
    parameter: the name of the faulty field of the request.
    code: a fixed word by which programs recognise the error.
    headers: additional headers of the response.
    """

    status: int
    message: str
    parameter: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI's JSON object."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.parameter, "code": self.code}}


def refused(error: UnisonoError, fields: Collection[str] = ()) -> APIError:
    """Return an `APIError` with status 400 for an error of the library.

    The parameter of the returned error is the first word of the message, if `fields` (the names of the request's
    fields) contains this word.
    """
    word = re.match(r"\w+", str(error))
    name = word[0] if word and word[0] in fields else None
    code = "context_length_exceeded" if isinstance(error, RequestError) and "too long" in str(error) else None
    return APIError(400, str(error), name, code)


def internal() -> APIError:
    """Return the error for a fault of the server. Only the log has the details."""
    return APIError(500, "the server failed on this request; its log says why", code="internal_error")


def shutting_down() -> APIError:
    return APIError(503, "the server is shutting down", code="shutting_down", headers={"Retry-After": "10"})


def timed_out(seconds: float) -> APIError:
    return APIError(504, f"the request took longer than {seconds:g} seconds, this server's limit", code="timeout")


def malformed(problems: Sequence[Mapping[str, Any]]) -> APIError:
    """Return the error for a body that does not fit the schema. `problems` is pydantic's list of problems.

    The error reports only one problem: the first unknown or unsupported field, or the first problem if there is no such
    field.
    """
    problem = min(problems, key=lambda each: "field" not in each.get("ctx", {}))
    # For a field with several types, pydantic appends the name of the type that it tried, which contains a bracket
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
