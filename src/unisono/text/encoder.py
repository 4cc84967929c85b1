"""Texts and conversations as token ids, by the members' common tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.errors import RequestError
from unisono.text.template import Template


@dataclass(frozen=True)
class Chat:
    """A conversation that the members are to answer.

    messages: each with a role and a content, which is a text or a list of text parts. chat_template: the name of one of the
    tokenizer's templates, or a text in Jinja. chat_template_kwargs: variables of the template, as `enable_thinking`.
    continue_final_message: the last message is left open and continued. add_generation_prompt: whether the beginning of the
    assistant's turn is written; None: unless the last message is continued.

    Raises:
        RequestError: the options contradict each other.
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
        """Whether the beginning of the assistant's turn is written."""
        return not self.continue_final_message if self.add_generation_prompt is None else self.add_generation_prompt


class Encoder:
    """See the module. Every method raises RequestError for a text that is not UTF-8.

    Args:
        tokenizer: of transformers; None for members that have none, which know no texts.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.template = Template(tokenizer)

    def text(self, text: str) -> tuple[int, ...]:
        """Ids of a text, without those that the tokenizer adds."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError(f"a text is not UTF-8: {error.reason} at character {error.start}") from None
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def spellings(self, word: str) -> set[tuple[int, ...]]:
        """The tokens of a word, alone and behind a space."""
        return {self.text(text) for text in (word, " " + word.lstrip())}

    def chat(self, chat: Chat) -> tuple[int, ...]:
        """Ids of a conversation, ready for the answer.

        Raises:
            RequestError: there is no such chat template, it refuses the messages, or a message is malformed.
        """
        text = self.template.write(
            chat.messages,
            chat.chat_template,
            opening=chat.opened,
            continued=chat.continue_final_message,
            variables=chat.chat_template_kwargs,
        )
        return self.text(text)
