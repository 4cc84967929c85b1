"""Keys, sizes, queue, time: what the operator sets is kept."""

import asyncio
import json
import logging
import threading
from typing import Any

import httpx
import openai
import pytest

from tests.server.live import KEY, MESSAGES, PROMPT, combine_by, eventually, live
from unisono.combine import as_combination
from unisono.errors import ConfigurationError, RequestError
from unisono.server import errors
from unisono.server.openai.answer import Echo
from unisono.server.openai.order import Order
from unisono.server.settings import Settings

LONG: dict[str, Any] = {"model": "pair", "prompt": PROMPT, "max_tokens": 400, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def small():
    """A server with narrow limits and no key."""
    with live(rows=1, queue=2, max_body=2000, max_tokens=400, timeout=1.5, allow=("weights",), log_prompts=True) as own:
        yield own


@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Bearer {KEY}x", f"Basic {KEY}", "Bearer é"])
def test_a_wrong_key_is_401(server, header):
    headers = {} if header is None else {"Authorization": header.encode()}
    with httpx.Client(base_url=server.url, headers=headers) as http:
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            answer = http.get(path)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
        assert http.post("/v1/chat/completions", json={"model": "pair", "messages": MESSAGES}).status_code == 401
        for path in ("/health", "/ready", "/version", "/"):
            assert http.get(path).status_code == 200


def test_the_client_says_so_too(server):
    with pytest.raises(openai.AuthenticationError):
        server.client.with_options(api_key="wrong").models.list()


def test_without_keys_everybody_may_come(small):
    assert httpx.get(f"{small.url}/v1/models").status_code == 200


def test_a_large_body_is_413(small):
    with pytest.raises(openai.APIStatusError) as caught:
        small.client.completions.create(model="pair", prompt="x" * 3000)
    assert caught.value.status_code == 413
    assert caught.value.type == "invalid_request_error"


def test_a_body_that_says_how_large_it_is_is_not_waited_for(small):
    with small.connection() as large:
        large.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert b" 413 " in large.recv(4000)


def test_a_large_body_without_a_length_is_413(small):
    def chunks():
        yield b'{"model": "pair", "prompt": "'
        for _ in range(30):
            yield b"x" * 100
        yield b'"}'

    answer = httpx.post(f"{small.url}/v1/completions", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_more_tokens_than_allowed_are_400(small):
    with pytest.raises(openai.BadRequestError) as caught:
        small.client.completions.create(model="pair", prompt=PROMPT, max_tokens=401)
    assert caught.value.param == "max_tokens"


def test_more_choices_than_ever_fit_are_400(small):
    with pytest.raises(openai.BadRequestError):
        small.client.completions.create(model="pair", prompt=PROMPT, n=4)


def test_a_full_queue_is_429_and_the_others_are_served(small):
    async def ask_all() -> list[object]:
        async with small.async_client as client:
            asks = [client.completions.create(**{**LONG, "max_tokens": 20, "model": "large"}) for _ in range(8)]
            return await asyncio.gather(*asks, return_exceptions=True)

    answers = asyncio.run(ask_all())
    refused = [answer for answer in answers if isinstance(answer, openai.RateLimitError)]
    served = [answer for answer in answers if not isinstance(answer, Exception)]
    assert refused
    assert len(served) >= 3
    assert len(refused) + len(served) == 8
    assert "retry-after" in refused[0].response.headers
    assert small.idle()


@pytest.mark.parametrize("stream", [False, True])
def test_what_takes_too_long_is_given_up(stream):
    with live(timeout=0.05, rows=1) as own:
        if stream:
            with pytest.raises(openai.APIError) as caught:
                list(own.client.completions.create(**LONG, stream=True))
        else:
            with pytest.raises(openai.APIStatusError) as caught:
                own.client.completions.create(**LONG)
            assert caught.value.status_code == 504
        assert "0.05 seconds" in str(caught.value)
        assert own.idle()


def test_only_allowed_parts_of_a_collaboration(small):
    for part, value in (("schedule", "standard"), ("combine", "weighted:1,1"), ("verification", "token"), ("mu", 1.0)):
        with pytest.raises(openai.BadRequestError) as caught:
            small.client.completions.create(model="pair", prompt=PROMPT, extra_body={"collaboration": {part: value}})
        assert caught.value.param == f"collaboration.{part}"
    body = {"collaboration": {"weights": [1.0, 1.0]}}
    small.client.completions.create(model="pair", prompt=PROMPT, max_tokens=2, extra_body=body)


def test_prompts_are_logged_only_if_asked(small, server, caplog):
    caplog.set_level(logging.DEBUG, logger="unisono")
    secret = "my secret is safe"
    server.client.completions.create(model="pair", prompt=secret, max_tokens=1)
    assert secret not in caplog.text
    small.client.completions.create(model="pair", prompt=secret, max_tokens=1)
    assert secret in caplog.text


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"port": 70000}, "port"), ({"port": -1}, "port"), ({"rows": 0}, "rows"), ({"queue": -1}, "queue"),
        ({"max_body": 0}, "max_body"), ({"max_tokens": 0}, "max_tokens"), ({"timeout": -1.0}, "timeout"),
        ({"grace": -1.0}, "grace"), ({"timeout": float("nan")}, "timeout"),
        ({"keys": ("",)}, "key"), ({"keys": ("ключ",)}, "key"),
        ({"allow": ("weight",)}, "did you mean 'weights'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(values, word):
    with pytest.raises(ConfigurationError, match=word):
        Settings(**values)


@pytest.mark.parametrize(
    ("host", "public"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("127.8.8.8", False), ("0.0.0.0", True), ("::", True),
     ("192.168.1.5", True), ("example.org", True)],
)  # fmt: skip
def test_which_addresses_are_public(host, public):
    assert Settings(host=host).public is public


SCORE: dict[str, Any] = {"model": "pair", "prompt": [PROMPT * 40] * 3, "max_tokens": 0, "echo": True, "logprobs": 1}


def test_prompts_that_are_scored_are_rows_too(small):
    """They count in the queue, which holds three, and leave it whatever becomes of them."""
    with pytest.raises(openai.BadRequestError, match="at most 3"):
        small.client.completions.create(**{**SCORE, "prompt": [PROMPT] * 4})
    for model, problem in (("pair", None), ("none", openai.NotFoundError), ("pair", None)):
        if problem is None:
            small.client.completions.create(**{**SCORE, "model": model})
        else:
            with pytest.raises(problem):
                small.client.completions.create(**{**SCORE, "model": model})
    assert small.idle()


def test_scoring_ends_with_its_time(caplog):
    with live(timeout=0.05, rows=1) as own:
        with pytest.raises(openai.APIStatusError) as caught:
            own.client.completions.create(**{**SCORE, "prompt": [PROMPT * 40] * 40})
        assert caught.value.status_code == 504
        assert own.idle()
    assert "never retrieved" not in caplog.text


def test_scoring_ends_with_its_client(caplog):
    """Before a step has ended, so that nothing is scored for nobody."""
    with live(rows=1) as own:
        worker, step_ends = own.service.models["pair"].worker, threading.Event()
        worker._inbox.put(step_ends.wait)  # type: ignore[arg-type]
        body = json.dumps(SCORE)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        try:
            with own.connection() as client:
                client.sendall(f"{head}\r\n\r\n{body}".encode())
                assert eventually(lambda: worker.load == 3)
            assert eventually(lambda: worker.load == 0)
        finally:
            step_ends.set()
        assert own.idle()
    assert "never retrieved" not in caplog.text


def test_one_failed_prompt_ends_the_others(small, monkeypatch):
    """They are not scored for nobody."""

    def failing(logits, warp):
        raise RequestError("no law")

    combine_by(failing, small.ensemble(), monkeypatch)
    with pytest.raises(openai.BadRequestError, match="no law"):
        small.client.completions.create(**SCORE)
    assert small.idle(5)


def test_one_failed_row_ends_the_others(small):
    """One runs at a time here: those behind it are not begun."""
    worker = small.service.models["pair"].worker
    ensemble = worker.ensemble
    prepared = ensemble.prompts.prepare(PROMPT * 40)
    rows = [Echo(ensemble, as_combination(None, 2), prepared, 1).rows[0] for _ in range(3)]

    async def run() -> None:
        worker._inbox.put(lambda: rows[0].fail(RequestError("no law")))
        await worker.run(rows)

    with pytest.raises(RequestError, match="no law"):
        asyncio.run(run())
    assert small.idle(5)
    assert rows[2].stats.members[0].forwards == 0


@pytest.mark.parametrize("scoring", [False, True])
def test_what_comes_too_late_is_refused(monkeypatch, scoring):
    """The server begins to stop while a prompt is read: nothing of it runs, nobody waits for it."""
    with live(rows=1) as own:
        worker = own.service.models["pair"].worker
        start, echo = Order.start, Echo.__init__

        def late(original, *arguments, **options):
            worker.abort(errors.shutting_down())
            return original(*arguments, **options)

        monkeypatch.setattr(Order, "start", lambda *given: late(start, *given))
        if scoring:
            monkeypatch.setattr(Echo, "__init__", lambda *given: late(echo, *given))
        with pytest.raises(openai.InternalServerError) as caught:
            own.client.completions.create(**(SCORE if scoring else LONG))
        assert caught.value.status_code == 503
        assert worker.running() == worker.load == 0


def test_a_slow_body_is_given_up(small):
    """408 after the time limit; whoever leaves in the middle of a body is no error of ours."""
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with small.connection() as slow:
        slow.sendall(head)
        assert b" 408 " in slow.recv(4000)
    with small.connection() as gone:
        gone.sendall(head)
    assert httpx.get(f"{small.url}/health").status_code == 200
