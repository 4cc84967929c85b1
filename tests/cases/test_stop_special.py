"""Stop strings that spell special tokens, which have no text: everywhere a text can end."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.cases import tokenizers
from tests.server.live import live
from unisono import Ensemble, SamplingParams
from unisono.config import Config
from unisono.members.source import Source
from unisono.server.catalog import Catalog
from unisono.text.transcript import Transcript
from unisono.types import Commit

TOKENIZER = tokenizers.byte_level()
END, START, EOS = (TOKENIZER.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<s>", "</s>"))
WORDS = ("foo", "\nbar", "baz")


def ids(*parts: str) -> list[int]:
    """Token ids of texts and names of special tokens."""
    return [token for part in parts for token in TOKENIZER.encode(part, add_special_tokens=False)]


def run(tokens: Sequence[int], ends: Sequence[int] = (), **params: Any) -> Transcript:
    """What becomes of these tokens."""
    params = {"max_tokens": max(1, len(tokens)), **params}
    transcript = Transcript(TOKENIZER, [], SamplingParams(**params), frozenset(ends), len(tokens))
    pieces = []
    for token in tokens:
        pieces.append(transcript.push(Commit(token, "drawn")).text)
        if transcript.finish_reason:
            break
    pieces.append(transcript.close())
    assert "".join(pieces) == transcript.text
    return transcript


CASES = [  # stop string, tokens up to the stop, text, text where the stop string is included
    ("<|im_end|>", ids("foo", "<|im_end|>"), "foo", "foo"),
    ("<|im_end|></s>", ids("foo", "<|im_end|>", "baz", "<|im_end|>", "</s>"), "foobaz", "foobaz"),
    ("<|im_end|>\n", ids("foo", "<|im_end|>", "<|im_end|>", "\n"), "foo", "foo\n"),
    ("foo<|im_end|>\nbar", ids("baz", "foo", "<|im_end|>", "\nbar"), "baz", "bazfoo\nbar"),
    ("<s>foo</s>", ids("foo", "<s>", "foo", "</s>"), "foo", "foofoo"),
]


@pytest.mark.parametrize(("stop", "tokens", "text", "included"), CASES, ids=[stop for stop, *_ in CASES])
def test_the_text_stops_there(stop: str, tokens: list[int], text: str, included: str):
    """Alone, several, across borders; the special tokens leave no text, and what follows is dropped."""
    for include, expected in ((False, text), (True, included)):
        found = run([*tokens, *ids("baz", "<|im_end|>")], stop=stop, include_stop=include)
        assert (found.token_ids, found.finish_reason, found.text) == (tuple(tokens), "stop", expected)


def test_an_end_may_be_the_last_token_of_a_stop_string():
    """The token ends the text anyway; the stop string says how much of it stays."""
    for stop, text in (("foo</s>", "baz"), ("bar</s>", "bazfoo"), ("foo", "baz")):
        assert run(ids("baz", "foo", "</s>"), ends=[EOS], stop=stop).text == text


def test_a_character_that_is_not_finished_in_front_of_it_is_text():
    """As in front of any other end."""
    part = ids("🙂")[0]
    assert run([*ids("foo"), part, END, *ids("baz")], stop="<|im_end|>").text == "foo\ufffd"
    assert run([*ids("foo"), part, END], ends=[END]).text == "foo\ufffd"


def test_what_does_not_become_a_stop_string_is_text():
    found = run(ids("foo", "<|im_end|>", "\nbaz"), stop=["foo<|im_end|>\nbar", "foo<s>"])
    assert (found.text, found.finish_reason) == ("foo\nbaz", "length")


def test_other_stop_strings_see_no_special_tokens():
    """They match as before across a special token, and never its name's letters."""
    assert run(ids("foo", "<|im_end|>", "baz"), stop="ooba").text == "f"
    assert run(ids("foo", "<|im_end|>", "baz"), stop=["<|", "|>", "end", ">"]).text == "foobaz"
    assert run(ids("foo", "<|im_end|>", "baz"), stop=["ooba", "<|im_end|>"]).text == "foo"


def test_min_tokens_holds_for_them():
    assert run(ids("<|im_end|>", "foo", "<|im_end|>"), stop="<|im_end|>", min_tokens=2).text == "foo"


@settings(max_examples=200)
@given(
    parts=st.lists(st.sampled_from(["f", "o", "\n", "<|im_end|>", "</s>"]), max_size=12),
    stops=st.lists(st.sampled_from(["<|im_end|>", "o<|im_end|>f", "</s></s>", "fo", "\n</s>", "ofo"]), max_size=3),
    include=st.booleans(),
)
def test_as_token_by_token_search(parts: list[str], stops: list[str], include: bool):
    """Against a search of the whole text so far after every token."""
    names = {"<|im_end|>", "</s>"}
    written, shown = "", ""  # the text with special tokens written out, and for each character whether it is text
    expected, count = "".join(part for part in parts if part not in names), len(parts)
    for index, part in enumerate(parts):
        written += part
        shown += ("0" if part in names else "1") * len(part)
        spots = []
        for stop in stops:
            spelt = any(name in stop for name in names)
            places = [place for place in range(len(written)) if spelt or shown[place] == "1"]
            at = "".join(written[place] for place in places).find(stop)
            if at >= 0:
                spots.append((places[at], places[at + len(stop) - 1] + 1))
        if spots:
            end = min(spots)[1 if include else 0]
            expected = "".join(letter for letter, mark in zip(written[:end], shown, strict=False) if mark == "1")
            count = index + 1
            break
    found = run(ids(*parts), stop=stops, include_stop=include)
    assert (found.text, len(found.token_ids)) == (expected, count)


# --- the library, the harness's class, the server ---------------------------------------------------------------------


def members() -> tuple[Any, ...]:
    return tiny.models("llama", vocab_size=len(TOKENIZER))


@functools.cache
def ensemble() -> Ensemble:
    return tiny.ensemble(members(), TOKENIZER)


BIAS = {END: 12.0}


@pytest.mark.parametrize("schedule", ["standard", "cos:3,2"])
def test_the_library_stops_and_drops_what_was_accepted_behind(schedule: str):
    plain = SamplingParams(max_tokens=40, seed=5, logit_bias=BIAS)
    [whole] = ensemble().generate("the fox", plain, schedule="standard")
    at = whole.token_ids.index(END)
    stopped = SamplingParams(max_tokens=40, seed=5, logit_bias=BIAS, stop="<|im_end|>")
    [result] = ensemble().generate("the fox", stopped, schedule=schedule, verification="coupled")
    assert (result.token_ids, result.finish_reason) == (whole.token_ids[: at + 1], "stop")
    assert result.stats.tokens == at + 1
    assert result.text == TOKENIZER.decode(whole.token_ids[:at])
    stream = ensemble().stream("the fox", stopped, schedule=schedule, verification="coupled")
    assert "".join(piece.text for piece in stream) == result.text


@pytest.mark.filterwarnings("ignore")
def test_the_harness_class_stops(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance

    from unisono.evals import harness

    known = harness.sampling
    monkeypatch.setattr(harness, "sampling", lambda keywords: replace(known(keywords), logit_bias={END: 100}))
    model = harness.UnisonoLM(ensemble(), combine="only:0")
    request = Instance("generate_until", {}, ("the fox", {"until": ["<|im_end|>"], "max_gen_toks": 12}), 0)
    assert model.generate_until([request], disable_tqdm=True) == [""]
    assert model.tokens == 1


@pytest.fixture(scope="module")
def server():
    sources = tuple(Source(model=model, tokenizer=TOKENIZER) for model in members())
    with live(Catalog({"pair": Config(sources, "weighted", "cos:2,1", sampling={"max_tokens": 8})})) as up:
        yield up


@pytest.mark.parametrize("stream", [False, True])
def test_the_server_stops(server, stream: bool):
    options = {"prompt": "the fox", "max_tokens": 40, "seed": 5, "logit_bias": {str(END): 12.0}, "stop": "<|im_end|>"}
    answer = server.client.completions.create(model="pair", stream=stream, **options)
    choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
    assert choices[-1].finish_reason == "stop"
    assert "<|im_end|>" not in "".join(choice.text for choice in choices)
    if not stream:
        assert answer.usage.completion_tokens < 40
