"""What a model thought apart from what it answers, as its text comes in."""

from typing import Any

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
        inside: whether the text begins in a block of thoughts.
    """

    def __init__(self, inside: bool) -> None:
        self._inside = inside
        self._held = ""  # what may become a tag

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


def _begun(text: str, tag: str) -> int:
    """How many characters at the end of a text may become the tag."""
    return next((length for length in range(len(tag) - 1, 0, -1) if text.endswith(tag[:length])), 0)
