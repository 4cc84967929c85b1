"""Text from tokens, piece by piece: whole characters, and nothing that a stop string later takes back."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import tiny
from unisono import SamplingParams
from unisono.text.transcript import Transcript
from unisono.tokens.detokenizer import Detokenizer, StopStrings
from unisono.types import Commit

TOKENIZER = tiny.tokenizer()
TOKENS = st.lists(st.integers(2, tiny.TEXT_VOCABULARY - 1), max_size=30)
TEXTS = st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from("aé日🙂👩‍👧 \n")), max_size=20)
CHARACTERS = ["é", "日本", "🙂", "👩\u200d👧", "e\u0301", "\U0001f1e9\U0001f1ea", "\u200b", "\x00", "\ufeff"]
BROKEN = "\ufffd"


def decode(tokens: list[int], tokenizer: Any = TOKENIZER) -> str:
    text: str = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def encode(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=False)
    return ids


def bytewise(text: str) -> list[int]:
    """The text in tokens of one byte each: every character is split."""
    alphabet = {token: index for token, index in TOKENIZER.get_vocab().items() if len(token) == 1}
    pieces = TOKENIZER.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [alphabet[letter] for piece, _ in pieces for letter in piece]


def pieces_of(tokens: list[int], context: list[int] | None = None, tokenizer: Any = TOKENIZER) -> list[str]:
    detokenizer = Detokenizer(tokenizer, context or [])
    return [*(detokenizer.push(token) for token in tokens), detokenizer.flush()]


# --- whole characters -------------------------------------------------------------------------------------------------


@given(tokens=TOKENS)
@example(tokens=bytewise("🙂")[:3])
@example(tokens=bytewise("日")[:2] + encode("a"))
@example(tokens=[*bytewise("🙂")[1:], *bytewise("日")[:1], *bytewise("🙂")])
def test_pieces_join_to_the_text_of_the_whole(tokens: list[int]):
    """Whatever the tokens, also bytes that form no characters: the pieces are the text, nothing is lost or doubled."""
    assert "".join(pieces_of(tokens)) == decode(tokens)


@given(before=TEXTS, text=TEXTS)
def test_pieces_join_after_a_prompt(before: str, text: str):
    """The prompt's end is context: it is not printed again, and changes nothing of what follows it."""
    context, tokens = encode(before)[-6:], bytewise(text)
    assert "".join(pieces_of(tokens, context)) == text


@given(text=TEXTS)
def test_no_piece_has_half_a_character(text: str):
    """A character is printed when its last byte is there: valid text never shows a replacement character."""
    for tokens in (bytewise(text), encode(text)):
        pieces = pieces_of(tokens)
        assert "".join(pieces) == text
        assert all(BROKEN not in piece for piece in pieces) or BROKEN in text
        for piece in pieces:
            piece.encode("utf-8")


@pytest.mark.parametrize("text", CHARACTERS)
def test_every_split_of_a_character_is_held_back(text: str):
    """Between the bytes of a code point nothing is printed; with its last byte, it is."""
    tokens = bytewise(text)
    pieces = pieces_of(tokens)
    assert "".join(pieces) == text
    sizes = [len(character.encode()) for character in text]
    ends = {sum(sizes[: count + 1]) - 1 for count in range(len(sizes))}
    for index, piece in enumerate(pieces[:-1]):
        assert bool(piece) == (index in ends)


def test_bytes_that_form_no_character_come_out_at_the_latest_with_the_end():
    """A broken beginning of a character is held back, and printed as the tokenizer prints it when nothing follows."""
    tokens = bytewise("🙂")[:2]
    *held, last = pieces_of(tokens)
    assert held == ["", ""]
    assert last == decode(tokens) != ""


def test_a_long_run_of_broken_bytes_joins():
    """Text that never completes a character is as long as the tokenizer says, however late it is printed."""
    tokens = bytewise("é")[1:] * 40 + encode("x") + bytewise("🙂")[:3] * 20
    assert "".join(pieces_of(tokens)) == decode(tokens)


def test_special_tokens_have_no_text():
    """Special tokens inside the output are not printed and do not disturb their neighbours."""
    tokens = [*bytewise("日")[:2], 0, *bytewise("日")[2:], 1, *encode("x")]
    assert "".join(pieces_of(tokens)) == decode(tokens)


def test_without_a_tokenizer_there_is_no_text():
    """Token ids in, token ids out: all text is empty."""
    assert pieces_of([1, 2, 3], tokenizer=None) == [""] * 4


def test_a_context_that_ends_within_a_character_does_not_eat_text():
    """A prompt given as token ids may end within a character; the output's own text is complete and the same."""
    smile = bytewise("🙂")
    printed = "".join(pieces_of([*smile[2:], *encode("abc")], context=[*encode("x"), *smile[:2]]))
    assert printed.endswith("abc")


def test_blanks_at_the_start_survive():
    """A tokenizer that strips the first blank of a text (SentencePiece style) keeps it behind a prompt."""
    tokenizer = tiny.metaspace_tokenizer()
    tokens = tokenizer.encode("a b c b", add_special_tokens=False)
    assert tokenizer.decode(tokens[1:]) == "b c b"
    assert "".join(pieces_of(tokens[1:], tokens[:1], tokenizer)) == " b c b"


# --- stop strings -----------------------------------------------------------------------------------------------------

LETTERS = st.text(alphabet="ab", max_size=12)
STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3)


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """Text up to the first stop string that is complete first; of two that end together, the one that starts first."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(text=LETTERS, stops=STOPS)
@example(text="aab", stops=["ab"])
@example(text="abab", stops=["bab", "ba"])
@example(text="abb", stops=["abb", "b"])
def test_a_stream_of_characters_is_cut_as_the_whole_text(text: str, stops: list[str]):
    """Cut letter by letter, the text is what a search on every prefix finds, and no piece is taken back."""
    finder, shown = StopStrings(stops), ""
    for letter in text:
        piece, stopped = finder.push(letter)
        shown += piece
        if stopped:
            assert (shown, True) == naive(text, stops)
            return
        assert naive(text, stops)[0].startswith(shown)
    assert (shown + finder.flush(), False) == naive(text, stops)


@given(pieces=st.lists(LETTERS, max_size=6), stops=STOPS)
@example(pieces=["abba"], stops=["ba", "ab"])
@example(pieces=["a", "abba"], stops=["ba", "bb"])
def test_a_stream_of_pieces_is_cut_at_the_first_stop_string(pieces: list[str], stops: list[str]):
    """With pieces of several letters, the text ends before the first stop string of those complete by then."""
    finder, shown, seen = StopStrings(stops), "", ""
    for piece in pieces:
        seen += piece
        found = [at for stop in stops if (at := seen.find(stop)) >= 0]
        text, stopped = finder.push(piece)
        shown += text
        assert stopped == bool(found)
        if stopped:
            assert shown == seen[: min(found)]
            return
        assert seen.startswith(shown)
    assert shown + finder.flush() == seen


@pytest.mark.parametrize(
    ("stops", "text", "shown"),
    [
        (["END"], "END and more", ""),
        (["END"], "text END", "text "),
        (["END"], "EN", "EN"),
        (["END"], "ENEND", "EN"),
        (["\n\n"], "a\n\n\nb", "a"),
        (["🙂"], "a🙂b", "a"),
        ([], "anything", "anything"),
    ],
)
def test_examples_of_stop_strings(stops: list[str], text: str, shown: str):
    """At the start, at the end, unfinished, overlapping itself, of several bytes, none at all."""
    finder, out = StopStrings(stops), ""
    for letter in text:
        piece, stopped = finder.push(letter)
        out += piece
        if stopped:
            break
    else:
        out += finder.flush()
    assert out == shown


@given(tokens=TOKENS, cut=st.integers(0, 20), size=st.integers(1, 4))
def test_a_transcript_shows_only_what_stays(tokens: list[int], cut: int, size: int):
    """From token to shown text: pieces join to the text, which ends before the stop string; none is shown in part."""
    whole = decode(tokens)
    stop = whole[cut : cut + size] or "never"
    params = SamplingParams(stop=stop, max_tokens=max(1, len(tokens)))
    transcript = Transcript(TOKENIZER, [], params, frozenset(), max(1, len(tokens)))
    shown = ""
    for token in tokens:
        shown += transcript.push(Commit(token, "drawn")).text
        assert stop not in shown
        if transcript.finish_reason:
            break
    if tokens:
        shown += transcript.close()
    assert shown == transcript.text
    if BROKEN not in whole:
        assert shown == whole.split(stop)[0]
        assert not tokens or transcript.finish_reason == ("stop" if stop in whole else "length")


@pytest.mark.parametrize(("included", "text"), [(False, "ab"), (True, "abxyz")])
def test_the_stop_string_is_part_of_the_text_if_asked_for(included: bool, text: str):
    """Across pieces, the text ends before or behind it."""
    stops = StopStrings(["xyz"], included)
    found = [stops.push(piece) for piece in ("ab", "x", "yz rest")]
    assert "".join(piece for piece, _ in found) == text
    assert found[-1][1]


def test_a_stop_string_counts_if_it_ends_in_an_armed_text():
    """It may begin before; one that ends before is text like any other, also as a beginning of a longer one."""
    stops = StopStrings(["\nx"])
    assert stops.push("a\n", armed=False) == ("a", False)
    assert stops.push("xy") == ("", True)
    stops = StopStrings(["\nx", "\nxyz"])
    assert stops.push("a\nx", armed=False) == ("a", False)
    assert stops.push("q") == ("\nxq", False)
