"""Encode texts and conversations as token ids with the members' common tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.errors import RequestError
from unisono.text.template import Template


@dataclass(frozen=True)
class Chat:
    """A conversation that the members answer. Two options that contradict each other raise RequestError.

    messages: mappings with a role and a content. The content is a text or a list of text parts. chat_template: the name
    of one of the tokenizer's templates, or a template in Jinja. chat_template_kwargs: variables for the template, for
    example `enable_thinking`. continue_final_message: whether the members continue the last message instead of starting
    a new message. add_generation_prompt: whether to write the beginning of the assistant's turn after the messages.
    The default is the opposite of `continue_final_message`.
    """

    messages: Sequence[Mapping[str, Any]]
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    continue_final_message: bool = False
    add_generation_prompt: bool | None = None

    def __post_init__(self) -> None:
        if self.continue_final_message and self.add_generation_prompt:
            raise RequestError("continue_final_message and add_generation_prompt exclude each other; give one of them")
        if self.chat_template is not None and not isinstance(self.chat_template, str):
            raise RequestError(f"chat_template must be a text, not: {self.chat_template!r}")

    @property
    def opened(self) -> bool:
        """Return whether the beginning of the assistant's turn is written after the messages."""
        return not self.continue_final_message if self.add_generation_prompt is None else self.add_generation_prompt


class Encoder:
    """Encodes texts and conversations. Every method raises RequestError for a text without a UTF-8 encoding.

    Args:
        tokenizer: a tokenizer of transformers, or None. Without a tokenizer, texts cannot be encoded.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.template = Template(tokenizer)

    def text(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text. No special tokens are added."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError(f"a text is not UTF-8: {error.reason} at character {error.start}") from None
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def spellings(self, word: str) -> set[tuple[int, ...]]:
        """Return the token ids of two texts: the word as given, and the word with exactly one space in front."""
        return {self.text(text) for text in (word, " " + word.lstrip())}

    def chat(self, chat: Chat) -> tuple[int, ...]:
        """Return the token ids of a conversation. Raise RequestError if `Template.write` raises RequestError."""
        text = self.template.write(
            chat.messages,
            chat.chat_template,
            opening=chat.opened,
            continued=chat.continue_final_message,
            variables=chat.chat_template_kwargs,
        )
        return self.text(text)
