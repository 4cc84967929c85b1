"""Ends of texts: generation configs', the tokenizers' own and, in a chat, the template's; in every entry point."""

import copy
import io
import json
from typing import Any

import httpx
import pytest
from rich.console import Console

from tests import tiny
from tests.cases import templates
from tests.cases.templates import user
from tests.server.live import KEY, live
from unisono import Chat, Ensemble, SamplingParams
from unisono.cli import chat as talk
from unisono.cli import generate
from unisono.cli.options.generate import GenerateOptions
from unisono.cli.options.sampling import SamplingOptions
from unisono.config import Config
from unisono.members.source import Source
from unisono.server.catalog import Catalog
from unisono.text.template import Template

MESSAGES = [user("what is f")]
PROMPT = "def f(x):"
GREEDY = SamplingParams(max_tokens=16, temperature=0)
NOTHING = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("CHATML", "<|im_end|>"),
        ("ANY_ROLE", "<|im_end|>"),
        ("LLAMA3", "<|eot|>"),
        ("LLAMA2", "</s>"),
        ("STRICT", "<|eot|>"),
        ("DROPS_SYSTEM", "</s>"),
        ("PARTS", "<|im_end|>"),
        ("MIXED", "<|im_end|>"),
        ("THINKING", "<|im_end|>"),
    ],
)
def test_the_token_behind_an_assistants_turn(name: str, end: str):
    tokens = templates.tokenizer(getattr(templates, name))
    assert Template(tokens).ends() == {tokens.convert_tokens_to_ids(end)}


@pytest.mark.parametrize(
    "template", [NOTHING, NOTHING + "\nuser:", NOTHING + "<s>", "{{ messages[5].content }}"], ids=repr
)
def test_a_template_may_write_no_special_token_there(template: str):
    assert Template(templates.tokenizer(template)).ends() == frozenset()


def ordinary(ensemble: Ensemble, prompt: Any) -> int:
    """A token that greedy decoding reaches within a few steps, and not at once."""
    ids = ensemble.generate(prompt, GREEDY)[0].token_ids
    return next(token for place, token in enumerate(ids) if place >= 2 and token not in ids[:place])


def special(template: str, token: int) -> Any:
    """The tiny tokenizer, in which an ordinary token is a special one that ends a turn."""
    found = tiny.tokenizer(chat_template=template)
    text = found.convert_ids_to_tokens(token)
    found.add_special_tokens({"additional_special_tokens": [text]})
    assert found.convert_tokens_to_ids(text) == token
    found.chat_template = template.replace("END", text)
    return found


TURNS = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}END{% endif %}\n{% endfor %}"


@pytest.fixture(scope="module")
def turned() -> tuple[Any, int, int]:
    """A tokenizer whose template ends turns with a token that the pair draws, this token, and after how many it comes."""
    plain = tiny.ensemble(tiny.text_models(), tiny.tokenizer(chat_template=TURNS))
    prompt = plain.encode_chat(MESSAGES)
    end = ordinary(plain, prompt)
    tokens = special(TURNS, end)
    ensemble = tiny.ensemble(tiny.text_models(), tokens)
    return tokens, end, ensemble.generate(prompt, GREEDY)[0].token_ids.index(end) + 1


def test_the_library_ends_a_chat_where_the_template_does(turned: tuple[Any, int, int]):
    tokens, end, count = turned
    ensemble = tiny.ensemble(tiny.text_models(), tokens)
    both: list[str | Chat] = [PROMPT, Chat(MESSAGES)]
    results = [
        ensemble.chat(MESSAGES, GREEDY),
        ensemble.generate(Chat(MESSAGES), GREEDY)[0],
        ensemble.generate(both, GREEDY)[1],
        list(ensemble.stream(Chat(MESSAGES), GREEDY))[-1].result,
    ]
    (request,) = ensemble.start(Chat(MESSAGES), GREEDY)
    for result in [*results, request.run(ensemble.engine)]:
        assert result is not None
        assert (result.token_ids[-1], len(result.token_ids), result.finish_reason) == (end, count, "stop")
    ids = ensemble.encode_chat(MESSAGES)
    assert len(ensemble.generate(ids, GREEDY)[0].token_ids) == 16  # a prompt like any other
    assert len(ensemble.chat(MESSAGES, SamplingParams(max_tokens=16, temperature=0, ignore_eos=True)).token_ids) == 16


def test_the_server_and_the_commands_end_a_chat_there(turned: tuple[Any, int, int]):
    tokens, *_ = turned
    model = tiny.text_models()[0]
    ensemble = tiny.ensemble([model], tokens)
    text = ensemble.chat(MESSAGES, GREEDY).text
    reached = len(ensemble.chat(MESSAGES, GREEDY).token_ids)
    assert reached < 16
    with live(Catalog({"one": Config((Source(model=model, tokenizer=tokens),))})) as server:
        body = {"model": "one", "messages": MESSAGES, "max_tokens": 16, "temperature": 0}
        headers = {"Authorization": f"Bearer {KEY}"}
        found = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60).json()
    (choice,) = found["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")
    assert found["usage"]["completion_tokens"] == reached
    console = Console(file=io.StringIO(), soft_wrap=True)
    conversation = talk.Conversation(ensemble, GREEDY, console)
    conversation.take(MESSAGES[0]["content"])
    assert conversation.messages[-1]["content"] == text


def test_the_harness_ends_a_chat_there(turned: tuple[Any, int, int]):
    harness = pytest.importorskip("unisono.evals.harness")
    instance = pytest.importorskip("lm_eval.api.instance").Instance
    ensemble = tiny.ensemble(tiny.text_models(), turned[0])
    model = harness.UnisonoLM(ensemble)
    text = model.apply_chat_template(MESSAGES)
    keywords = {"until": ["never there"], "max_gen_toks": 16}
    asked = [instance("generate_until", {}, (context, keywords), 0) for context in (text, text + " ")]
    chat, plain = model.generate_until(asked, disable_tqdm=True)
    assert chat == ensemble.chat(MESSAGES, GREEDY).text
    assert model.tokens == turned[2] + 16
    assert plain != chat


def test_the_harness_knows_a_chat_that_an_earlier_run_wrote(
    turned: tuple[Any, int, int], monkeypatch: pytest.MonkeyPatch
):
    """With `--cache_requests` it reads contexts from a file, and has no template written."""
    harness = pytest.importorskip("unisono.evals.harness")
    instance = pytest.importorskip("lm_eval.api.instance").Instance
    tokens, end, _ = turned
    ensemble, found = tiny.ensemble(tiny.text_models(), tokens), list[Any]()

    def record(prompts: list[Any], params: list[SamplingParams], **_: Any) -> list[Any]:
        found.extend(params)
        return []

    monkeypatch.setattr(ensemble, "generate", record)
    keywords = {"until": ["never there"], "max_gen_toks": 16}
    contexts = [f"user: a\nassistant: b{tokens.convert_ids_to_tokens(end)}\nuser: c\n", "user: a\nassistant:"]
    asked = [instance("generate_until", {}, (context, keywords), 0) for context in contexts]
    harness.UnisonoLM(ensemble).generate_until(asked, disable_tqdm=True)
    assert [params.stop_token_ids for params in found] == [(end,), ()]


def finished(ensemble: Ensemble, prompt: str) -> int:
    return len(ensemble.generate(prompt, GREEDY)[0].token_ids)


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_each_members_tokenizer_knows_an_end(which: int):
    """The generation configs have none; and an end that only some member's tokenizer names ends the text."""
    models, tokens = tiny.text_models(), tiny.tokenizer()
    token = ordinary(tiny.ensemble(models, tokens), PROMPT)
    other = copy.deepcopy(tokens)
    other.eos_token = other.convert_ids_to_tokens(token)
    pair = [tokens, tokens]
    pair[which] = other
    ensemble = Ensemble.load([{"model": m, "tokenizer": t} for m, t in zip(models, pair, strict=True)])
    assert token in ensemble.lineup.end_ids
    assert finished(ensemble, PROMPT) < 16
    assert finished(tiny.ensemble(models, tokens), PROMPT) == 16


def test_a_drafters_tokenizer_ends_nothing():
    models, tokens = tiny.text_models(), tiny.tokenizer()
    other = copy.deepcopy(tokens)
    other.eos_token = other.convert_ids_to_tokens(ordinary(tiny.ensemble(models[:1], tokens), PROMPT))
    ensemble = Ensemble.load(
        [{"model": models[0], "tokenizer": tokens}], draft={"model": models[1], "tokenizer": other}
    )
    assert finished(ensemble, PROMPT) == 16


@pytest.mark.parametrize("name", ["unknown", "beyond"])
def test_an_end_that_the_members_do_not_share(name: str):
    """An end without an id of its own, which transformers gives that of the unknown token, and one beyond the logits."""
    tokens, models = tiny.tokenizer(), tiny.text_models()
    if name == "unknown":
        tokens.unk_token = tokens.convert_ids_to_tokens(ordinary(tiny.ensemble(models, tokens), PROMPT))
        tokens._special_tokens_map["eos_token"] = "<|not there|>"
        assert tokens.eos_token_id == tokens.unk_token_id
    else:
        tokens.add_special_tokens({"eos_token": "<|beyond|>"})
        assert tokens.eos_token_id >= tiny.TEXT_VOCABULARY
        tokens.chat_template = TURNS.replace("END", "<|beyond|>")
    ensemble = tiny.ensemble(models, tokens)
    assert finished(ensemble, PROMPT) == 16
    params = SamplingParams(max_tokens=16, min_tokens=4, temperature=0)
    assert len(ensemble.chat(MESSAGES, params).token_ids) == 16


def test_generate_with_chat_prints_the_turn(turned: tuple[Any, int, int], monkeypatch: pytest.MonkeyPatch, capsys: Any):
    ensemble = tiny.ensemble(tiny.text_models(), turned[0])
    monkeypatch.setattr(generate, "load_ensemble", lambda *_: ensemble)
    sampling = SamplingOptions(max_tokens=16, temperature=0.0)
    generate.run(GenerateOptions(MESSAGES[0]["content"], chat=True, sampling=sampling, as_json=True))
    found = json.loads(capsys.readouterr().out)
    assert (found["finish_reason"], len(found["token_ids"])) == ("stop", turned[2])
