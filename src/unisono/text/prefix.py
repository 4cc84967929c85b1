"""The prefix of a text: the special tokens that a member reads before the text. All entry points use these rules.

Each member reads its own prefix. After the prefix, all members read the same tokens.

- The prefix of a text is the tokens that the member's own tokenizer adds in front of the text. Usually this is a
  beginning-of-text token (BOS) or no token. The tokenizer's flags are not read. If the text already begins with the
  prefix, the prefix is not added.
- The first member's template writes a conversation, including a prefix. Each other member replaces this prefix by the
  prefix of its own template. A member without a template uses its tokenizer's prefix instead. If this tokenizer has the
  same prefix as the first member's tokenizer, the member keeps the first member's prefix.
- If a continuation is scored after an empty prompt, each member reads its BOS token as the prompt. A member without a
  BOS token reads its end-of-text token (EOS) instead.
- If the user gives token ids, the members read only these ids. No prefix is added.

A prefix may contain tokens outside the common vocabulary, because no other member reads this prefix.
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
    """The prefixes that one member reads before texts and conversations.

    Args:
        tokenizer: the member's tokenizer, from transformers. rows: number of token ids that the member's model knows.
    """

    def __init__(self, tokenizer: Any, rows: int) -> None:
        self._tokenizer, self._rows = tokenizer, rows

    def text(self, ids: Ids, text: str) -> Reading:
        """Return the `Reading` of a text, with the tokenizer's special tokens. `ids` are the ids of the text alone."""
        before, behind = self._around
        before = () if ids[: len(before)] == before else before
        return Reading((*before, *ids, *behind), text, len(before))

    def pair(self, encode: Callable[[str], Ids], prompt: str, continuation: str) -> tuple[Reading, Ids]:
        """Encode a prompt and its continuation as one text. Return the prompt's `Reading` and the continuation's ids.

        Args:
            encode: a function that returns the token ids of a text without a prefix.
        """
        whole = encode(prompt + continuation)
        if not prompt:
            start = self.empty()
            return start, whole[1:] if whole[:1] == start.tokens else whole
        reading = self.text(encode(prompt), prompt)
        return reading, self.text(whole, prompt).tokens[len(reading.tokens) :]

    def empty(self) -> Reading:
        """Return the `Reading` of an empty prompt: the tokenizer's BOS token, or its EOS token if it has no BOS token.

        Raise RequestError if the tokenizer has neither token.
        """
        start = self._tokenizer.bos_token_id
        start = self._tokenizer.eos_token_id if start is None else start
        if start is None:
            raise RequestError("an empty prompt needs a tokenizer with a beginning-of-text token")
        return Reading(self._known((start,)), "", 1)

    def chat(self, ids: Ids, first: "Prefix") -> Reading:
        """Return this member's `Reading` of a conversation.

        Args:
            ids: the token ids of the conversation, as the first member's template wrote it.
            first: the `Prefix` object of the first member.
        """
        count = first._written(ids)
        before = ids[:count] if self._is_like(first) else self._of_template
        return Reading((*before, *ids[count:]), None, len(before))

    @cached_property
    def _around(self) -> tuple[Ids, Ids]:
        """Return the tokens that the tokenizer adds in front of a text, and the tokens that it adds after a text."""
        bare, full = (tuple(self._tokenizer.encode(PROBE, add_special_tokens=added)) for added in (False, True))
        places = [k for k in range(len(full) - len(bare) + 1) if full[k : k + len(bare)] == bare]
        if not places:
            raise RequestError("a tokenizer changes a text's tokens where it adds special ones; give token ids instead")
        return self._known(full[: places[0]]), full[places[0] + len(bare) :]

    @cached_property
    def _of_template(self) -> Ids:
        """Return the prefix that the member's chat template writes; the tokenizer's prefix if no template works."""
        if not getattr(self._tokenizer, "chat_template", None):
            return self._around[0]
        asked = [{"role": "user", "content": "a"}]
        try:
            text = self._tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        except Exception:  # a template may raise any error; the first member's template writes the conversation
            return self._around[0]
        ids = tuple(self._tokenizer.encode(text, add_special_tokens=False))
        return ids[: self._written(ids)]

    def _written(self, ids: Ids) -> int:
        """Return the length of the prefix at the beginning of a conversation; 0 if the conversation has no prefix."""
        starts = (self._around[0], (self._tokenizer.bos_token_id,))
        return next((len(start) for start in starts if start and ids[: len(start)] == start), 0)

    def _is_like(self, first: "Prefix") -> bool:
        """Return whether, in a conversation, this member reads the same prefix as the first member."""
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
    """The prefixes of all members. Each public method returns one `Reading` per member.

    Args:
        encoder: encodes texts. tokenizers: one per member. rows: number of tokens of each member's model.
        templates: a list with one template per member. The user's prompt replaces `{prompt}` in the template.
    """

    def __init__(
        self, encoder: Encoder, tokenizers: Sequence[Any], rows: Sequence[int], templates: Sequence[str]
    ) -> None:
        self._encoder, self._templates = encoder, templates
        self._members = [Prefix(*member) for member in zip(tokenizers, rows, strict=True)]

    def text(self, text: str) -> list[Reading]:
        """Return each member's `Reading` of a text; raise RequestError if the text is empty."""
        if not text:
            raise RequestError("the prompt is empty; give at least one token")
        return self._texts(text)

    def chat(self, ids: Ids) -> list[Reading]:
        """Return each member's `Reading` of a conversation. The first member's template wrote `ids`."""
        return [member.chat(ids, self._members[0]) for member in self._members]

    def empty(self) -> list[Reading]:
        """Return each member's `Reading` of an empty prompt. A prompt may be empty only if a continuation is scored."""
        return self._texts("")

    def pair(self, prompt: str, continuation: str) -> tuple[list[Reading], Ids]:
        """Return each member's `Reading` of a prompt, and the token ids of the continuation.

        Spaces at the end of the prompt are moved to the continuation, as in lm-evaluation-harness.

        Raises:
            RequestError: the continuation has no tokens, or the members' prompt templates differ and the continuation
                is therefore split into different tokens for two members.
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
    """Remove the first tokens of each prompt that is too long. Return all prompts.

    A member reads its prompt and all units except the last unit. After the removal, each member reads at most `longest`
    tokens. Raise RequestError if there are more than `longest` units.
    """
    if len(units) > longest:
        raise RequestError(f"a continuation of {len(units)} tokens does not fit a context of {longest}")
    room = longest + 1 - len(units)
    over = [max(0, len(reading.tokens) - room) for reading in readings]
    pairs = zip(readings, over, strict=True)
    return [Reading(each.tokens[cut:], None, max(0, each.prefix - cut)) if cut else each for each, cut in pairs]
