"""Chats through the official client, sync and async: each field does what the library does."""

import asyncio
import itertools
from typing import Any

import openai
import pytest

from tests.server.live import MESSAGES
from unisono import SamplingParams


def expected(server, params: SamplingParams, model: str = "pair", **method):
    ensemble = server.ensemble(model)
    return ensemble.generate(ensemble.encode_chat(MESSAGES), params, **method)


@pytest.mark.parametrize(
    ("options", "params"),
    [
        ({}, {}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.5, "top_p": 0.8}, {"temperature": 0.5, "top_p": 0.8}),
        ({"max_tokens": 3}, {"max_tokens": 3}),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"presence_penalty": 1.5, "frequency_penalty": 1.0}, {"presence_penalty": 1.5, "frequency_penalty": 1.0}),
        ({"logit_bias": {"70": 50.0}}, {"logit_bias": {70: 50.0}}),
        ({"extra_body": {"top_k": 2, "min_p": 0.1}}, {"top_k": 2, "min_p": 0.1}),
        ({"extra_body": {"top_k": -1, "repetition_penalty": 1.7}}, {"repetition_penalty": 1.7}),
        ({"extra_body": {"ignore_eos": True, "min_tokens": 4}}, {"ignore_eos": True, "min_tokens": 4}),
        ({"extra_body": {"stop_token_ids": list(range(150))}}, {"stop_token_ids": list(range(150))}),
        ({"response_format": {"type": "text"}}, {}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_fields_do_what_the_library_does(server, options, params):
    """The same seed and parameters give the very text, finish reason and count of the library's own call."""
    (own,) = expected(server, SamplingParams(**{"max_tokens": 24, "seed": 3, **params}))
    answer = server.client.chat.completions.create(model="pair", messages=MESSAGES, seed=3, **options)
    assert answer.choices[0].message.content == own.text
    assert answer.choices[0].finish_reason == own.finish_reason
    assert answer.usage.completion_tokens == len(own.token_ids)
    assert answer.usage.prompt_tokens == len(server.ensemble().encode_chat(MESSAGES))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_fields_matter(server):
    """The cases above would pass if the server ignored its fields and the model did not care: it cares."""
    plain = expected(server, SamplingParams(max_tokens=24, seed=3))[0].text
    changes: list[dict[str, Any]] = [{"temperature": 0}, {"top_k": 2}, {"repetition_penalty": 1.7}, {"seed": 4}]
    for changed in changes:
        assert expected(server, SamplingParams(**{"max_tokens": 24, "seed": 3, **changed}))[0].text != plain


def test_n_choices_are_the_samples_of_the_seed(server):
    own = expected(server, SamplingParams(max_tokens=8, seed=5, n=3))
    answer = server.client.chat.completions.create(model="pair", messages=MESSAGES, seed=5, n=3, max_tokens=8)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == [result.text for result in own]
    assert len({result.text for result in own}) > 1
    assert answer.usage.completion_tokens == sum(len(result.token_ids) for result in own)


@pytest.mark.parametrize("as_list", [False, True])
def test_stop_cuts_the_text(server, as_list):
    text = expected(server, SamplingParams(max_tokens=24, seed=3))[0].text
    stop = text[6:8]
    answer = server.client.chat.completions.create(
        model="pair", messages=MESSAGES, seed=3, stop=["never there", stop] if as_list else stop
    )
    assert answer.choices[0].message.content == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_logprobs_are_the_combined_ones(server):
    (own,) = expected(server, SamplingParams(max_tokens=8, seed=3, logprobs=True, top_logprobs=3))
    answer = server.client.chat.completions.create(
        model="pair", messages=MESSAGES, seed=3, max_tokens=8, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert [entry.logprob for entry in content] == pytest.approx(own.logprobs, abs=1e-5)
    tops = [[candidate.logprob for candidate in entry.top_logprobs] for entry in content]
    assert tops == [pytest.approx(list(found.values()), abs=1e-5) for found in own.top_logprobs]
    raw = b"".join(bytes(entry.bytes) for entry in content)
    assert raw.decode("utf-8", "replace").startswith(answer.choices[0].message.content[:3])


def test_logprobs_alone_need_no_top(server):
    answer = server.client.chat.completions.create(model="pair", messages=MESSAGES, max_tokens=2, logprobs=True)
    assert [entry.top_logprobs for entry in answer.choices[0].logprobs.content] == [[], []]


def test_messages_may_have_parts(server):
    parts = [{"role": "user", "content": [{"type": "text", "text": "what "}, {"type": "text", "text": "is f"}]}]
    whole, split = (
        server.client.chat.completions.create(model="pair", messages=messages, seed=1) for messages in (MESSAGES, parts)
    )
    assert whole.choices[0].message.content == split.choices[0].message.content


def test_a_seed_is_enough_to_repeat(server):
    first, second = (server.client.chat.completions.create(model="pair", messages=MESSAGES, seed=9) for _ in range(2))
    assert first.choices[0].message.content == second.choices[0].message.content


@pytest.mark.parametrize("model", ["pair", "contrast", "large", "small"])
def test_streams_join_to_the_text(server, model):
    """For every model, with stop strings in the way and broken characters among the tokens."""
    for seed in range(6):
        options = {"model": model, "messages": MESSAGES, "seed": seed, "max_tokens": 40, "stop": ["ne", "zz"]}
        whole = server.client.chat.completions.create(**options)
        chunks = list(server.client.chat.completions.create(**options, stream=True))
        joined = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert joined == whole.choices[0].message.content
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == [
            whole.choices[0].finish_reason
        ]


def test_streams_of_several_choices(server):
    options = {"model": "pair", "messages": MESSAGES, "seed": 2, "max_tokens": 12, "n": 3}
    whole = server.client.chat.completions.create(**options)
    texts = ["", "", ""]
    for chunk in server.client.chat.completions.create(**options, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]


def test_stream_usage_comes_last_and_without_choices(server):
    options = {"model": "pair", "messages": MESSAGES, "seed": 2, "max_tokens": 12}
    whole = server.client.chat.completions.create(**options)
    chunks = list(server.client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_stream_logprobs_are_those_of_the_whole(server):
    options = {"model": "pair", "messages": MESSAGES, "seed": 2, "max_tokens": 12, "logprobs": True, "top_logprobs": 2}
    whole = server.client.chat.completions.create(**options).choices[0].logprobs.content
    chunks = server.client.chat.completions.create(**options, stream=True)
    streamed = [entry for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in whole]
    assert [entry.logprob for entry in streamed] == pytest.approx([entry.logprob for entry in whole], abs=1e-5)


def test_async_clients_beside_each_other_get_what_they_get_alone(server):
    """Thirty at a time over eight slots, streamed and not, two models."""

    async def ask(client: openai.AsyncOpenAI, seed: int) -> str:
        options: dict[str, Any] = {
            "model": "pair" if seed % 3 else "contrast",
            "messages": MESSAGES,
            "seed": seed,
            "max_tokens": 16,
        }
        if seed % 2:
            return (await client.chat.completions.create(**options)).choices[0].message.content
        stream = await client.chat.completions.create(**options, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def ask_all() -> list[str]:
        async with server.async_client as client:
            return await asyncio.gather(*(ask(client, seed) for seed in range(30)))

    texts = asyncio.run(ask_all())
    for seed, text in enumerate(texts):
        params = SamplingParams(max_tokens=16, seed=seed)
        assert text == expected(server, params, "pair" if seed % 3 else "contrast")[0].text
    assert len(set(texts)) > 20
    assert server.idle()


ERRORS = [
    ({"model": "pear"}, openai.NotFoundError, "model"),
    ({"temperature": -1}, openai.BadRequestError, "temperature"),
    ({"top_p": 0}, openai.BadRequestError, "top_p"),
    ({"max_tokens": 0}, openai.BadRequestError, "max_tokens"),
    ({"max_tokens": 4, "max_completion_tokens": 5}, openai.BadRequestError, "max_tokens"),
    ({"n": 0}, openai.BadRequestError, "n"),
    ({"seed": -1}, openai.BadRequestError, "seed"),
    ({"top_logprobs": 2}, openai.BadRequestError, "top_logprobs"),
    ({"logit_bias": {"word": 1}}, openai.BadRequestError, "logit_bias"),
    ({"logit_bias": {"999999": 1}}, openai.BadRequestError, "logit_bias"),
    ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "response_format"),
    ({"tools": [{"type": "function"}]}, openai.BadRequestError, "tools"),
    ({"verbosity": "high"}, openai.BadRequestError, "verbosity"),
    ({"stream_options": {"include_usage": True}}, openai.BadRequestError, "stream_options"),
    ({"extra_body": {"mirostat": 2}}, openai.BadRequestError, "mirostat"),
    ({"extra_body": {"negative_messages": MESSAGES}}, openai.BadRequestError, "guidance_scale"),
    ({"extra_body": {"guidance_scale": 2.0}}, openai.BadRequestError, "guidance_scale"),
    ({"extra_body": {"trace": {}}}, openai.BadRequestError, "trace"),
    ({"messages": []}, openai.BadRequestError, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, openai.BadRequestError, "messages"),
    ({"extra_body": {"collaboration": {"weights": [1]}}}, openai.BadRequestError, "collaboration.weights"),
    ({"extra_body": {"collaboration": {"weights": [-1, 1]}}}, openai.BadRequestError, "collaboration.weights"),
    ({"extra_body": {"collaboration": {"mu": 1}}}, openai.BadRequestError, "collaboration.mu"),
    ({"extra_body": {"collaboration": {"schedule": "cos:1"}}}, openai.BadRequestError, "collaboration.schedule"),
    ({"extra_body": {"collaboration": {"combine": "os:system"}}}, openai.BadRequestError, "collaboration.combine"),
    (
        {"extra_body": {"collaboration": {"combine": "cosd_tree:/etc/hosts"}}},
        openai.BadRequestError,
        "collaboration.combine",
    ),
    ({"extra_body": {"collaboration": {"speed": 9}}}, openai.BadRequestError, "collaboration.speed"),
]


@pytest.mark.parametrize(("options", "kind", "field"), ERRORS, ids=[str(options) for options, *_ in ERRORS])
def test_errors_name_the_field(server, options, kind, field):
    with pytest.raises(kind) as caught:
        server.client.chat.completions.create(**{"model": "pair", "messages": MESSAGES, **options})
    assert caught.value.param == field
    assert field.split(".")[-1] in caught.value.message
    assert caught.value.type == ("not_found_error" if kind is openai.NotFoundError else "invalid_request_error")


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_prompt_is_an_error_of_the_request(server, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        server.client.chat.completions.create(
            model="pair", messages=[{"role": "user", "content": "x " * 600}], stream=stream
        )
    assert caught.value.code == "context_length_exceeded"


def test_collaboration_changes_the_law_for_one_request(server):
    """Weights, mu, combination, schedule and verification, as the library with the same method."""
    cases = itertools.chain(
        [("pair", {"weights": [0.1, 0.9]}, {"combine": "weighted:0.1,0.9"})],
        [
            (
                "pair",
                {"combine": "product:1,0.5", "schedule": "standard"},
                {"combine": "product:1,0.5", "schedule": "standard"},
            )
        ],
        [("contrast", {"mu": 0.9}, {"combine": "contrastive:0.9"})],
        [("pair", {"schedule": "speculative:3", "verification": "token"}, {"schedule": "speculative:3"})],
    )
    for model, asked, method in cases:
        (own,) = expected(server, SamplingParams(max_tokens=24, seed=3), model, **method)
        answer = server.client.chat.completions.create(
            model=model,
            messages=MESSAGES,
            seed=3,
            extra_body={"collaboration": asked, "spec_decode_metrics": "summary"},
        )
        assert answer.choices[0].message.content == own.text
        assert answer.model_extra["metrics"]["collaboration"]["combination"] == own.combination
        assert answer.model_extra["metrics"]["collaboration"]["schedule"] == own.schedule


@pytest.mark.parametrize("combine", ["cosd_tree:/etc/hosts", "cosd_tree:file=/etc/hosts", "os:system", "os"])
def test_a_request_names_no_file_and_no_code(server, combine):
    """It is refused before anybody looks whether there is such a file or module."""
    with pytest.raises(openai.BadRequestError, match="a request may name weighted"):
        server.client.chat.completions.create(
            model="pair", messages=MESSAGES, extra_body={"collaboration": {"combine": combine}}
        )
