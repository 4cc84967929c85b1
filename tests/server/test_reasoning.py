"""Blocks of thoughts get a field of their own, in one piece and streamed, if the operator wants it."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests import tiny
from tests.server.live import MESSAGES, Live, live
from unisono import SamplingParams
from unisono.config import Config
from unisono.errors import ConfigurationError
from unisono.members.source import Source
from unisono.server import reasoning
from unisono.server.catalog import Catalog
from unisono.server.reasoning import Thoughts, silent_tags
from unisono.server.settings import Settings

OPENS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}"
GREEDY: dict[str, Any] = {"max_tokens": 24, "temperature": 0}


TEXTS: dict[str, tuple[str, bool, str, str]] = {
    "none": ("plain < text", False, "", "plain < text"),
    "one": ("<think>\nwhy\n</think>\n\nyes", False, "\nwhy\n", "\n\nyes"),
    "two": ("a<think>b</think>c<think>d</think>e", False, "bd", "ace"),
    "unclosed": ("a<think>b</thin", False, "b</thin", "a"),
    "inside": ("why</think>yes", True, "why", "yes"),
    "inside, unclosed": ("why", True, "why", ""),
    "not a tag": ("<thinking></think>", False, "", "<thinking></think>"),
    "nearly": ("<<think>x<</think><th", False, "x<", "<<th"),
    "empty": ("<think></think>", False, "", ""),
}


def apart(pieces: list[str], inside: bool) -> tuple[str, str]:
    thoughts = Thoughts(inside)
    found = [*(thoughts.push(piece) for piece in pieces), thoughts.push("", last=True)]
    return "".join(thought for thought, _ in found), "".join(said for _, said in found)


@pytest.mark.parametrize(("text", "inside", "thought", "said"), TEXTS.values(), ids=list(TEXTS))
def test_blocks_are_found_whatever_the_pieces(text: str, inside: bool, thought: str, said: str):
    for size in range(1, len(text) + 1):
        for first in range(size):
            borders = [0, *range(first, len(text), size), len(text)]
            pieces = [text[begin:end] for begin, end in pairwise(borders)]
            assert apart(pieces, inside) == (thought, said)


def test_nothing_is_held_back_that_cannot_become_a_tag():
    assert Thoughts(False).push("so <thank") == ("", "so <thank")
    assert Thoughts(False).push("so <thi") == ("", "so ")


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    model, opening = tiny.text_models()[0], tiny.tokenizer(chat_template=OPENS)
    plain = tiny.tokenizer()
    catalog = Catalog(
        {
            "plain": Config((Source(model=model, tokenizer=plain),)),
            "opening": Config((Source(model=model, tokenizer=opening),)),
        }
    )
    with live(catalog, reasoning_parser="think") as running:
        yield running


def said(server: Live, model: str) -> str:
    """The text that the model answers with."""
    return server.ensemble(model).chat(MESSAGES, SamplingParams(**GREEDY)).text


def whole(server: Live, **options: Any) -> tuple[str | None, str | None]:
    """Reasoning and content."""
    message = server.client.chat.completions.create(**{"messages": MESSAGES, **GREEDY, **options}).choices[0].message
    return (message.model_extra or {}).get("reasoning_content"), message.content


def streamed(server: Live, **options: Any) -> tuple[str | None, str | None]:
    thought, content = "", ""
    for chunk in server.client.chat.completions.create(**{"messages": MESSAGES, **GREEDY, **options}, stream=True):
        delta = chunk.choices[0].delta
        thought += (delta.model_extra or {}).get("reasoning_content") or ""
        content += delta.content or ""
    return thought or None, content


@pytest.mark.parametrize("answer", [whole, streamed])
def test_an_answer_comes_apart(server: Live, answer: Any, monkeypatch: pytest.MonkeyPatch):
    """The tags are pieces of what the model says, so they lie across tokens and chunks."""
    text = said(server, "plain")
    begin, end = text[3:7], text[10:13]
    assert (text.index(begin), text.index(end)) == (3, 10)
    monkeypatch.setattr(reasoning, "TAGS", (begin, end))
    thought, content = answer(server, model="plain")
    assert (thought, content) == (
        text[7:10],
        text[:3] + re.sub(re.escape(begin) + ".*", "", text[13:], flags=re.DOTALL),
    )
    monkeypatch.setattr(reasoning, "TAGS", (begin, "never there"))
    assert answer(server, model="plain") == (text[7:], text[:3])


@pytest.mark.parametrize("answer", [whole, streamed])
def test_a_template_may_have_opened_the_block(server: Live, answer: Any, monkeypatch: pytest.MonkeyPatch):
    text = said(server, "opening")
    assert answer(server, model="opening") == (text, "")
    monkeypatch.setattr(reasoning, "TAGS", ("<think>", text[10:13]))
    assert answer(server, model="opening") == (text[:10], text[13:])


@pytest.mark.parametrize("prefill", ["<think>so", "<think>so</think>", "so"])
def test_a_message_that_goes_on_may_have_opened_it(server: Live, prefill: str):
    messages = [*MESSAGES, {"role": "assistant", "content": prefill}]
    thought, content = whole(server, model="opening", messages=messages, extra_body={"continue_final_message": True})
    assert bool(thought) == (prefill == "<think>so")
    assert bool(content) == (prefill != "<think>so")


def test_tags_that_are_special_tokens_are_seen():
    tokens = tiny.tokenizer()
    tokens.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    assert set(silent_tags(tokens).values()) == {"<think>", "</think>"}
    assert silent_tags(tiny.tokenizer()) == {}


@pytest.mark.parametrize("stops", [None, [" never there"]])
@pytest.mark.parametrize("answer", [whole, streamed])
def test_special_tokens_may_be_the_tags(
    server: Live, answer: Any, stops: list[str] | None, monkeypatch: pytest.MonkeyPatch
):
    """They have no text; each stands where it was generated, whatever is held back in front of it."""
    monkeypatch.setattr("unisono.server.openai.shapes.silent_tags", lambda _: {0: "<think>", 1: "</think>"})
    tokens = server.ensemble("plain").tokenizer
    bias = {index: -100.0 for token, index in tokens.get_vocab().items() if not token.isascii()} | {0: 6.0, 1: 6.0}
    params = SamplingParams(max_tokens=60, seed=6, logit_bias=bias, ignore_eos=True, skip_special_tokens=False)
    text = server.ensemble("plain").chat(MESSAGES, params).text
    assert 0 < text.index("<s>") < text.rindex("</s>") < len(text) - 4
    if stops:  # one that may begin with the letter in front of a tag
        stops = [text[text.rindex("</s>") - 1] + stops[0]]
    options = {"max_tokens": 60, "temperature": 1, "seed": 6, "logit_bias": bias, "stop": stops}
    tagged = text.replace(tokens.bos_token, "<think>").replace(tokens.eos_token, "</think>")
    expected = apart([tagged], inside=False)
    assert answer(server, model="plain", extra_body={"ignore_eos": True}, **options) == expected


def test_a_message_with_thoughts_can_come_back(server: Live):
    answer = (
        server.client.chat.completions.create(**{"model": "opening", "messages": MESSAGES, **GREEDY}).choices[0].message
    )
    told = {"role": "assistant", "content": "x", "reasoning_content": (answer.model_extra or {})["reasoning_content"]}
    assert whole(server, model="opening", messages=[*MESSAGES, told, *MESSAGES])[1] is not None


def test_completions_are_left_alone(server: Live):
    answer = server.client.completions.create(model="opening", prompt="x <think>", **GREEDY)
    assert answer.choices[0].text == server.ensemble("opening").generate("x <think>", SamplingParams(**GREEDY))[0].text


def test_without_the_option_the_block_is_part_of_the_content():
    source = Source(model=tiny.text_models()[0], tokenizer=tiny.tokenizer(chat_template=OPENS))
    with live(Catalog({"opening": Config((source,))})) as running:
        assert whole(running, model="opening") == (None, said(running, "opening"))


def test_an_unknown_parser_is_named():
    with pytest.raises(ConfigurationError, match="unknown reasoning parser: 'thnk'; did you mean 'think'"):
        Settings(reasoning_parser="thnk")
