"""How a conversation is written can be chosen: the template, its variables, and whether the last message goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import tiny
from tests.cases import templates
from tests.cases.templates import assistant, user
from tests.server.live import KEY, Live, live
from unisono import Chat, Ensemble, RequestError, SamplingParams
from unisono.cli import generate
from unisono.cli.options.generate import GenerateOptions
from unisono.cli.options.sampling import SamplingOptions
from unisono.cli.options.template import TemplateOptions
from unisono.config import Config
from unisono.errors import ConfigurationError
from unisono.members.source import Source
from unisono.server.catalog import Catalog

MESSAGES = [user("what is f")]
PREFILLED = [user("what is f"), assistant(" f is a ")]
SHORT = SamplingParams(max_tokens=4, seed=1)
NAMED = {"default": templates.THINKING, "tool_use": templates.ANY_ROLE}
TEXT = "{% for m in messages %}{{ greeting }} {{ m.content }}{% endfor %}"


def tokenizer() -> Any:
    found = tiny.tokenizer()
    found.chat_template = NAMED
    return found


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.ensemble(tiny.text_models(), tokenizer())


OPTIONS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "by name": (MESSAGES, {"chat_template": "tool_use"}),
    "by its text": (MESSAGES, {"chat_template": TEXT, "chat_template_kwargs": {"greeting": "hello"}}),
    "variables": (MESSAGES, {"chat_template_kwargs": {"enable_thinking": False}}),
    "no opening": (MESSAGES, {"add_generation_prompt": False}),
    "prefill": (PREFILLED, {"continue_final_message": True, "chat_template": "tool_use"}),
    "question goes on": (MESSAGES, {"continue_final_message": True}),
}


@pytest.mark.parametrize(("messages", "options"), OPTIONS.values(), ids=list(OPTIONS))
def test_options_are_those_of_transformers(ensemble: Ensemble, messages: list[dict[str, Any]], options: dict[str, Any]):
    given = {"add_generation_prompt": not options.get("continue_final_message"), **options}
    variables = given.pop("chat_template_kwargs", {})
    wanted = ensemble.tokenizer.apply_chat_template(messages, tokenize=False, **given, **variables)
    ids = ensemble.tokenizer.encode(wanted, add_special_tokens=False)
    assert ensemble.encode_chat(messages, **options) == ids != ensemble.encode_chat(messages)
    assert ensemble.chat(messages, SHORT, **options).token_ids == ensemble.generate(ids, SHORT)[0].token_ids
    assert ensemble.generate(Chat(messages, **options), SHORT)[0].text == ensemble.generate(ids, SHORT)[0].text


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "both": ({"continue_final_message": True, "add_generation_prompt": True}, "exclude each other"),
    "name": ({"chat_template": "rag"}, "none named 'rag'; the tokenizer has: default, tool_use"),
    "variable": ({"chat_template_kwargs": {"tokenize": True}}, "tokenize is no variable of a template"),
    "messages": ({"chat_template_kwargs": {"messages": []}}, "messages is no variable of a template"),
    "kind": ({"chat_template_kwargs": [1]}, "mapping of names"),
    "template's kind": ({"chat_template": 3}, "must be a text"),
    "nothing to go on": ({"chat_template": "{{ 1 }}", "continue_final_message": True}, "continue_final_message"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=list(WRONG))
def test_contradictions_are_one_line(ensemble: Ensemble, options: dict[str, Any], message: str):
    with pytest.raises(RequestError, match=message) as error:
        ensemble.chat(MESSAGES, SHORT, **options)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module", params=[False, True], ids=["careful", "trusting"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Live, bool]]:
    catalog = Catalog({"one": Config((Source(model=tiny.text_models()[0], tokenizer=tokenizer()),))})
    with live(catalog, trust_templates=request.param) as running:
        yield running, request.param


def post(server: Live, path: str, **fields: Any) -> Any:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(server.url + path, json={"model": "one", **fields}, headers=headers, timeout=60)


def test_the_server_has_the_fields(server: tuple[Live, bool], ensemble: Ensemble):
    running, trusting = server
    for messages, options in OPTIONS.values():
        answer = post(running, "/v1/chat/completions", messages=messages, max_tokens=2, **options)
        tokens = post(running, "/tokenize", messages=messages, **options)
        if options.get("chat_template") == TEXT and not trusting:
            assert (answer.status_code, tokens.status_code) == (400, 400)
            assert answer.json()["error"]["param"] == "chat_template"
            continue
        ids = ensemble.encode_chat(messages, **options)
        assert tokens.json()["tokens"] == ids
        assert answer.json()["usage"]["prompt_tokens"] == len(ids)


def test_the_server_refuses_contradictions(server: tuple[Live, bool]):
    wrong = {"both": "continue_final_message", "name": "chat_template", "variable": "chat_template_kwargs"}
    for case, field in wrong.items():
        for path in ("/v1/chat/completions", "/tokenize"):
            answer = post(server[0], path, messages=MESSAGES, **WRONG[case][0])
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def asked(**options: Any) -> GenerateOptions:
    template = TemplateOptions(options.pop("chat_template", None), options.pop("chat_template_kwargs", None))
    sampling = SamplingOptions(max_tokens=4, seed=1)
    return GenerateOptions(
        options.pop("prompt", "what is f"), template=template, sampling=sampling, as_json=True, **options
    )


def test_the_command_has_the_options(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    file = tmp_path / "own.jinja"
    file.write_text(TEXT)
    monkeypatch.setattr(generate, "load_ensemble", lambda *_: ensemble)
    for given, fields in (
        ({"chat_template": "tool_use"}, {"chat_template": "tool_use"}),
        ({"chat_template": str(file)}, {"chat_template": TEXT}),
        ({"chat_template_kwargs": '{"enable_thinking": false}'}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"continue_final_message": True}, {"continue_final_message": True}),
        ({"add_generation_prompt": False}, {"add_generation_prompt": False}),
    ):
        generate.run(asked(chat=True, **given))
        found = json.loads(capsys.readouterr().out)
        assert found["token_ids"] == list(ensemble.chat(MESSAGES, SHORT, **fields).token_ids)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chat_template": "tool_use", "chat": False}, "--chat-template needs --chat"),
        ({"add_generation_prompt": False, "chat": False}, "--add-generation-prompt needs --chat"),
        ({"chat_template": "rag"}, "none named 'rag'"),
        ({"chat_template": "./rag.jinja"}, "cannot be read"),
        ({"chat_template_kwargs": "{enable"}, "no JSON"),
        ({"chat_template_kwargs": "[1]"}, "must be an object"),
    ],
)
def test_the_command_refuses(ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], message: str):
    monkeypatch.setattr(generate, "load_ensemble", lambda *_: ensemble)
    with pytest.raises((RequestError, ConfigurationError), match=message):
        generate.run(asked(**{"chat": True, **given}))
