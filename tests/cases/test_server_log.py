"""The log says why a request was refused; its id is the client's; an unknown path is told what to use instead."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.server.live import KEY, MESSAGES, PROMPT, Live, live
from unisono.server import paths
from unisono.server.openai import listing

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BODY: dict[str, Any] = {"model": "pair", "prompt": PROMPT, "max_tokens": 2}
LINE = re.compile(
    r'^127\.0\.0\.1 "(?P<request>[A-Z]+ \S+)" (?P<status>\d+) in [\d.]+ s, id (?P<id>\S+?)(?:: (?P<reason>.*))?$'
)


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(keys=(KEY,), max_body=10_000) as running:
        yield running


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="unisono.server")
    return caplog


def last(log: pytest.LogCaptureFixture, server: Live) -> dict[str, Any]:
    """The parts of the last line; it is written when the answer is over."""
    assert server.idle()
    with server.http as client:
        client.get("/version", headers={"X-Request-Id": "behind"})
    lines = [LINE.match(record.getMessage()) for record in log.records if record.name == "unisono.server"]
    found = [line.groupdict() for line in lines if line is not None and line["id"] != "behind"]
    return found[-1]


def send(server: Live, path: str, body: Any = None, method: str = "POST", **headers: str) -> httpx.Response:
    with server.http as client:
        return client.request(method, path, json=body, headers=headers)


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        (TEXT, {**BODY, "temprature": 1}, 400, "temprature: unknown field; did you mean temperature?"),
        (CHAT, {"model": "pair", "messages": MESSAGES, "tools": [{}]}, 400, "tools: tools are not called here"),
        (TEXT, {**BODY, "temperature": -1}, 400, "temperature"),
        (TEXT, {**BODY, "prompt": "x " * 600}, 400, "the prompt is too long"),
        (TEXT, {**BODY, "model": "pear"}, 404, "there is no model 'pear'"),
        (TEXT, {**BODY, "user": "x" * 20_000}, 413, "10000"),
        ("/v1/embeddings", {}, 404, "models only generate text here"),
    ],
)
def test_the_log_has_the_reason_of_an_error(server, log, path, body, status, reason):
    answer = send(server, path, body)
    line = last(log, server)
    assert (line["status"], answer.status_code, line["request"]) == (str(status), status, f"POST {path}")
    assert reason in line["reason"]
    assert line["reason"] == answer.json()["error"]["message"]
    assert line["id"] == answer.headers["X-Request-Id"]


def test_a_wrong_key_is_logged_and_the_key_is_not(server, log):
    answer = send(server, TEXT, BODY, Authorization="Bearer secret")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert last(log, server)["reason"].startswith("give a valid API key")
    assert "secret" not in log.text


@pytest.mark.parametrize("extra", [{}, {"stream": True}, {"n": 0}, {"model": "none"}])
def test_the_clients_id_comes_back(server, log, extra):
    answer = send(server, TEXT, BODY | extra, **{"X-Request-Id": "my-id-1"})
    assert answer.headers.get_list("X-Request-Id") == ["my-id-1"]
    line = last(log, server)
    assert line["id"] == "my-id-1"
    assert bool(line["reason"]) == (answer.status_code != 200)


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "a\tb"])
def test_other_ids_are_replaced(server, log, given):
    first, second = (send(server, TEXT, BODY, **{"X-Request-Id": given}).headers["X-Request-Id"] for _ in range(2))
    assert len({first, second, given}) == 3
    assert last(log, server)["id"] == second


def test_the_official_client_knows_the_id(server):
    assert server.client.completions.create(**BODY, extra_headers={"X-Request-Id": "a"})._request_id == "a"
    with pytest.raises(openai.BadRequestError) as caught:
        server.client.completions.create(**{**BODY, "n": 0})
    assert re.fullmatch("[0-9a-f]{32}", str(caught.value.request_id))


def test_our_own_fault_has_the_id_and_its_line(server, log, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("an internal matter")

    monkeypatch.setattr(listing, "tokenized", broken)
    answer = send(server, "/tokenize", {"model": "pair", "prompt": "a"}, **{"X-Request-Id": "mine"})
    assert answer.status_code == 500
    assert answer.headers.get_list("X-Request-Id") == ["mine"]
    assert "internal matter" not in answer.text
    assert last(log, server) | {"status": "500", "id": "mine"} == last(log, server)
    assert last(log, server)["reason"].startswith("RuntimeError")


def test_an_error_in_a_stream_is_logged_at_its_end(server, log):
    body = {**BODY, "max_tokens": 480, "stream": True, "ignore_eos": True}
    with server.http as client, client.stream("POST", TEXT, json=body, headers={"X-Request-Id": "late"}) as answer:
        events = answer.iter_lines()
        next(events)
        server.service.models["pair"].worker._jobs[0].deadline = 0.0
        assert any('"code":"timeout"' in event for event in events)
    found = last(log, server)
    assert (found["id"], found["status"], answer.headers["X-Request-Id"]) == ("late", "200", "late")
    assert "this server's limit" in found["reason"]


@pytest.mark.parametrize("field", ["a\nINFO: forged", "\u2028", "a\x1b[31m", "\ud800"])
def test_a_reason_is_one_line(server, log, field):
    with server.http as client:
        content = json.dumps(BODY | {field: 1}).encode()
        assert client.post(TEXT, content=content, headers={"Content-Type": "application/json"}).status_code == 400
    last(log, server)
    assert all(record.getMessage().isprintable() for record in log.records if record.name == "unisono.server")


def test_prompts_are_not_in_reasons(server, log):
    secret = "nobody may read it"
    for body in ({**BODY, "prompt": secret, "n": 0}, {**BODY, "prompt": secret * 200}, {**BODY, "prompt": [secret, 1]}):
        assert send(server, TEXT, body).status_code == 400
    last(log, server)
    assert secret not in log.text


@pytest.mark.parametrize(
    ("method", "path", "status", "hint"),
    [
        ("POST", "/v1/embeddings", 404, "models only generate text here"),
        ("POST", "/v1/responses", 404, "use /v1/chat/completions"),
        ("POST", "/v1/messages", 404, "use /v1/chat/completions"),
        ("POST", "/v1/audio/transcriptions", 404, "models only read and write text here"),
        ("POST", "/v1/images/generations", 404, "models only read and write text here"),
        ("POST", "/v1/moderations", 404, "models only generate text here"),
        ("POST", "/chat/completions", 404, "use /v1/chat/completions; clients' base URL ends in /v1"),
        ("POST", "/completions", 404, "use /v1/completions; clients' base URL ends in /v1"),
        ("POST", "/v1/v1/chat/completions", 404, "use /v1/chat/completions"),
        ("POST", "/v1//chat/completions", 404, "use /v1/chat/completions"),
        ("POST", "/openai/deployments/pair/chat/completions", 404, "use /v1/chat/completions"),
        ("GET", "/models", 404, "use /v1/models; clients' base URL ends in /v1"),
        ("POST", "/v1/tokenize", 404, "use /tokenize"),
        ("POST", "/api/chat", 404, "use /v1/chat/completions"),
        ("POST", "/generate", 404, "use /v1/completions"),
        ("GET", "/healthz", 404, "use /health"),
        ("GET", "/nothing/like%0Ait", 404, "the endpoints are in /openapi.json"),
        ("POST", "/v1/completions/", 307, "use /v1/completions, without the slash at the end"),
        ("GET", CHAT, 405, "use POST"),
        ("POST", "/health", 405, "use GET, HEAD"),
        ("DELETE", "/v1/models", 405, "use GET"),
    ],
)
def test_an_unknown_path_is_told_what_to_use(server, method, path, status, hint):
    answer = send(server, path, None, method)
    assert answer.status_code == status
    assert hint in answer.json()["error"]["message"]
    assert answer.json()["error"]["message"].isprintable()
    assert answer.headers.get("Allow", "") == (hint.removeprefix("use ") if status == 405 else "")


def test_a_slash_at_the_end_is_followed(server):
    with server.http as client:
        answer = client.post(f"{TEXT}/", json=BODY, follow_redirects=True)
    assert answer.status_code == 200
    assert [each.status_code for each in answer.history] == [307]


def test_every_hint_names_an_endpoint(server):
    with server.http as client:
        known = set(client.get("/openapi.json").json()["paths"])
    for _, hint in paths.ELSEWHERE:
        assert set(re.findall(r"/[\w/]+", hint)) <= known
