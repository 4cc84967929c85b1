"""What stands in front of a text: the one rule for every entry point.

Each member reads its own prefix, and then all members read the same tokens.

- The prefix of a text is what the member's own tokenizer puts in front of it, mostly a beginning-of-text token (BOS) or
  nothing. What the tokenizer does counts, not its flags. A text that begins with this prefix gets no second one.
- In a conversation, the BOS that the first member's template wrote is exchanged for the member's own: for what the
  member's own chat template writes in front; without a template, for its tokenizer's prefix. A member without a template
  whose tokenizer has the prefix of the first one reads what the first one's template wrote.
- An empty prompt that is to be scored is the tokenizer's BOS, or else its end-of-text token.
- Token ids are read as given, without a prefix.

A prefix may lie outside the common vocabulary, since only its own member reads it.
"""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

from unisono.errors import RequestError
from unisono.members.base import Reading
from unisono.members.source import PLAIN
from unisono.text.encoder import Encoder
from unisono.tokens.vocabulary import PROBE

Ids = tuple[int, ...]


class Prefix:
    """The prefixes of one member.

    Args:
        tokenizer: of transformers. rows: how many tokens the member's model has.
    """

    def __init__(self, tokenizer: Any, rows: int) -> None:
        self._tokenizer, self._rows = tokenizer, rows

    def text(self, ids: Ids, text: str) -> Reading:
        """A text, whose own tokens are `ids`."""
        before, behind = self._around
        before = () if ids[: len(before)] == before else before
        return Reading((*before, *ids, *behind), text, len(before))

    def pair(self, encode: Callable[[str], Ids], prompt: str, continuation: str) -> tuple[Reading, Ids]:
        """A prompt, and the tokens of what continues it: the two are encoded together, as lm-evaluation-harness does.

        Args:
            encode: the tokens of a text, without a prefix.
        """
        whole = encode(prompt + continuation)
        if not prompt:
            start = self.empty()
            return start, whole[1:] if whole[:1] == start.tokens else whole
        reading = self.text(encode(prompt), prompt)
        return reading, self.text(whole, prompt).tokens[len(reading.tokens) :]

    def empty(self) -> Reading:
        """An empty prompt.

        Raises:
            RequestError: the tokenizer has neither a beginning-of-text nor an end-of-text token.
        """
        start = self._tokenizer.bos_token_id
        start = self._tokenizer.eos_token_id if start is None else start
        if start is None:
            raise RequestError("an empty prompt needs a tokenizer with a beginning-of-text token")
        return Reading(self._known((start,)), "", 1)

    def chat(self, ids: Ids, first: "Prefix") -> Reading:
        """A conversation, as the template of the first member wrote it."""
        count = first._written(ids)
        before = ids[:count] if self._is_like(first) else self._of_template
        return Reading((*before, *ids[count:]), None, len(before))

    @cached_property
    def _around(self) -> tuple[Ids, Ids]:
        """What the tokenizer puts in front of a text and behind it."""
        bare, full = (tuple(self._tokenizer.encode(PROBE, add_special_tokens=added)) for added in (False, True))
        places = [k for k in range(len(full) - len(bare) + 1) if full[k : k + len(bare)] == bare]
        if not places:
            raise RequestError("a tokenizer changes a text's tokens where it adds special ones; give token ids instead")
        return self._known(full[: places[0]]), full[places[0] + len(bare) :]

    @cached_property
    def _of_template(self) -> Ids:
        """What the member's own chat template writes in front; the tokenizer's prefix if there is no template that works."""
        if not getattr(self._tokenizer, "chat_template", None):
            return self._around[0]
        asked = [{"role": "user", "content": "a"}]
        try:
            text = self._tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        except Exception:  # a template may fail in any way; the first member's writes the conversation
            return self._around[0]
        ids = tuple(self._tokenizer.encode(text, add_special_tokens=False))
        return ids[: self._written(ids)]

    def _written(self, ids: Ids) -> int:
        """How many tokens at the beginning of a written conversation are a prefix."""
        starts = (self._around[0], (self._tokenizer.bos_token_id,))
        return next((len(start) for start in starts if start and ids[: len(start)] == start), 0)

    def _is_like(self, first: "Prefix") -> bool:
        """Whether what the first member's template wrote in front is this member's own."""
        mine, other = self._tokenizer, first._tokenizer
        template = getattr(mine, "chat_template", None)
        same = not template or (template == other.chat_template and mine.bos_token_id == other.bos_token_id)
        return mine is other or (same and self._around[0] == first._around[0])

    def _known(self, ids: Ids) -> Ids:
        for token in ids:
            if token >= self._rows:
                raise RequestError(
                    f"a tokenizer puts a token in front of texts that its model does not have: {token}; give the model its "
                    "own tokenizer, or token ids"
                )
        return ids


class Prefixes:
    """The prefixes of all members, and what each member reads of a text.

    Args:
        encoder: splits texts. tokenizers, rows: of the members, as for `Prefix`.
        templates: per member, what it reads instead of a prompt.
    """

    def __init__(
        self, encoder: Encoder, tokenizers: Sequence[Any], rows: Sequence[int], templates: Sequence[str]
    ) -> None:
        self._encoder, self._templates = encoder, templates
        self._members = [Prefix(*member) for member in zip(tokenizers, rows, strict=True)]

    def text(self, text: str) -> list[Reading]:
        """Raises: RequestError: the text is empty."""
        if not text:
            raise RequestError("the prompt is empty; give at least one token")
        return self._texts(text)

    def chat(self, ids: Ids) -> list[Reading]:
        """Of a conversation, written with the first member's template."""
        return [member.chat(ids, self._members[0]) for member in self._members]

    def empty(self) -> list[Reading]:
        """Of an empty prompt that is to be scored."""
        return self._texts("")

    def pair(self, prompt: str, continuation: str) -> tuple[list[Reading], Ids]:
        """Two texts, split as lm-evaluation-harness does: blanks at the prompt's end belong to the continuation.

        Raises:
            RequestError: there is nothing to score, or members split differently.
        """
        bare = prompt.rstrip()
        continuation = prompt[len(bare) :] + continuation
        if not continuation:
            raise RequestError("the continuation is empty; give at least one token to score")
        encode = cache(self._encoder.text)
        rows = [member.pair(encode, filled, continuation) for member, filled in self._filled(bare)]
        if any(units != rows[0][1] for _, units in rows):
            raise RequestError("the members' own prompts make the continuation split differently; move its border")
        if not rows[0][1]:
            raise RequestError(
                "the tokenizer merges the continuation into the last token of the prompt; move its border"
            )
        return [reading for reading, _ in rows], rows[0][1]

    def _texts(self, text: str) -> list[Reading]:
        encode = cache(self._encoder.text)
        return [each.text(encode(filled), filled) if filled else each.empty() for each, filled in self._filled(text)]

    def _filled(self, text: str) -> list[tuple[Prefix, str]]:
        texts = [template.replace(PLAIN, text) for template in self._templates]
        return list(zip(self._members, texts, strict=True))


def shortened(readings: Sequence[Reading], units: Sequence[int], longest: int) -> list[Reading]:
    """The ends of prompts, so that each member reads `longest` tokens at most; the last unit is scored, and not read.

    Raises:
        RequestError: the units alone do not fit.
    """
    if len(units) > longest:
        raise RequestError(f"a continuation of {len(units)} tokens does not fit a context of {longest}")
    room = longest + 1 - len(units)
    over = [max(0, len(reading.tokens) - room) for reading in readings]
    pairs = zip(readings, over, strict=True)
    return [Reading(each.tokens[cut:], None, max(0, each.prefix - cut)) if cut else each for each, cut in pairs]
