"""A hundred malformed requests by hand, and more from our own OpenAPI description: no 5xx, no hang."""

import json
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from tests.server.live import KEY, MESSAGES, PROMPT

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
FIELDS = (
    "stream", "stream_options", "n", "stop", "seed", "logit_bias", "presence_penalty", "frequency_penalty",
    "temperature", "top_p", "max_tokens", "top_k", "min_p", "repetition_penalty", "stop_token_ids", "ignore_eos",
    "skip_special_tokens", "min_tokens", "spec_decode_metrics", "collaboration", "guidance_scale", "trace", "logprobs",
    "echo", "model", "prompt",
)  # fmt: skip
RAW = [
    b"", b" ", b"{", b"}", b"[]", b"null", b"true", b"0", b'"text"', b"{}", b"[{}]", b'{"model"}', b'{"model":}',
    b"\xff\xfe", b"\x00", b'{"model": "pair", "prompt": "\xff"}', b"[" * 100_000, b'{"a":' * 50_000,
    b'{"model": "pair", "prompt": "x", "temperature": NaN}', b'{"model": "pair", "prompt": "x", "temperature": Infinity}',
    b'{"model": "pair", "prompt": "x", "seed": ' + b"9" * 5000 + b"}", b'{"model": "pair", "prompt": "x", "top_p": 1e999}',
    b'{"model": "pair", "prompt": "\\ud800"}', b'{"model": "\\ud800", "prompt": "x"}', b"model=pair&prompt=x",
    b'{"model": "pair", "prompt": "x", "prompt": 1}', b'{"model": "pair", "prompt": "x"} trailing',
    b'{"model": "pair", "prompt": "x", "\\ud800": 1}',
]  # fmt: skip
ODD = [
    (TEXT, {"prompt": PROMPT}), (TEXT, {"model": "pair"}), (TEXT, {"model": "pair", "prompt": {}}),
    (TEXT, {"model": "pair", "prompt": [[1], "a"]}), (TEXT, {"model": "pair", "prompt": [None]}),
    (TEXT, {"model": "pair", "prompt": [-1]}), (TEXT, {"model": "pair", "prompt": [2**31]}),
    (TEXT, {"model": "pair", "prompt": [1.5]}), (TEXT, {"model": "pair", "prompt": [True]}),
    (TEXT, {"model": "pair", "prompt": "x" * 100_000}), (TEXT, {"model": "pair", "prompt": [1] * 2000}),
    (TEXT, {"model": "", "prompt": "x"}), (TEXT, {"model": "../pair", "prompt": "x"}),
    (CHAT, {"model": "pair", "messages": "hello"}), (CHAT, {"model": "pair", "messages": [[]]}),
    (CHAT, {"model": "pair", "messages": [{}]}), (CHAT, {"model": "pair", "messages": [{"role": "user"}]}),
    (CHAT, {"model": "pair", "messages": [{"content": "x"}]}),
    (CHAT, {"model": "pair", "messages": [{"role": "king", "content": "x"}]}),
    (CHAT, {"model": "pair", "messages": [{"role": "user", "content": None}]}),
    (CHAT, {"model": "pair", "messages": [{"role": "user", "content": 1}]}),
    (CHAT, {"model": "pair", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
    (CHAT, {"model": "pair", "messages": [{"role": "user", "content": "x", "name": 1}]}),
    (CHAT, {"model": "pair", "messages": [{"role": "user", "content": "\ud800"}]}),
    (CHAT, {"model": "pair", "messages": MESSAGES, "tools": [{}]}),
    (CHAT, {"model": "pair", "messages": MESSAGES, "functions": [{}]}),
    (CHAT, {"model": "pair", "messages": MESSAGES, "response_format": {}}),
    (CHAT, {"model": "pair", "messages": MESSAGES, "response_format": "text"}),
    (CHAT, {"model": "pair", "messages": MESSAGES, "negative_messages": []}),
    (CHAT, {"model": "pair", "messages": MESSAGES, "max_completion_tokens": "many"}),
    (CHAT, {"model": "pair", "messages": MESSAGES, "top_logprobs": 5}),
    (CHAT, {"model": "pair", "messages": MESSAGES, "logprobs": 5}),
    (TEXT, {"model": "pair", "prompt": "x", "n": 10**9}), (TEXT, {"model": "pair", "prompt": "x", "max_tokens": 10**12}),
    (TEXT, {"model": "pair", "prompt": "x", "collaboration": {"schedule": "cos:0,0"}}),
    (TEXT, {"model": "pair", "prompt": "x", "collaboration": {"schedule": "cos:" + "9" * 5000 + ",1"}}),
    (TEXT, {"model": "pair", "prompt": "x", "collaboration": {"combine": "unisono:Ensemble"}}),
    (TEXT, {"model": "pair", "prompt": "x", "collaboration": {"weights": [1e308, 1e308]}}),
    (TEXT, {"model": "pair", "prompt": "x", "collaboration": {"weights": []}}),
    (TEXT, {"model": "pair", "prompt": "x", "logit_bias": {"1": 1e30}}),
    (TEXT, {"model": "pair", "prompt": "x", "logit_bias": {"1.5": 1}}),
    (TEXT, {"model": "pair", "prompt": "x", "logit_bias": {"-1": 1}}),
    (TEXT, {"model": "pair", "prompt": "x", "stop": [""]}), (TEXT, {"model": "pair", "prompt": "x", "stop": ["a"] * 65}),
    (TEXT, {"model": "pair", "prompt": "x", "trace": {"candidates": 0}, "stream": True}),
    ("/tokenize", {"model": "pair", "prompt": 1}), ("/tokenize", {"model": "pair", "prompt": "\ud800"}),
    ("/detokenize", {"model": "pair", "tokens": ["a"]}), ("/detokenize", {"model": "pair", "tokens": [-1]}),
]  # fmt: skip
WRONG: list[object] = [{"deep": [[[[]]]]}, "\x00"]
CASES = [
    *((TEXT, raw) for raw in RAW),
    *((path, json.dumps(body).encode()) for path, body in ODD),
    *((TEXT, json.dumps({"model": "pair", "prompt": "x", name: wrong}).encode()) for name in FIELDS for wrong in WRONG
      if not (name in ("prompt", "stop") and isinstance(wrong, str))),
]  # fmt: skip


def test_there_are_a_hundred():
    assert len(CASES) >= 100


@pytest.mark.parametrize(("path", "body"), CASES, ids=[f"{k}-{body[:40]!r}" for k, (_, body) in enumerate(CASES)])
def test_a_malformed_request_is_4xx_in_the_right_shape(server, path, body):
    answer = httpx.post(f"{server.url}{path}", content=body, headers=HEADERS, timeout=20)
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CHAT, 405), ("PUT", TEXT, 405), ("DELETE", "/v1/models", 405), ("POST", "/metrics", 405),
        ("GET", "/v2/models", 404), ("GET", "/v1/models/none/at/all", 404), ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404), ("POST", "/v1/embeddings", 404), ("OPTIONS", CHAT, 405),
    ],
)  # fmt: skip
def test_other_paths_and_methods(server, method, path, status):
    answer = httpx.request(method, f"{server.url}{path}", headers=HEADERS)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_other_content_types_are_refused(server, kind):
    """Else any web page could post here from a browser."""
    headers = {"Authorization": f"Bearer {KEY}"} | ({"Content-Type": kind} if kind else {})
    body = json.dumps({"model": "pair", "prompt": PROMPT}).encode()
    answer = httpx.post(f"{server.url}{TEXT}", content=body, headers=headers)
    assert answer.status_code == 400
    assert "Content-Type" in answer.json()["error"]["message"]


def described(operation: Any) -> Any:
    """Requests that a description allows and, where something can be wrong, such that it does not."""
    valid = operation.as_strategy(GenerationMode.POSITIVE)
    parts = (operation.body, operation.path_parameters, operation.query)
    return valid | operation.as_strategy(GenerationMode.NEGATIVE) if any(map(len, parts)) else valid


@pytest.mark.long
def test_requests_from_our_own_description(server):
    """schemathesis: valid and broken requests alike; nothing is a 5xx, and every status is a described one."""
    schema: Any = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=HEADERS)
    seen: set[object] = set()

    for operation in schema.get_all_operations():

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=described(operation.ok()))
        def check(case):
            seen.update((case.meta.generation.mode,))
            if isinstance(case.body, dict) and "model" in case.body:
                case.body["model"] = "pair"
            answer = case.call(headers=HEADERS, timeout=600)
            seen.add(answer.status_code)
            assert answer.status_code < 500, answer.text

        check()
    assert {200, 400, GenerationMode.POSITIVE, GenerationMode.NEGATIVE} <= seen
    assert server.idle()
