"""Texts and conversations as token ids, by the members' common tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from unisono.errors import RequestError


@dataclass(frozen=True)
class Chat:
    """A conversation that the members are to answer, as messages with a role and a content."""

    messages: Sequence[Mapping[str, str]]


class Encoder:
    """See the module. Every method raises RequestError for a text that is not UTF-8.

    Args:
        tokenizer: of transformers; None for members that have none, which know no texts.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def text(self, text: str, special: bool = True) -> tuple[int, ...]:
        """Ids of a text; `special`: with those that the tokenizer adds, which a chat template writes itself."""
        _require_text(text)
        return tuple(self._tokenizer.encode(text, add_special_tokens=special))

    def spellings(self, word: str) -> set[tuple[int, ...]]:
        """The tokens of a word, alone and behind a space."""
        return {self.text(text, special=False) for text in (word, " " + word.lstrip())}

    def chat(self, chat: Chat) -> tuple[int, ...]:
        """Ids of a conversation, ready for the answer.

        Raises:
            RequestError: there is no chat template, it refuses the messages, or a message is malformed.
        """
        if self._tokenizer is None or not getattr(self._tokenizer, "chat_template", None):
            raise RequestError("the first member's tokenizer has no chat template; give a plain prompt instead")
        messages = chat.messages
        if not isinstance(messages, list | tuple) or not messages:
            raise RequestError(f"a chat is a list of at least one message, not: {messages!r}")
        for message in messages:
            _require_message(message)
        try:
            text = self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise RequestError(f"the chat template refuses these messages: {' '.join(str(error).split())}") from error
        return self.text(text, special=False)


def _require_message(message: object) -> None:
    if not isinstance(message, Mapping) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
        raise RequestError(f"a message needs a role and a content, both texts, not: {message!r}")
    _require_text(message["content"])


def _require_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestError(f"a text is not UTF-8: {error.reason} at character {error.start}") from None
