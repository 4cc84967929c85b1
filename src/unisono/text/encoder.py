"""Texts and conversations as token ids, by the members' common tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.errors import RequestError
from unisono.members.base import Reading
from unisono.text.template import Template


@dataclass(frozen=True)
class Chat:
    """A conversation that the members are to answer: messages with a role, and a content that is a text or text parts."""

    messages: Sequence[Mapping[str, Any]]


class Encoder:
    """See the module. Every method raises RequestError for a text that is not UTF-8.

    Args:
        tokenizer: of transformers; None for members that have none, which know no texts.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.template = Template(tokenizer)

    def text(self, text: str, special: bool = True) -> tuple[int, ...]:
        """Ids of a text; `special`: with those that the tokenizer adds, which a chat template writes itself."""
        _require_text(text)
        return tuple(self._tokenizer.encode(text, add_special_tokens=special))

    def spellings(self, word: str) -> set[tuple[int, ...]]:
        """The tokens of a word, alone and behind a space."""
        return {self.text(text, special=False) for text in (word, " " + word.lstrip())}

    def pair(self, prompt: str, continuation: str) -> tuple[Reading, tuple[int, ...]]:
        """A prompt, and the ids of what continues it: the two are encoded together.

        An empty prompt becomes the beginning-of-text token.
        """
        if not prompt:
            start = self._tokenizer.bos_token_id
            start = self._tokenizer.eos_token_id if start is None else start
            if start is None:
                raise RequestError("an empty prompt needs a tokenizer with a beginning-of-text token")
            return Reading((start,), ""), self.text(continuation, special=False)
        _require_text(prompt + continuation)
        context = self.text(prompt)
        return Reading(context, prompt), self.text(prompt + continuation)[len(context) :]

    def chat(self, chat: Chat) -> tuple[int, ...]:
        """Ids of a conversation, ready for the answer.

        Raises:
            RequestError: there is no chat template, it refuses the messages, or a message is malformed.
        """
        text = self.template.write(chat.messages)
        return self.text(text, special=False)


def _require_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestError(f"a text is not UTF-8: {error.reason} at character {error.start}") from None
