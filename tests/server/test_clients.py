"""The official client, sync and async: what one can do, the other can, errors and going away included."""

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

import openai
import pytest

from tests.server.live import KEY, MESSAGES, PROMPT, eventually
from unisono import SamplingParams

LONG: dict[str, Any] = {"model": "large", "prompt": PROMPT, "max_tokens": 480, "extra_body": {"ignore_eos": True}}


@pytest.fixture(params=["sync", "async"])
def drive(request, server) -> Callable[..., Any]:
    """Calls an endpoint of the client by its dotted name; a stream becomes the list of what it yields."""
    if request.param == "sync":

        def call(name: str, key: str = KEY, **options: Any) -> Any:
            client = server.client.with_options(api_key=key)
            answer = _find(client, name)(**options)
            return list(answer) if isinstance(answer, openai.Stream | openai.pagination.SyncPage) else answer

        return call

    async def ask(name: str, key: str, **options: Any) -> Any:
        async with server.async_client.with_options(api_key=key) as client:
            answer = _find(client, name)(**options)
            if isawaitable(answer):
                answer = await answer
            listed = isinstance(answer, openai.AsyncStream) or hasattr(answer, "__aiter__")
            return [each async for each in answer] if listed else answer

    return lambda name, key=KEY, **options: asyncio.run(ask(name, key, **options))


def _find(client: Any, name: str) -> Any:
    for part in name.split("."):
        client = getattr(client, part)
    return client


def test_models(drive):
    listed = drive("models.list")
    assert [model.id for model in listed] == ["pair", "contrast", "large", "small"]
    assert drive("models.retrieve", model="contrast") == listed[1]


@pytest.mark.parametrize("prompt", [PROMPT, [PROMPT, "for i in"], [5, 6, 7], [[5, 6, 7], [8, 9]]], ids=str)
def test_completions(drive, server, prompt):
    several = (
        prompt if isinstance(prompt[0], list) or (isinstance(prompt, list) and isinstance(prompt[0], str)) else [prompt]
    )
    own = [
        result.text
        for each in several
        for result in server.ensemble().generate(each, SamplingParams(max_tokens=8, seed=4, n=2))
    ]
    options: dict[str, Any] = {"model": "pair", "prompt": prompt, "max_tokens": 8, "seed": 4, "n": 2}
    assert [choice.text for choice in drive("completions.create", **options).choices] == own
    texts = [""] * len(own)
    for chunk in drive("completions.create", **options, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == own


def test_scored_prompts(drive, server):
    (own,) = server.ensemble().generate(PROMPT, SamplingParams(max_tokens=1, prompt_logprobs=True))
    answer = drive("completions.create", model="pair", prompt=PROMPT, echo=True, logprobs=1, max_tokens=0)
    assert answer.choices[0].text == PROMPT
    assert answer.choices[0].logprobs.token_logprobs[1:] == pytest.approx(own.prompt_logprobs[1:], abs=1e-4)


def test_chats(drive, server):
    ensemble = server.ensemble()
    (own,) = ensemble.generate(ensemble.encode_chat(MESSAGES), SamplingParams(max_tokens=12, seed=2))
    options: dict[str, Any] = {"model": "pair", "messages": MESSAGES, "max_tokens": 12, "seed": 2}
    options["extra_body"] = {"collaboration": {"schedule": "standard"}, "spec_decode_metrics": "summary"}
    whole = drive("chat.completions.create", **options, logprobs=True, top_logprobs=1)
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
    assert whole.model_extra["metrics"]["collaboration"]["schedule"] == "standard"
    del options["extra_body"]
    chunks = drive("chat.completions.create", **options, stream=True, stream_options={"include_usage": True})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == own.text
    assert chunks[-1].usage.completion_tokens == len(own.token_ids)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_helper_for_streams(server, kind):
    """`chat.completions.stream` puts chunks together by itself: text, log-probabilities, usage, reason."""
    ensemble = server.ensemble()
    (own,) = ensemble.generate(ensemble.encode_chat(MESSAGES), SamplingParams(max_tokens=12, seed=2))
    options: dict[str, Any] = {"model": "pair", "messages": MESSAGES, "max_tokens": 12, "seed": 2, "logprobs": True}
    options["stop"] = own.text[7:9]  # the helper raises an error for texts that end by their length
    options["stream_options"] = {"include_usage": True}
    whole = server.client.chat.completions.create(**{k: v for k, v in options.items() if k != "stream_options"})
    if kind == "sync":
        with server.client.chat.completions.stream(**options) as stream:
            seen = list(stream)
            final = stream.get_final_completion()
    else:

        async def read() -> tuple[list[Any], Any]:
            async with server.async_client as client, client.chat.completions.stream(**options) as stream:
                return [event async for event in stream], await stream.get_final_completion()

        seen, final = asyncio.run(read())
    assert "".join(event.delta for event in seen if event.type == "content.delta") == whole.choices[0].message.content
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason
    assert [entry.token for entry in final.choices[0].logprobs.content] == [
        entry.token for entry in whole.choices[0].logprobs.content
    ]
    assert final.usage == whole.usage


@pytest.mark.parametrize("stream", [False, True])
def test_errors(drive, stream):
    """Of both kinds of answers: the status, the shape, the field."""
    known: dict[str, Any] = {"model": "pair", "messages": MESSAGES, "stream": stream}
    for change, key, kind, status, field in (
        ({}, "wrong", openai.AuthenticationError, 401, None),
        ({"model": "pear"}, KEY, openai.NotFoundError, 404, "model"),
        ({"extra_body": {"mirostat": 2}}, KEY, openai.BadRequestError, 400, "mirostat"),
        ({"temperature": -1}, KEY, openai.BadRequestError, 400, "temperature"),
        ({"n": 129}, KEY, openai.BadRequestError, 400, "n"),
        ({"messages": [{"role": "user", "content": "x " * 600}]}, KEY, openai.BadRequestError, 400, None),
    ):
        with pytest.raises(kind) as caught:
            drive("chat.completions.create", key, **{**known, **change})
        assert caught.value.status_code == status
        assert caught.value.param == field
        assert caught.value.message
    with pytest.raises(openai.NotFoundError):
        drive("models.retrieve", model="none")


@pytest.mark.parametrize("stream", [False, True])
def test_an_async_task_that_is_cancelled_frees_its_row(server, stream):
    async def leave() -> None:
        async with server.async_client as client:

            async def read() -> None:
                answer = await client.completions.create(**LONG, stream=stream)
                async for _ in answer:
                    pass

            task = asyncio.create_task(read())
            while not server.service.models["large"].worker.running():
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    _expect_abort(server, leave)


def test_an_async_stream_that_is_closed_frees_its_row(server):
    async def leave() -> None:
        async with server.async_client as client:
            answer = await client.completions.create(**LONG, stream=True)
            await anext(aiter(answer))
            await answer.close()
            assert server.service.models["large"].worker.load in (0, 1)  # another one can be had on the same client
            await client.completions.create(**{**LONG, "max_tokens": 2})

    _expect_abort(server, leave)


def _expect_abort(server, leave) -> None:
    assert server.idle()
    aborted = server.service.metrics.requests.labels("large", "abort")._value
    before = aborted.get()
    asyncio.run(leave())
    assert server.idle()
    assert eventually(lambda: aborted.get() == before + 1)  # it is counted behind the row's end
