"""Splits the text of a reasoning model into the thoughts (between `<think>` and `</think>`) and the answer."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from unisono.types import Piece

PARSERS = ("think",)
TAGS = ("<think>", "</think>")


def opened(text: str) -> bool:
    """Return whether the text ends inside a thinking block."""
    return text.rfind(TAGS[0]) > text.rfind(TAGS[1])


def ends_open(text: str) -> bool:
    """Return whether the text ends with the opening tag. White space after the tag is ignored."""
    return text.rstrip().endswith(TAGS[0])


def silent_tags(tokenizer: Any) -> dict[int, str]:
    """Return the thinking tags that are special tokens, by token id. Decoded text does not contain special tokens."""
    added = tokenizer.added_tokens_decoder.items()
    return {index: str(token) for index, token in added if token.special and str(token) in TAGS}


class Thoughts:
    """Splits a text that arrives in pieces into thoughts and answer. The tags are removed.

    Args:
        inside: whether the text begins inside a thinking block.
        tags: the thinking tags that are special tokens, as returned by `silent_tags`.
    """

    def __init__(self, inside: bool, tags: Mapping[int, str] | None = None) -> None:
        self._inside = inside
        self._held = ""  # the beginning of a possible tag
        self._tags = tags or {}
        self._due: deque[tuple[int, str]] = deque()  # removed tags after the text so far, each with its position
        # Number of characters of all tokens, and of the text, which is shorter while a possible stop string is held back
        self._read = self._shown = 0

    def read(self, pieces: Sequence[Piece], last: bool = False) -> tuple[str, str]:
        """Return the thoughts and the answer in these pieces. `last` says whether the text ends after these pieces."""
        return self.push("".join(map(self._tagged, pieces)), last)

    def push(self, text: str, last: bool = False) -> tuple[str, str]:
        """Return the thoughts and the answer in `text`. `last` says whether the whole text ends after `text`.

        An incomplete tag at the end of `text` is kept for the next call. If a thinking block has no closing tag, the
        block extends to the end of the whole text.
        """
        found = ["", ""]  # answer, thoughts
        rest = self._held + text
        while (tag := TAGS[self._inside]) in rest:
            before, _, rest = rest.partition(tag)
            found[self._inside] += before
            self._inside = not self._inside
        held = 0 if last else _begun(rest, tag)
        found[self._inside] += rest[: len(rest) - held]
        self._held = rest[len(rest) - held :]
        return found[True], found[False]

    def _tagged(self, piece: Piece) -> str:
        """Return the text of the piece. Insert the tags that decoding removed."""
        if piece.commit is not None and not piece.token_text and piece.commit.token in self._tags:
            self._due.append((self._read, self._tags[piece.commit.token]))
        self._read += len(piece.token_text)
        tagged, rest = "", piece.text
        while self._due and self._due[0][0] <= self._shown + len(rest):
            place, tag = self._due.popleft()
            tagged, rest = tagged + rest[: place - self._shown] + tag, rest[place - self._shown :]
            self._shown = place
        self._shown += len(rest)
        return tagged + rest


def _begun(text: str, tag: str) -> int:
    """Return the length of the longest incomplete beginning of `tag` that is at the end of `text`."""
    return next((length for length in range(len(tag) - 1, 0, -1) if text.endswith(tag[:length])), 0)
