"""Tokens -> text, piece by piece: whole characters only, and nothing that a stop string later takes back."""

from collections.abc import Sequence
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
    """

    def __init__(self, stops: Sequence[str], included: bool = False) -> None:
        self._stops = tuple(stops)
        self._included = included
        self._held = ""

    def push(self, text: str, armed: bool = True) -> tuple[str, bool]:
        """Text that is safe to show, and whether a stop string was found; text from its start (or end) on is dropped.

        Only a stop string that ends in an armed text counts; it may begin before.
        """
        if not self._stops:
            return text, False
        before, held = len(self._held), self._held + text
        ends = [(at, len(stop)) for stop in self._stops if (at := held.find(stop, max(0, before - len(stop) + 1))) >= 0]
        if armed and ends:
            start, length = min(ends)
            self._held = ""
            return held[: start + length if self._included else start], True
        keep = max(_partial(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep], False

    def flush(self) -> str:
        """What was held back, now that nothing follows."""
        held, self._held = self._held, ""
        return held


def _partial(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
