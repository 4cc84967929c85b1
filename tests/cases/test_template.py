"""What chat templates want of messages is found out, and no message vanishes without a word."""

import logging
from typing import Any

import httpx
import pytest

from tests import tiny
from tests.cases import templates
from tests.cases.templates import assistant, system, user
from tests.server.live import KEY, live
from unisono import RequestError
from unisono.config import Config
from unisono.members.source import Source
from unisono.server.catalog import Catalog
from unisono.text.template import Template

INSTRUCTION = "Only say BANANA."
DEVELOPER = {"role": "developer", "content": INSTRUCTION}
NO_SYSTEM = "writes no system messages"


def writer(template: Any) -> Template:
    return Template(templates.tokenizer(template))


def plain(template: str, messages: list[dict[str, Any]], **options: Any) -> str:
    """What transformers writes."""
    text: str = templates.tokenizer(template).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **options
    )
    return text


def small(template: Any) -> Any:
    """A tokenizer of as many tokens as the tiny models have."""
    found = tiny.tokenizer()
    found.chat_template = template
    return found


def part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


@pytest.mark.parametrize("name", ["CHATML", "ANY_ROLE", "LLAMA3", "LLAMA2", "FIRST_SYSTEM", "THINKING", "ESCAPES"])
@pytest.mark.parametrize(
    "messages",
    [
        [user("hi")],
        [system(INSTRUCTION), user(" two\nlines "), assistant("<think>a</think>yes"), user("<a href='x'>&")],
        [user("hi"), assistant("never <b>"), user("hi")],
        [system(" "), user("hi")],
        [user("hi"), assistant("left as it is")],
    ],
    ids=["one", "all", "turns", "blank", "assistant last"],
)
def test_a_template_that_knows_the_roles_writes_as_transformers(name: str, messages: list[dict[str, Any]]):
    template = getattr(templates, name)
    assert writer(template).write(messages) == plain(template, messages)


@pytest.mark.parametrize("name", ["CHATML", "LLAMA2", "FIRST_SYSTEM"])
def test_developer_becomes_system_where_it_is_unknown(name: str):
    template = getattr(templates, name)
    assert writer(template).write([DEVELOPER, user("hi")]) == plain(template, [system(INSTRUCTION), user("hi")])


def test_developer_stays_where_it_is_written():
    text = writer(templates.ANY_ROLE).write([DEVELOPER, user("hi")])
    assert text == plain(templates.ANY_ROLE, [DEVELOPER, user("hi")])


@pytest.mark.parametrize("name", ["STRICT", "DROPS_SYSTEM"])
@pytest.mark.parametrize("first", [system(INSTRUCTION), DEVELOPER], ids=["system", "developer"])
def test_system_goes_to_the_user_where_it_is_not_written(name: str, first: dict[str, str]):
    template = getattr(templates, name)
    with pytest.warns(UserWarning, match=NO_SYSTEM):
        text = writer(template).write([first, user("hi"), assistant("yes"), user("so")])
    assert text == plain(template, [user(INSTRUCTION + "\n\nhi"), assistant("yes"), user("so")])


@pytest.mark.parametrize("blank", ["", " \n", part("")], ids=["empty", "blank", "part"])
def test_a_blank_system_message_changes_no_users_turn(blank: Any):
    with pytest.warns(UserWarning, match=NO_SYSTEM):
        text = writer(templates.DROPS_SYSTEM).write([system(blank), user("hi")])
    assert text == plain(templates.DROPS_SYSTEM, [user("hi")])


def test_system_alone_and_late_becomes_a_users_turn():
    for messages in ([system("a")], [user("x"), assistant("y"), system("a")]):
        with pytest.warns(UserWarning, match=NO_SYSTEM):
            text = writer(templates.STRICT).write(messages)
        assert text == plain(templates.STRICT, [*messages[:-1], user("a")])


@pytest.mark.parametrize("name", ["PARTS", "MIXED"])
@pytest.mark.parametrize("shape", [str, part], ids=["text", "parts"])
def test_contents_are_given_as_the_template_reads_them(name: str, shape: Any):
    template = getattr(templates, name)
    wanted = [system(INSTRUCTION if name == "MIXED" else part(INSTRUCTION)), user(part("hi")), assistant(part("yes"))]
    given = [system(shape(INSTRUCTION)), user(shape("hi")), assistant(shape("yes"))]
    text = writer(template).write(given)
    assert text == plain(template, wanted)
    assert all(content in text for content in (INSTRUCTION, "hi", "yes"))


def test_parts_are_joined_for_a_template_of_texts():
    messages = [user([*part("what "), *part("is f")])]
    assert writer(templates.CHATML).write(messages) == plain(templates.CHATML, [user("what is f")])


@pytest.mark.parametrize(
    ("name", "messages", "role"),
    [
        ("CHATML", [user("hi"), {"role": "tool", "content": "hi"}, user("so")], "tool"),
        ("CHATML", [user("hi"), {"role": "critic", "content": "no"}], "critic"),
        ("FIRST_SYSTEM", [system("a"), user("hi"), system("h"), user("so")], "system"),
    ],
)
def test_a_message_that_would_vanish_is_an_error(name: str, messages: list[dict[str, Any]], role: str):
    with pytest.raises(RequestError, match=f"leaves message . out, of role '{role}'"):
        writer(getattr(templates, name)).write(messages)


def test_a_template_without_contents_is_an_error():
    with pytest.raises(RequestError, match="leaves message 1 out, of role 'user'"):
        writer("always this").write([user("hi")])


FAILING = {
    "type": ("{{ messages[0].content + 1 }}", "TypeError: can only concatenate"),
    "several": ({"tool_use": "T", "rag": "R"}, "several chat templates and no default; .* rag, tool_use"),
    "undefined": ("{{ messages[0].nothing.more }}", "refuses these messages: .*nothing"),
    "syntax": ("{% for %}", "refuses these messages"),
    "raises": ("{{ raise_exception('not\nso') }}", "refuses these messages: not so"),
    "division": ("{{ 1 / 0 }}{{ messages[0].content }}", "ZeroDivisionError"),
}


@pytest.mark.parametrize(("template", "message"), FAILING.values(), ids=list(FAILING))
def test_every_failure_is_one_line(template: Any, message: str):
    ensemble = tiny.ensemble(tiny.text_models(), small(template))
    with pytest.raises(RequestError, match=message) as error:
        ensemble.encode_chat([user("hi")])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [None, 3, [], ["text"], [{"type": "image", "url": "x"}], [{"type": "text"}]], ids=repr
)
def test_contents_of_other_kinds_are_errors(content: Any):
    with pytest.raises(RequestError, match="not:"):
        writer(templates.CHATML).write([user(content)])


def test_one_probe_per_template():
    """The second conversation is rendered once."""
    tokens, count = templates.tokenizer(templates.CHATML), [0]
    own = tokens.apply_chat_template

    def counted(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        return own(*arguments, **options)

    tokens.apply_chat_template = counted
    template = Template(tokens)
    template.write([system("a"), user("hi")])
    count[0] = 0
    template.write([system("b"), user("so"), assistant("c")])
    assert count == [2]  # an assistant's turn is probed
    template.write([system("b"), user("so"), assistant("c")])
    assert count == [2 + 1]


def test_the_server_tells_the_same(caplog: pytest.LogCaptureFixture):
    model = tiny.text_models()[0]
    kinds = {
        "strict": templates.STRICT,
        "parts": templates.PARTS,
        "type": FAILING["type"][0],
        "several": {"a": "A", "b": "B"},
    }
    catalog = Catalog({name: Config((Source(model=model, tokenizer=small(kind)),)) for name, kind in kinds.items()})
    with (
        live(catalog) as server,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):

        def ask(name: str, messages: list[dict[str, Any]]) -> tuple[int, int, str]:
            body = {"model": name, "messages": messages}
            chat = client.post("/v1/chat/completions", json={**body, "max_tokens": 1})
            tokens = client.post("/tokenize", json={**body, "return_token_strs": True})
            return chat.status_code, tokens.status_code, chat.text + "".join(tokens.json().get("token_strs", []))

        for role in ("system", "developer"):
            with caplog.at_level(logging.WARNING, "unisono.server"):
                *status, said = ask("strict", [{"role": role, "content": INSTRUCTION}, user("hi")])
            assert (status, "BANANA" in said, NO_SYSTEM in caplog.text) == ([200, 200], True, True)
        for content in ("What is BANANA?", part("What is BANANA?")):
            *status, said = ask("parts", [user(content)])
            assert (status, "BANANA" in said) == ([200, 200], True)
        for name, message in (("type", "TypeError"), ("several", "no default")):
            *status, said = ask(name, [user("hi")])
            assert (status, message in said) == ([400, 400], True)


@pytest.mark.parametrize("first", [system("Be brief"), DEVELOPER], ids=["system", "developer"])
def test_the_harness_leaves_system_messages_out_as_hf_does(first: dict[str, str]):
    harness = pytest.importorskip("unisono.evals.harness")
    tokens = templates.tokenizer(templates.STRICT)
    model = harness.UnisonoLM(tiny.ensemble(tiny.text_models(), tokens))
    with pytest.warns(UserWarning, match="left out"):
        assert model.apply_chat_template([first, user("hi")]) == plain(templates.STRICT, [user("hi")])
    tokens.chat_template = FAILING["type"][0]
    with pytest.raises(RequestError, match="TypeError"):
        model.apply_chat_template([user("hi")])


def test_the_harness_leaves_a_system_message_out_where_this_conversation_does():
    """The template writes such messages, but none before a beginning of the answer (`gen_prefix` of a task)."""
    harness = pytest.importorskip("unisono.evals.harness")
    model = harness.UnisonoLM(tiny.ensemble(tiny.text_models(), small(templates.LAST_SYSTEM)))
    begun = [system("Be brief"), user("hi"), assistant("It is")]
    with pytest.warns(UserWarning, match="left out"):
        text = model.apply_chat_template(begun, add_generation_prompt=False)
    assert text == "[INST] hi[/INST] It is"
    with pytest.raises(RequestError, match="leaves message 1 out, of role 'system'"):
        model.ensemble.encode_chat(begun, continue_final_message=True)
