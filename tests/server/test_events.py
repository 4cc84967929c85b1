"""The event stream byte by byte (golden transcripts), disconnects, errors in the middle."""

import json
import re
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.server.live import KEY, MESSAGES, PROMPT, combine_by, live
from unisono.errors import RequestError
from unisono.server.worker import Worker

GOLDEN = Path(__file__).parent / "golden"
CHAT = {"model": "pair", "messages": MESSAGES, "temperature": 0, "max_tokens": 5, "stream": True}
TRANSCRIPTS = {
    "chat": ("/v1/chat/completions", CHAT | {"stream_options": {"include_usage": True}}),
    "chat_of_two": ("/v1/chat/completions", CHAT | {"model": "large", "n": 2, "max_tokens": 2}),
    "completion": (
        "/v1/completions",
        {"model": "contrast", "prompt": PROMPT, "temperature": 0, "max_tokens": 4, "stream": True, "echo": True},
    ),
    "metrics": ("/v1/chat/completions", CHAT | {"spec_decode_metrics": "detailed"}),
    "error": ("/v1/chat/completions", CHAT | {"max_tokens": -1}),
}


def settled(text: str) -> str:
    """Without what differs from run to run."""
    text = re.sub(r'"(id)":"(cmpl-|chatcmpl-)[0-9a-f]{32}"', r'"\1":"\2ID"', text)
    text = re.sub(r'"seed":\d+', '"seed":0', text)
    return re.sub(r'"(created|time_ms|time_outside_forwards_ms)":[\d.]+', r'"\1":0', text)


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_golden_transcript(server, name):
    """To renew one, delete its file, run this test, and read what it wrote."""
    path, body = TRANSCRIPTS[name]
    with server.http as http:
        found = settled(http.post(path, json=body).text)
    file = GOLDEN / f"{name}.txt"
    if not file.exists():
        file.write_text(found, encoding="utf-8")
        pytest.fail(f"{file.name} did not exist; it does now")
    assert found == file.read_text(encoding="utf-8")


def test_headers_of_a_stream(server):
    with server.http as http, http.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
def test_a_disconnect_frees_the_row_at_once(server, stream):
    """Long before the row would have ended by itself; what ran beside it is not disturbed."""
    body = {"model": "large", "prompt": PROMPT, "max_tokens": 480, "ignore_eos": True, "stream": stream}
    worker = server.service.models["large"].worker
    assert server.idle()
    with suppress(httpx.ReadTimeout), httpx.Client(base_url=server.url, timeout=0.3) as http:
        headers = {"Authorization": f"Bearer {KEY}"}
        with http.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
            next(answer.iter_lines())  # leaving the block closes the connection
    requests = server.service.metrics.requests.labels("large", "abort")
    assert server.idle()
    assert worker.running() == 0
    assert requests._value.get() >= 1


def test_an_error_in_the_middle_is_an_event(server, monkeypatch):
    """The status has been sent; the client still learns that the text is not whole, in OpenAI's shape."""
    ensemble = server.ensemble("small")
    calls = []

    def failing(logits, warp):
        calls.append(1)
        if len(calls) > 3:
            raise RequestError("the fourth law is one too many")
        return warp(logits[0])

    combine_by(failing, ensemble, monkeypatch)
    body = {"model": "small", "prompt": PROMPT, "max_tokens": 20, "ignore_eos": True, "stream": True}
    with server.http as http:
        events = http.post("/v1/completions", json=body).text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    error = json.loads(events[-3].removeprefix("data: "))["error"]
    assert error["type"] == "invalid_request_error"
    assert "one too many" in error["message"]
    with server.http as http:
        calls.clear()
        answer = http.post("/v1/completions", json=body | {"stream": False})
    assert answer.status_code == 400
    assert server.idle()


def test_a_fault_of_ours_says_nothing_of_itself(server, monkeypatch):
    """500, and the details are in the log only."""
    combine_by(lambda logits, warp: 1 / 0, server.ensemble("small"), monkeypatch)
    with server.http as http:
        answer = http.post("/v1/completions", json={"model": "small", "prompt": PROMPT})
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "division" not in answer.text


def test_stopping_refuses_new_work_and_ends_streams(monkeypatch):
    """Within the grace time what runs goes on; then it ends with an error event and [DONE]."""
    with live(rows=2, grace=0.3) as own, own.http as http, own.http as other:
        body = {"model": "pair", "prompt": PROMPT, "max_tokens": 490, "ignore_eos": True, "stream": True}
        with http.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            own.service.models["pair"].worker._inbox.put(lambda: time.sleep(0.6))  # the grace time runs out
            _close(own)
            assert other.get("/ready").status_code == 503
            with monkeypatch.context() as patched:
                patched.setattr(Worker, "submit", lambda *_: pytest.fail("new work was taken"))
                refused = other.post("/v1/completions", json=body)
            assert refused.status_code == 503
            assert "Retry-After" in refused.headers
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "shutting_down"


def _close(own) -> None:
    import asyncio
    import threading

    threading.Thread(target=lambda: asyncio.run(own.service.close()), daemon=True).start()
    while not own.service.closing:
        time.sleep(0.01)
