"""Fields that clients send: accepted where they change nothing in an answer, else a 400 with the reason and the remedy."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import openai
import pytest
from pydantic import ValidationError

from tests.server.live import MESSAGES, PROMPT, Live, live
from unisono.server import errors
from unisono.server.openai import neutral
from unisono.server.openai.schema import ChatRequest, CompletionRequest, Message, Strict

CHAT: dict[str, Any] = {"model": "pair", "messages": MESSAGES, "max_tokens": 6, "seed": 3}
TEXT: dict[str, Any] = {"model": "pair", "prompt": PROMPT, "max_tokens": 6, "seed": 3}
BODIES: dict[type[Strict], dict[str, Any]] = {
    ChatRequest: CHAT,
    CompletionRequest: TEXT,
    Message: {"role": "assistant", "content": "yes"},
}
# Null or the default value of fields that the schema has
PLAIN: dict[str, Any] = {
    "n": None, "stop": None, "logit_bias": None, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": None,
    "stream": None, "stream_options": None, "top_p": 1, "temperature": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live() as running:
        yield running


def ask(server: Live, path: str, body: dict[str, Any] | None = None) -> Any:
    with server.http as client:
        return client.get(path) if body is None else client.post(path, json=body)


def every(values: Any) -> tuple[object, ...]:
    """The values of a field that change nothing."""
    return ("text", {"a": 1}, True, None) if values is neutral.ANY else tuple(values)


def refusal(schema: type[Strict], body: dict[str, Any]) -> Any:
    with pytest.raises(ValidationError) as caught:
        schema.model_validate(body)
    return errors.malformed(caught.value.errors()).body["error"]


@pytest.mark.parametrize("schema", BODIES)
def test_each_field_changes_nothing_at_its_values(schema):
    body = BODIES[schema]
    wanted = schema.model_validate(body)
    assert schema.ignorable
    for name, (values, _) in schema.ignorable.items():
        for value in every(values):
            assert schema.model_validate({**body, name: value}) == wanted, (name, value)


def test_fields_of_the_schema_arrive():
    """A field of the schema is never dropped, except for a completion's `logprobs: false`, since the schema wants a number."""
    both = [(schema, name) for schema in BODIES for name in schema.ignorable if name in schema.model_fields]
    assert both == [(CompletionRequest, "logprobs")]


@pytest.mark.parametrize("schema", BODIES)
def test_other_values_are_refused_with_the_remedy(schema):
    own = set(schema.model_fields)
    for name, (values, remedy) in schema.ignorable.items():
        if values is neutral.ANY or name in own:
            continue
        for value in ("another", 7, True, [{"a": 1}]):
            if value in values:
                continue
            error = refusal(schema, {**BODIES[schema], name: value})
            assert error["param"] == name
            assert error["code"] == "unsupported_value"
            assert error["message"].startswith(f"{name}: {remedy} (accepted: null")


@pytest.mark.parametrize(
    ("path", "schema"), [("/v1/chat/completions", ChatRequest), ("/v1/completions", CompletionRequest)]
)
def test_all_at_once_give_the_same_answer(server, path, schema):
    others = {name: every(values)[-1] for name, (values, _) in schema.ignorable.items()}
    plain, full = (ask(server, path, BODIES[schema] | extra).json() for extra in ({}, others | PLAIN))
    assert full["choices"] == plain["choices"]
    assert full["usage"] == plain["usage"]


def test_the_description_of_the_api_has_these_fields(server):
    described = ask(server, "/openapi.json").json()["components"]

    def allows(schema: type[Strict], extra: dict[str, Any]) -> bool:
        reference = {"$ref": f"#/components/schemas/{schema.__name__}", "components": described}
        return bool(jsonschema_rs.is_valid(reference, BODIES[schema] | extra))

    for schema in (ChatRequest, CompletionRequest):
        others = {name: every(values)[-1] for name, (values, _) in schema.ignorable.items() if name != "logprobs"}
        assert allows(schema, others)
        assert not allows(schema, {"best_of": 2})
        assert not allows(schema, {"mirostat": 2})
    assert not allows(ChatRequest, {"tools": [{}]})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dumped", [False, True])
def test_the_official_clients_own_message_comes_back(server, stream, dumped):
    talk: list[Any] = list(MESSAGES)
    options: dict[str, Any] = {"model": "pair", "messages": talk, "seed": 3}
    if stream:
        stop = server.client.chat.completions.create(**options, max_tokens=12).choices[0].message.content[6:8]
        with server.client.chat.completions.stream(**options, max_tokens=12, stop=stop) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = server.client.chat.completions.create(**options, max_tokens=12).choices[0].message
    wanted = [*talk, {"role": "assistant", "content": message.content}, *MESSAGES]
    talk += [message.model_dump() if dumped else message, *MESSAGES]
    again, plain = (
        server.client.chat.completions.create(model="pair", messages=each, seed=3, max_tokens=6)
        for each in (talk, wanted)
    )
    assert again.choices[0].message == plain.choices[0].message
    assert again.usage == plain.usage


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        ({"role": "assistant"}, {"role": "assistant", "content": ""}),
        ({"role": "assistant", "content": "a", "tool_calls": [], "annotations": [], "provider_specific_fields": None},
         {"role": "assistant", "content": "a"}),
        ({"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
         {"role": "user", "content": "a"}),
        ({"role": "user", "content": "a", "name": "ann"}, {"role": "user", "content": "a", "name": "ann"}),
        ({"role": "assistant", "content": "a", "reasoning_content": "b"},
         {"role": "assistant", "content": "a", "reasoning_content": "b"}),
        ({"role": "assistant", "content": "a", "reasoning_content": None}, {"role": "assistant", "content": "a"}),
    ],
)  # fmt: skip
def test_messages_as_templates_get_them(message, plain):
    assert Message.model_validate(message).as_plain() == plain


def test_only_an_assistants_message_may_be_without_content():
    for message in ({"role": "user", "content": None}, {"role": "system"}):
        assert "content" in refusal(ChatRequest, {**CHAT, "messages": [message]})["message"]


@pytest.mark.parametrize(
    ("schema", "extra", "param", "hint"),
    [
        (ChatRequest, {"temprature": 1}, "temprature", "did you mean temperature?"),
        (ChatRequest, {"max_new_tokens": 1}, "max_new_tokens", "did you mean max_tokens?"),
        (CompletionRequest, {"messages": MESSAGES}, "messages", "did you mean prompt?"),
        (ChatRequest, {"parallel_tool_cals": True}, "parallel_tool_cals", "did you mean parallel_tool_calls?"),
        (ChatRequest, {"mirostat": 2}, "mirostat", "leave it out"),
        (ChatRequest, {"collaboration": {"schedul": "auto"}}, "collaboration.schedul", "did you mean schedule?"),
        (ChatRequest, {"stream_options": {"include_usge": True}}, "stream_options.include_usge", "did you mean include_usage?"),
        (ChatRequest, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "txt": ""}]}]},
         "messages.0.content.0.txt", "did you mean text?"),
        (ChatRequest, {"messages": [{"role": "user", "content": "a", "refusal": "no"}]}, "messages.0.refusal", "as content"),
    ],
)  # fmt: skip
def test_an_unknown_field_is_named_with_the_nearest_known_one(schema, extra, param, hint):
    error = refusal(schema, {**BODIES[schema], **extra})
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")
    assert hint in error["message"]


def chunks(server: Live, path: str, body: dict[str, Any]) -> list[Any]:
    lines = ask(server, path, body).text.split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line and not line.endswith("[DONE]")]


@pytest.mark.parametrize(
    ("path", "body"),
    [  # as guidellm 0.8.1 sends them
        ("/v1/completions", {**TEXT, "stop": None, "ignore_eos": True}),
        ("/v1/chat/completions", {"model": "pair", "messages": MESSAGES, "max_completion_tokens": 6, "ignore_eos": True}),
        ("/v1/chat/completions", {**CHAT, "n": 2}),
    ],
)  # fmt: skip
def test_usage_in_every_chunk(server, path, body):
    body = {**body, "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    found = [chunk["usage"] for chunk in chunks(server, path, body)]
    counts = [each["completion_tokens"] for each in found]
    assert counts == sorted(counts)
    assert counts[-1] == counts[-2] == 6 * body.get("n", 1)
    assert len(set(counts)) > 2
    assert all(each["total_tokens"] == each["prompt_tokens"] + each["completion_tokens"] for each in found)
    body["stream_options"]["continuous_usage_stats"] = False
    assert [chunk["usage"] for chunk in chunks(server, path, body)][:-1] == [None] * (
        len(found) - 1
    ) or "seed" not in body


def test_continuous_usage_needs_usage(server):
    with pytest.raises(openai.BadRequestError, match="include_usage"):
        server.client.chat.completions.create(
            **CHAT, stream=True, extra_body={"stream_options": {"continuous_usage_stats": True}}
        )


def test_two_equal_limits_are_one(server):
    answer = server.client.chat.completions.create(**CHAT, max_completion_tokens=6)
    assert answer.usage.completion_tokens == 6
    answer = server.client.chat.completions.create(**CHAT, top_logprobs=0)
    assert answer.choices[0].logprobs is None
    with pytest.raises(openai.BadRequestError, match="differ"):
        server.client.chat.completions.create(**CHAT, max_completion_tokens=7)
    assert ask(server, "/v1/completions", {**TEXT, "logprobs": False}).status_code == 200
