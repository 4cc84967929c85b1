"""Turn tokens into text piece by piece: only whole characters, and no text that a later stop string would remove."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

INCOMPLETE = "\ufffd"  # what a tokenizer decodes from a part of a character


class Detokenizer:
    """Turns tokens into text one by one. The joined pieces equal the text of all tokens.

    Args:
        tokenizer: a tokenizer of transformers, or None, which makes all text empty.
        context: the last tokens of the prompt. Some tokenizers decode a token differently at the start of a text.
        special: whether special tokens are decoded to their names.
    """

    def __init__(self, tokenizer: Any, context: Sequence[int] = (), special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skip = not special
        self._window = list(context)  # the last tokens; the text of the first `_printed` was returned
        self._printed = len(self._window)

    def push(self, token: int) -> str:
        """Return the text that this token completes; an empty text while a character is incomplete."""
        self._window.append(token)
        text = self._new_text()
        if not text or text.endswith(INCOMPLETE):
            return ""
        return self._emit(text)

    def flush(self) -> str:
        """Return the text of the tokens held back, incomplete characters included."""
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
    """Finds the first stop string in a growing text, and holds back text that may become a stop string.

    Args:
        included: whether the stop string is part of the text.
        names: names of special tokens. A stop string that contains such a name is searched in the text with special
            tokens; every other stop string is searched in the text without them.
    """

    def __init__(self, stops: Sequence[str], included: bool = False, names: Iterable[str] = ()) -> None:
        names = tuple(names)
        self._stops = tuple((stop, any(name in stop for name in names)) for stop in stops)
        self._included = included
        self._held = ""  # text not returned yet, with the names of special tokens
        self._visible: list[int] = []  # indices of the characters of `_held` that are shown

    def push(self, text: str, armed: bool = True, name: str = "") -> tuple[str, bool]:
        """Add text. Return the text that can be shown, and whether a stop string was found.

        The text after the stop string is dropped; the stop string is dropped unless it is included.

        Args:
            armed: whether to search for stop strings that end in this text; they may begin in earlier text.
            name: the name of a special token in front of the text that is not shown.
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
        """Return the text that was held back. Call this at the end of the text."""
        return self._release(len(self._held))

    def _searched(self, spelt: bool) -> tuple[str, Sequence[int]]:
        """Return the text to search, with special tokens if `spelt`, and the place of each character in the held text."""
        if spelt or len(self._visible) == len(self._held):
            return self._held, range(len(self._held))
        return "".join(self._held[place] for place in self._visible), self._visible

    def _release(self, end: int) -> str:
        """Remove the first `end` characters from the held text and return those of them that are shown."""
        shown = "".join(self._held[place] for place in self._visible if place < end)
        self._held, self._visible = self._held[end:], [place - end for place in self._visible if place >= end]
        return shown


def _find(stop: str, text: str, places: Sequence[int], old: int) -> tuple[int, int] | None:
    """Return the start and end of the stop string if it ends after the first `old` characters; else None."""
    at = text.find(stop, max(0, bisect_left(places, old) - len(stop) + 1))
    return None if at < 0 else (places[at], places[at + len(stop) - 1] + 1)


def _partial(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is the beginning of `stop` and shorter than `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
