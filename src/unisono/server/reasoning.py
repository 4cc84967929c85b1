"""What a model thought apart from what it answers, as its text comes in."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from unisono.types import Piece

PARSERS = ("think",)
TAGS = ("<think>", "</think>")


def opened(text: str) -> bool:
    """Whether what follows this text stands in a block of thoughts."""
    return text.rfind(TAGS[0]) > text.rfind(TAGS[1])


def ends_open(text: str) -> bool:
    """Whether a text ends with the tag that opens a block, and blanks."""
    return text.rstrip().endswith(TAGS[0])


def silent_tags(tokenizer: Any) -> dict[int, str]:
    """The tags that are special tokens, which add nothing to a text, by their ids."""
    added = tokenizer.added_tokens_decoder.items()
    return {index: str(token) for index, token in added if token.special and str(token) in TAGS}


class Thoughts:
    """A text that comes in pieces, apart: what stands between the tags of thoughts, and the rest. The tags are left out.

    Args:
        inside: whether the text begins in a block of thoughts. tags: those that add nothing to the text, by their tokens.
    """

    def __init__(self, inside: bool, tags: Mapping[int, str] | None = None) -> None:
        self._inside = inside
        self._held = ""  # what may become a tag
        self._tags = tags or {}
        self._due: deque[tuple[int, str]] = deque()  # tags that the text has not reached, and where they stand in it
        self._read = self._shown = 0  # characters of tokens, and of the text, which stops may hold back

    def read(self, pieces: Sequence[Piece], last: bool = False) -> tuple[str, str]:
        """What was thought and what was said in these pieces of the text."""
        return self.push("".join(map(self._tagged, pieces)), last)

    def push(self, text: str, last: bool = False) -> tuple[str, str]:
        """What was thought and what was said in this piece; a block that nothing closes is thought to its end."""
        found = ["", ""]  # said, thought
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
        """The piece's text with the tags in it that have no text of their own."""
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
    """How many characters at the end of a text may become the tag."""
    return next((length for length in range(len(tag) - 1, 0, -1) if text.endswith(tag[:length])), 0)
