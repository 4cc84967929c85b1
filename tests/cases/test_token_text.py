"""Texts and bytes of single tokens, as parts of a text and alone: in results, answers of the server and traces."""

import functools
import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tokenizers import Tokenizer, decoders
from transformers import PreTrainedTokenizerFast

from tests import tiny
from tests.cases import tokenizers
from tests.server.live import live
from unisono import SamplingParams
from unisono.config import Config
from unisono.members.source import Source
from unisono.server.catalog import Catalog
from unisono.server.openai.shapes import CompletionShape
from unisono.text.trace import Trace
from unisono.tokens.token_bytes import TokenBytes, is_text, table
from unisono.tokens.token_text import parts, token_bytes, token_text, token_texts
from unisono.types import Commit, Piece

EXACT = ("byte-level", "llama-2", "unigram")
PROMPT = "hello the fox the dog"


def decode(tokenizer: Any, tokens: list[int]) -> str:
    text: str = tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def id_of(tokenizer: Any, piece: str) -> int:
    found = tokenizer.convert_tokens_to_ids(piece)
    assert found != tokenizer.unk_token_id
    return int(found)


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXACT)
@settings(max_examples=40)
@given(data=st.data())
def test_joined_bytes_are_the_decoded_text(kind: str, data: st.DataObject):
    """Any sequence of ordinary tokens whose bytes are whole characters; decoding may leave out the first blanks."""
    tokenizer = tokenizers.KINDS[kind]()
    known = table(tokenizer)
    assert known.exact
    ids = st.integers(len(tokenizers.SPECIAL), len(tokenizer) - 1)
    tokens = data.draw(st.lists(ids, min_size=1, max_size=12))
    spelled = b"".join(known.spelled(token) or b"" for token in tokens)
    if is_text(spelled):
        decoded = decode(tokenizer, tokens)
        assert spelled.decode().endswith(decoded)
        assert not spelled.decode().removesuffix(decoded).strip(" ")


@pytest.mark.parametrize("kind", EXACT)
@given(text=st.text("the quickbrownfx 🙂日é\n", min_size=1, max_size=30))
def test_bytes_of_an_encoded_text_are_the_texts(kind: str, text: str):
    """Up to the blank that SentencePiece puts in front; Unigram knows only the corpus's characters."""
    tokenizer = tokenizers.KINDS[kind]()
    known, tokens = table(tokenizer), tokenizer.encode(text, add_special_tokens=False)
    if tokenizer.unk_token_id not in tokens and "  " not in text and "\n" not in text:
        assert b"".join(known.spelled(token) or b"" for token in tokens).decode() in (text, " " + text)


@pytest.mark.parametrize("kind", EXACT)
def test_every_ordinary_token_has_bytes(kind: str):
    tokenizer = tokenizers.KINDS[kind]()
    known = table(tokenizer)
    for token in range(len(tokenizer)):
        assert bool(known.spelled(token)) == (token not in known.special)
    assert known.spelled(len(tokenizer) + 5) is None


def test_blanks_stay_with_their_tokens():
    """`▁the` and `the` are two texts, alone; a part of a character is written by its bytes."""
    for kind in ("llama-2", "unigram"):
        tokenizer = tokenizers.KINDS[kind]()
        assert token_text(tokenizer, id_of(tokenizer, "▁d")) == " d"
        assert token_text(tokenizer, id_of(tokenizer, "▁")) == " "
        assert token_bytes(tokenizer, id_of(tokenizer, "▁")) == [32]
    tokenizer = tokenizers.llama_2()
    assert token_text(tokenizer, id_of(tokenizer, "the")) == "the"
    assert token_text(tokenizer, id_of(tokenizer, "<0xE2>")) == "bytes:\\xe2"
    assert token_bytes(tokenizer, id_of(tokenizer, "<0xE2>")) == [0xE2]
    assert token_text(tokenizers.byte_level(), id_of(tokenizers.byte_level(), "<tool>")) == "<tool>"


@pytest.mark.parametrize("kind", tokenizers.KINDS)
def test_special_tokens_are_written_by_name(kind: str):
    tokenizer = tokenizers.KINDS[kind]()
    token = id_of(tokenizer, "<|im_end|>")
    assert token_text(tokenizer, token) == "<|im_end|>"
    assert table(tokenizer).spelled(token) is None


def test_an_added_token_spells_itself():
    """Its name is no sequence of the byte alphabet, though every letter of it may stand for a byte there."""
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["né"])
    token = id_of(tokenizer, "né")
    assert token_bytes(tokenizer, token) == list("né".encode())


def strict() -> Any:
    """A tokenizer whose decoder strips a blank of each token, which no rule here knows."""
    core = Tokenizer.from_str(tokenizers.llama_2().backend_tokenizer.to_str())
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Strip(" ", 1, 0), decoders.Fuse()]
    core.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("make", [tokenizers.wordpiece, strict], ids=["wordpiece", "no-round-trip"])
def test_other_decoders_have_no_bytes_and_their_own_text(make: Any):
    """Nothing is guessed, and nothing that decodes is refused."""
    tokenizer = make()
    assert not TokenBytes(tokenizer).exact
    for token in range(len(tokenizer)):
        assert token_bytes(tokenizer, token) is None
        assert token_text(tokenizer, token) == decode(tokenizer, [token])


# --- parts of a text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", tokenizers.KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_texts_of_tokens_join_to_the_text(kind: str, data: st.DataObject):
    tokenizer = tokenizers.KINDS[kind]()
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    decoded = decode(tokenizer, tokens) if tokens else ""
    joined = "".join(token_texts(tokenizer, tokens))
    assert joined == decoded or (kind == "llama-2" and "\ufffd" in decoded)  # a broken byte changes those before it


@pytest.mark.parametrize("kind", tokenizers.KINDS)
@pytest.mark.parametrize("text", [PROMPT, " the fox", "<s>hello</s> the", "Ünïcode 🙂", "x\n\n  y"])
def test_parts_join_to_the_text_that_was_given(kind: str, text: str):
    """Whatever the tokenizer adds, strips or changes."""
    tokenizer = tokenizers.KINDS[kind]()
    tokens = tokenizer.encode(text)
    assert "".join(parts(tokenizer, text, tokens)) == text


def test_parts_of_a_prompt():
    tokenizer = tokenizers.llama_2()
    tokens = tokenizer.encode("the fox")
    assert parts(tokenizer, "the fox", tokens)[:2] == ["", "the"]
    assert token_texts(tokenizer, tokens)[:2] == ["<s>", " the"]


# --- results, traces and answers --------------------------------------------------------------------------------------


@functools.cache
def models() -> tuple[Any, ...]:
    """Random ones over the vocabulary of the Llama-2 kind."""
    first = tiny.build("llama", vocab_size=len(tokenizers.llama_2()))
    return first, tiny.blend(first, 0.05, seed=1)


@pytest.mark.parametrize("prompt", [[1], [1, 4 + 256]])
def test_pieces_and_traces_show_the_text(prompt: list[int]):
    """Behind a word the first blank is there; behind `<s>` alone decoding leaves it out."""
    tokenizer = tokenizers.llama_2()
    the = id_of(tokenizer, "▁the")
    ensemble = tiny.ensemble(models(), tokenizer)
    params = SamplingParams(max_tokens=6, seed=2, temperature=1, logit_bias={the: 100, id_of(tokenizer, "x"): 80})
    pieces = list(ensemble.stream(prompt, params))
    out = io.StringIO()
    trace = Trace(tokenizer, ensemble.names, Console(file=out, soft_wrap=True))
    for piece in pieces:
        trace.token(piece)
    result = pieces[-1].result
    assert result is not None
    assert "".join(piece.token_text for piece in pieces) == result.text
    assert pieces[0].token_text == (" the" if len(prompt) > 1 else "the")
    assert f"]{pieces[0].token_text}[" in out.getvalue()


@pytest.fixture(scope="module")
def server():
    members = tuple(Source(model=model, tokenizer=tokenizers.llama_2()) for model in models())
    with live(Catalog({"pair": Config(members, "weighted", "cos:2,1", sampling={"max_tokens": 8})})) as up:
        yield up


BLANKS = {str(id_of(tokenizers.llama_2(), piece)): 14.0 for piece in ("▁the", "▁", "<0xF0>", "<0x9F>", "<0x99>")}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("prompt", [PROMPT, "<s>hello 🙂 fox", [1]], ids=["text", "special", "start"])
def test_tokens_of_a_completion_join_to_its_text(server, prompt: Any, echo: bool, stream: bool):
    """At their offsets; parts of characters too. Only special tokens, which have no text, stand by name."""
    for seed in range(2):
        options = {"seed": seed, "logprobs": 2, "max_tokens": 8, "logit_bias": BLANKS, "echo": echo}
        answer = server.client.completions.create(model="pair", prompt=prompt, stream=stream, **options)
        choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
        text, logs = "".join(choice.text for choice in choices), [each.logprobs for each in choices if each.logprobs]
        shown = [token for each in logs for token in each.tokens]
        offsets = [offset for each in logs for offset in each.text_offset]
        ends = [*offsets[1:], len(text)]
        assert "".join(text[a:b] for a, b in zip(offsets, ends, strict=True)) == text
        for token, start, end in zip(shown, offsets, ends, strict=True):
            assert token == text[start:end] or (start == end and token in tokenizers.SPECIAL)


def test_a_blank_that_is_left_out_has_no_bytes_in_a_chat(server):
    """Joined bytes are the content where it is whole characters, whatever the prompt ends with."""
    the = {str(id_of(tokenizers.llama_2(), "▁the")): 100}
    options = {"max_tokens": 3, "temperature": 0, "logit_bias": the, "logprobs": True, "top_logprobs": 2}
    answer = server.client.chat.completions.create(
        model="pair", messages=[{"role": "user", "content": "hello"}], **options
    ).choices[0]
    spelled = bytes(byte for entry in answer.logprobs.content for byte in entry.bytes)
    assert spelled.decode() == answer.message.content == " the the the"
    assert [entry.token for entry in answer.logprobs.content] == [" the"] * 3


def test_token_strings_join_to_what_detokenize_gives(server):
    with server.http as http:
        found = http.post("/tokenize", json={"model": "pair", "prompt": PROMPT, "return_token_strs": True}).json()
        whole = http.post("/detokenize", json={"model": "pair", "tokens": found["tokens"]}).json()
    assert "".join(found["token_strs"]) == whole["prompt"] == "<s> " + PROMPT


def test_candidates_of_one_text_are_all_told():
    """`A` and the byte 0x41 are one text; the token itself has the key that `tokens` has, another one its id."""
    tokenizer = tokenizers.llama_2()
    letter, byte, the = id_of(tokenizer, "x"), id_of(tokenizer, "<0x78>"), id_of(tokenizer, "▁the")
    top = ((letter, -1.0), (byte, -2.0), (the, -3.0))
    for chosen, expected in (
        (letter, {"x": -1.0, f"token_id:{byte}": -2.0, " the": -3.0}),
        (byte, {f"token_id:{letter}": -1.0, "x": -2.0, " the": -3.0}),
    ):
        piece = Piece("x", Commit(chosen, "drawn", logprob=-1.0, top=top), token_text="x")
        logs = CompletionShape(tokenizer, True).whole(0, [piece], "stop")["logprobs"]
        assert logs["top_logprobs"] == [expected]
    start = replace(piece, commit=Commit(the, "drawn", logprob=-3.0, top=top), token_text="the")
    assert "the" in CompletionShape(tokenizer, True).whole(0, [start], "stop")["logprobs"]["top_logprobs"][0]


def test_offsets_count_text_that_is_held_back():
    """A stop string may hold back the text of several tokens; each still has its own place."""
    tokenizer = tokenizers.llama_2()
    commits = [Commit(id_of(tokenizer, piece), "drawn", logprob=-1.0) for piece in ("fo", "x", "or")]
    texts = zip(("", "", "foxor"), commits, ("fo", "x", "or"), strict=True)
    pieces = [Piece(text, commit, token_text=added) for text, commit, added in texts]
    assert CompletionShape(tokenizer, True).whole(0, pieces, "stop")["logprobs"]["text_offset"] == [0, 2, 3]
