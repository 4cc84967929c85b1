"""Tokens -> text, piece by piece: whole characters only, and nothing that a stop string later takes back."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

INCOMPLETE = "\ufffd"  # what a tokenizer prints for a part of a character


class Detokenizer:
    """Turns tokens into text as they come. The pieces join to the text of the whole.

    Args:
        tokenizer: a transformers tokenizer, or None, which makes all text empty.
        context: the last tokens of the prompt. Some tokenizers print a token differently at the start of a text.
        special: whether special tokens have a text: their name.
    """

    def __init__(self, tokenizer: Any, context: Sequence[int] = (), special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skip = not special
        self._window = list(context)  # tokens from a character border on, of which the first `_printed` are out
        self._printed = len(self._window)

    def push(self, token: int) -> str:
        """The text that this token completes; empty while a character is unfinished."""
        self._window.append(token)
        text = self._new_text()
        if not text or text.endswith(INCOMPLETE):
            return ""
        return self._emit(text)

    def flush(self) -> str:
        """The text of tokens held back, unfinished characters included."""
        return self._emit(self._new_text())

    def _new_text(self) -> str:
        if self._tokenizer is None:
            return ""
        return self._decode(self._window)[len(self._decode(self._window[: self._printed])) :]

    def _emit(self, text: str) -> str:
        self._window, self._printed = self._window[self._printed :], len(self._window) - self._printed
        return text

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=self._skip, clean_up_tokenization_spaces=False)
        return text


class StopStrings:
    """Finds the first stop string in a text that grows, and holds back what may become one.

    Args:
        included: whether the stop string is part of the text.
        names: of special tokens. A stop string that has one in it is looked for in the text with special tokens written
            out, any other in the text alone.
    """

    def __init__(self, stops: Sequence[str], included: bool = False, names: Iterable[str] = ()) -> None:
        names = tuple(names)
        self._stops = tuple((stop, any(name in stop for name in names)) for stop in stops)
        self._included = included
        self._held = ""  # with special tokens written out
        self._visible: list[int] = []  # which characters of it are text

    def push(self, text: str, armed: bool = True, name: str = "") -> tuple[str, bool]:
        """Text that is safe to show, and whether a stop string was found; text from its start (or end) on is dropped.

        Only a stop string that ends in an armed text counts; it may begin before.

        Args:
            name: of a special token that stands in front of the text and is not shown.
        """
        if not self._stops:
            return text, False
        old = len(self._held)
        self._held += name + text
        self._visible += range(old + len(name), len(self._held))
        searched = [(stop, *self._searched(spelt)) for stop, spelt in self._stops]
        found = [span for each in searched if (span := _find(*each, old))]
        if armed and found:
            start, end = min(found)
            shown = self._release(end if self._included else start)
            self._held, self._visible = "", []
            return shown, True
        begun = (places[len(text) - size] for stop, text, places in searched if (size := _partial(text, stop)))
        return self._release(min(begun, default=len(self._held))), False

    def flush(self) -> str:
        """What was held back, now that nothing follows."""
        return self._release(len(self._held))

    def _searched(self, spelt: bool) -> tuple[str, Sequence[int]]:
        """The held text, with special tokens written out or without them, and where its characters stand."""
        if spelt or len(self._visible) == len(self._held):
            return self._held, range(len(self._held))
        return "".join(self._held[place] for place in self._visible), self._visible

    def _release(self, end: int) -> str:
        """What is text of the first characters; the others stay."""
        shown = "".join(self._held[place] for place in self._visible if place < end)
        self._held, self._visible = self._held[end:], [place - end for place in self._visible if place >= end]
        return shown


def _find(stop: str, text: str, places: Sequence[int], old: int) -> tuple[int, int] | None:
    """Where the stop string begins and ends, if it ends behind the first `old` places."""
    at = text.find(stop, max(0, bisect_left(places, old) - len(stop) + 1))
    return None if at < 0 else (places[at], places[at + len(stop) - 1] + 1)


def _partial(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
