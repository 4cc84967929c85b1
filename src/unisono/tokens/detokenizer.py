"""Turn tokens into pieces of text. Incomplete characters and possible parts of a stop string are held back."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

INCOMPLETE = "\ufffd"  # the text that a tokenizer decodes from a part of a character
_alone: WeakKeyDictionary[Any, dict[tuple[int, bool], str]] = WeakKeyDictionary()  # texts of single tokens


class Detokenizer:
    """Turns tokens into pieces of text, one token at a time. The joined pieces equal the text of all tokens.

    Args:
        tokenizer: a tokenizer of transformers, or None. Without a tokenizer, all text is empty.
        context: the last tokens of the prompt. Some tokenizers decode a token differently at the start of a text.
        special: whether special tokens are decoded to their names.
    """

    def __init__(self, tokenizer: Any, context: Sequence[int] = (), special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skip = not special
        self._alone = {} if tokenizer is None else _alone.setdefault(tokenizer, {})
        self._window = list(context)  # the last tokens; the text of the first `_printed` tokens has been returned
        self._printed = len(self._window)

    def push(self, token: int) -> str:
        """Add a token. Return the new text; an empty text if the last character is still incomplete."""
        self._window.append(token)
        text = self._new_text()
        if not text or text.endswith(INCOMPLETE):
            return ""
        return self._emit(text)

    def flush(self) -> str:
        """Return the text of the tokens that are still held back. The text may contain incomplete characters."""
        return self._emit(self._new_text())

    def _new_text(self) -> str:
        if self._tokenizer is None:
            return ""
        return self._decode(self._window)[len(self._printed_text()) :]

    def _printed_text(self) -> str:
        """Return the text of the first `_printed` tokens. Usually it is one token, whose text is kept."""
        if self._printed != 1:
            return self._decode(self._window[: self._printed])
        key = self._window[0], self._skip
        if key not in self._alone:
            self._alone[key] = self._decode(self._window[:1])
        return self._alone[key]

    def _emit(self, text: str) -> str:
        self._window, self._printed = self._window[self._printed :], len(self._window) - self._printed
        return text

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=self._skip, clean_up_tokenization_spaces=False)
        return text


class StopStrings:
    """Finds the first stop string in a growing text, and holds back text that may become a stop string.

    Args:
        included: whether the stop string stays in the text.
        names: names of special tokens. A stop string that contains such a name is searched in the text with special
            tokens. Every other stop string is searched in the text without special tokens.
    """

    def __init__(self, stops: Sequence[str], included: bool = False, names: Iterable[str] = ()) -> None:
        names = tuple(names)
        self._stops = tuple((stop, any(name in stop for name in names)) for stop in stops)
        self._included = included
        self._held = ""  # text not returned yet, with the names of special tokens
        self._visible: list[int] = []  # indices of the characters of `_held` that are shown

    def push(self, text: str, armed: bool = True, name: str = "") -> tuple[str, bool]:
        """Add text. Return the text that can be shown, and whether a stop string was found.

        If a stop string was found, the text after the stop string is dropped. The stop string itself is dropped too,
        unless this object was made with `included`.

        Args:
            armed: whether to search for stop strings that end in the added text. Such stop strings may begin in earlier
                text.
            name: the name of a special token in front of the added text. This name is searched but not shown.
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
        """Return the text that is still held back. Call this method at the end of the text."""
        return self._release(len(self._held))

    def _searched(self, spelt: bool) -> tuple[str, Sequence[int]]:
        """Return the text to search. For each character of this text, also return its index in the held text.

        If `spelt` is True, the text to search contains the names of special tokens that are not shown.
        """
        if spelt or len(self._visible) == len(self._held):
            return self._held, range(len(self._held))
        return "".join(self._held[place] for place in self._visible), self._visible

    def _release(self, end: int) -> str:
        """Remove the first `end` characters from the held text. Return the removed characters that are shown."""
        shown = "".join(self._held[place] for place in self._visible if place < end)
        self._held, self._visible = self._held[end:], [place - end for place in self._visible if place >= end]
        return shown


def _find(stop: str, text: str, places: Sequence[int], old: int) -> tuple[int, int] | None:
    """Find the first `stop` that ends in new text. Return its start and its end in the held text, or None.

    Args:
        places: for each character of `text`, its index in the held text. old: index of the first new character in the
            held text.
    """
    at = text.find(stop, max(0, bisect_left(places, old) - len(stop) + 1))
    return None if at < 0 else (places[at], places[at + len(stop) - 1] + 1)


def _partial(text: str, stop: str) -> int:
    """Return the length of the longest suffix of `text` that is a proper prefix of `stop`; 0 if there is none."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
