"""Wrong prompts, messages and members: one line of the right class; nothing is half done."""

from collections.abc import Callable
from typing import Any

import pytest

from tests import tiny
from tests.facade.one_line import one_line
from tests.hf import cached, hf
from unisono import Ensemble, SamplingParams
from unisono.errors import ConfigurationError, MemberError, RequestError, UnisonoError

PROMPT = "for i in"
SHORT = SamplingParams(max_tokens=2)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return tiny.text_ensemble()


@pytest.mark.parametrize("prompt", ["", [], [""], [[]], [PROMPT, ""]])
def test_an_empty_prompt(ensemble: Ensemble, prompt: Any):
    """At least one token is needed; an empty list of prompts is no prompt at all, and no error."""
    if prompt == []:
        assert ensemble.generate(prompt, SHORT) == []
        return
    assert "empty" in one_line(RequestError, lambda: ensemble.generate(prompt, SHORT))


@pytest.mark.parametrize("token", [-1, tiny.TEXT_VOCABULARY, 10**9])
def test_token_ids_out_of_range(ensemble: Ensemble, token: int):
    """An id that is no token is named, with the largest one."""
    message = one_line(RequestError, lambda: ensemble.generate([[5, token]], SHORT))
    assert str(token) in message
    assert str(tiny.TEXT_VOCABULARY - 1) in message


@pytest.mark.parametrize(
    "prompt", [[1.5], [True], [None], [["a"]], [[5, "a"]], [[1.0, 2.0]], 5, None, b"bytes", {"a": 1}]
)
def test_prompts_of_the_wrong_kind(ensemble: Ensemble, prompt: Any):
    """Neither text nor token ids."""
    one_line(RequestError, lambda: ensemble.generate(prompt, SHORT))


@pytest.mark.parametrize("length", [tiny.CONTEXT, tiny.CONTEXT + 1, 3 * tiny.CONTEXT])
def test_a_prompt_longer_than_the_context(ensemble: Ensemble, length: int):
    """Both numbers are named: those of the prompt and of the context."""
    message = one_line(RequestError, lambda: ensemble.generate([[5] * length], SHORT))
    assert str(length) in message
    assert str(tiny.CONTEXT) in message


def test_too_long_for_one_member_is_told_with_that_members_numbers():
    """With templates, prompts differ in length: the numbers are those of the member that is too short."""
    tokenizer = tiny.tokenizer()
    long, short = tiny.build("llama", vocab_size=300), tiny.build("llama", vocab_size=300, max_position_embeddings=16)
    members = [
        {"model": long, "tokenizer": tokenizer, "prompt": "x" * 50 + "{prompt}"},
        {"model": short, "tokenizer": tokenizer},
    ]
    loaded = Ensemble.load(members)
    assert len(loaded.generate("y" * 10, SamplingParams(temperature=0))[0].token_ids) == 6
    message = one_line(RequestError, lambda: loaded.generate("y" * 20, SHORT))
    assert "20 tokens" in message
    assert "context of 16" in message


def test_text_without_a_tokenizer():
    """Members that speak token ids cannot read text, chat, or look for stop strings."""
    silent = tiny.ensemble(tiny.models("llama"))
    assert "tokenizer" in one_line(RequestError, lambda: silent.generate("text", SHORT))
    assert "tokenizer" in one_line(RequestError, lambda: silent.chat([{"role": "user", "content": "x"}], SHORT))
    params = SamplingParams(max_tokens=2, stop="x")
    assert "stop_token_ids" in one_line(RequestError, lambda: silent.generate([[5]], params))


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ["text"],
        [{"role": "user"}],
        [{"content": "x"}],
        [None],
        [{"role": "user", "content": "x"}, 5],
        "text",
        {"role": "user"},
    ],
)
def test_bad_messages(ensemble: Ensemble, messages: Any):
    """A conversation is a list of at least one message, each with a role and a content."""
    one_line(RequestError, lambda: ensemble.chat(messages, SHORT))


@pytest.mark.parametrize("content", [5, None, ["x"]])
def test_message_contents_that_are_no_text(ensemble: Ensemble, content: Any):
    """A content of another kind is not written into the conversation as Python would print it."""
    one_line(RequestError, lambda: ensemble.chat([{"role": "user", "content": content}], SHORT))


def test_no_chat_template():
    """A tokenizer without a template cannot chat; the message says what to do instead."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    loaded = tiny.ensemble(tiny.text_models(), tokenizer)
    assert "plain prompt" in one_line(RequestError, lambda: loaded.chat([{"role": "user", "content": "x"}], SHORT))


def test_a_chat_template_that_refuses():
    """What a template raises for a role it does not know becomes one line."""
    template = "{% for m in messages %}{{ raise_exception('roles must\nalternate') }}{% endfor %}"
    loaded = tiny.ensemble(tiny.text_models(), tiny.tokenizer(chat_template=template))
    message = one_line(RequestError, lambda: loaded.chat([{"role": "user", "content": "x"}], SHORT))
    assert "roles must" in message


def test_a_stream_is_checked_at_the_call(ensemble: Ensemble):
    """`stream` raises when it is called, not when its first piece is asked for."""
    calls: list[tuple[type[UnisonoError], Callable[[], object]]] = [
        (RequestError, lambda: ensemble.stream("", SHORT)),
        (RequestError, lambda: ensemble.stream([10**9], SHORT)),
        (ConfigurationError, lambda: ensemble.stream(PROMPT, SHORT, schedule="cos:1")),
        (ConfigurationError, lambda: ensemble.stream(PROMPT, SHORT, combine="weighted:1")),
    ]
    for error, call in calls:
        one_line(error, call)


def test_one_bad_prompt_refuses_the_call_before_anything_runs(ensemble: Ensemble):
    """All prompts are checked before the first is decoded, and no slot stays taken."""
    forwards: list[object] = []
    handle = hf(ensemble).model.register_forward_hook(lambda *_: forwards.append(1))
    try:
        one_line(RequestError, lambda: ensemble.generate([PROMPT, ""], SHORT))
    finally:
        handle.remove()
    assert forwards == []
    assert cached(ensemble) == [{}, {}]


@pytest.mark.parametrize("params", [{"max_tokens": 2}, 5, "greedy"])
def test_parameters_of_the_wrong_kind(ensemble: Ensemble, params: Any):
    """A dict is no SamplingParams."""
    with pytest.raises((UnisonoError, TypeError)) as caught:
        ensemble.generate(PROMPT, params)
    assert "SamplingParams" in str(caught.value)


@pytest.mark.parametrize("members", [[], "zoo:code-m", {"model": "zoo:code-m"}])
def test_members_must_be_a_list(members: Any):
    """One bare name is probably a mistake; the message shows how a list is written."""
    assert "list" in one_line(ConfigurationError, lambda: Ensemble.load(members))


@pytest.mark.parametrize("member", [5, None, 2.5, {"modle": "x"}, {"name": "x"}])
def test_members_of_the_wrong_kind(member: Any):
    """Neither a name nor a model nor a mapping of options."""
    with pytest.raises(UnisonoError) as caught:
        Ensemble.load([member])
    assert "\n" not in str(caught.value)


def test_an_unknown_bundled_model_is_told_the_nearest():
    """`zoo:` names are checked against what is bundled."""
    with pytest.raises(UnisonoError, match="code-m") as caught:
        Ensemble.load(["zoo:code-mm"])
    assert isinstance(caught.value, MemberError | ConfigurationError)
    assert "\n" not in str(caught.value)
