"""Prompts -> token ids for every member, checked against their vocabulary and context."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from unisono.errors import RequestError
from unisono.params import SamplingParams
from unisono.sampling.logits_edits import Edits
from unisono.tokens.vocabulary import Vocabulary

Prompt = str | Sequence[int]
PLAIN = "{prompt}"


class Prompts:
    """How text becomes what each member reads.

    Args:
        tokenizer: the members' common one, or None: then prompts are token ids and outputs have no text.
        templates: per member, what it reads instead of the prompt.
        contexts: per member, the most tokens it can hold, or None.
        vocabulary: what the members share.
    """

    def __init__(
        self, tokenizer: Any, templates: Sequence[str], contexts: Sequence[int | None], vocabulary: Vocabulary
    ) -> None:
        self.tokenizer = tokenizer
        self._templates = templates
        self._contexts = contexts
        self.vocabulary = vocabulary
        self._forbidden = frozenset(vocabulary.forbidden)

    def encode(self, prompt: Prompt) -> list[list[int]]:
        """Token ids for each member, at least one.

        Raises:
            RequestError: the prompt is empty, of the wrong kind, or has ids outside the vocabulary.
        """
        if isinstance(prompt, str):
            return [self._encode(template, prompt) for template in self._templates]
        if not _is_tokens(prompt):
            raise RequestError(f"a prompt is a text or a list of token ids, not: {type(prompt).__name__}")
        if any(template != PLAIN for template in self._templates):
            raise RequestError("members with a prompt of their own need text, not token ids")
        ids = [int(token) for token in prompt]
        self._check_ids(ids)
        return [ids for _ in self._templates]

    def negative(self, prompts: list[list[int]], text: str | None) -> list[list[int]]:
        """The prompts with the second member's replaced by a negative prompt.

        Without a text it is the prompt's last token, as in transformers, unless the member has a prompt of its own.

        Raises:
            RequestError: the text cannot be encoded.
        """
        if text is not None:
            return [prompts[0], self._encode(self._templates[1], text), *prompts[2:]]
        return [prompts[0], prompts[0][-1:], *prompts[2:]] if self._templates[1] == PLAIN else prompts

    def split(self, prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
        """One or several prompts -> a list of prompts.

        Raises:
            RequestError: it is neither.
        """
        if isinstance(prompts, str) or (_is_tokens(prompts) and prompts):
            return [prompts]  # type: ignore[list-item]
        if not isinstance(prompts, list | tuple):
            raise RequestError(f"give a prompt or a list of prompts, not: {type(prompts).__name__}")
        return list(prompts)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation, ready for the answer.

        Raises:
            RequestError: there is no chat template, or a message is malformed.
        """
        if self.tokenizer is None or not getattr(self.tokenizer, "chat_template", None):
            raise RequestError("the first member's tokenizer has no chat template; give a plain prompt instead")
        if not isinstance(messages, list | tuple) or not messages:
            raise RequestError(f"a chat is a list of at least one message, not: {messages!r}")
        for message in messages:
            if not isinstance(message, Mapping) or not all(
                isinstance(message.get(k), str) for k in ("role", "content")
            ):
                raise RequestError(f"a message needs a role and a content, both texts, not: {message!r}")
            _require_text(message["content"])
        try:
            text = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise RequestError(f"the chat template refuses these messages: {' '.join(str(error).split())}") from error
        # The template writes special tokens itself
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def pair(self, prompt: str, continuation: str) -> list[tuple[list[int], list[int]]]:
        """Token ids (context, target) per member, split as lm-evaluation-harness does.

        An empty prompt becomes the beginning-of-text token.

        Raises:
            RequestError: the continuation is empty, or the two do not fit a member's context.
        """
        if not isinstance(prompt, str) or not isinstance(continuation, str) or self.tokenizer is None:
            raise RequestError("logprobs takes two texts and members with a tokenizer")
        blanks = len(prompt) - len(prompt.rstrip())
        if blanks and prompt.strip():
            prompt, continuation = prompt[:-blanks], prompt[-blanks:] + continuation
        _require_text(prompt + continuation)
        if not continuation:
            raise RequestError("the continuation is empty; give at least one token to score")
        rows = [self._split_pair(template, prompt, continuation) for template in self._templates]
        if any(target != rows[0][1] for _, target in rows):
            raise RequestError("the members' own prompts make the continuation split differently; move its border")
        if not rows[0][1]:
            raise RequestError(
                "the tokenizer merges the continuation into the last token of the prompt; move its border"
            )
        for (context, target), limit in zip(rows, self._contexts, strict=True):
            self._check_ids(context + target)
            if limit is not None and len(context) + len(target) > limit + 1:
                raise RequestError(
                    f"prompt and continuation are too long: {len(context) + len(target)} tokens for a context of {limit}"
                )
        return rows

    def room(self, prompts: Sequence[Sequence[int]]) -> int:
        """How many tokens can follow, in the member with the least room.

        Raises:
            RequestError: none can.
        """
        sizes = [
            (len(prompt), limit) for prompt, limit in zip(prompts, self._contexts, strict=True) if limit is not None
        ]
        length, limit = min(sizes, key=lambda size: size[1] - size[0], default=(0, 2**31))
        if limit - length < 1:
            raise RequestError(
                f"the prompt is too long: {length} tokens for a context of {limit}, which must hold the output too"
            )
        return limit - length

    def edits(self, params: SamplingParams, ends: frozenset[int]) -> Edits:
        """What the parameters do to logits before the warp.

        Raises:
            RequestError: an option needs a tokenizer and there is none, or names a token outside the vocabulary.
        """
        if self.tokenizer is None and (params.stop or params.bad_words):
            raise RequestError("stop and bad_words need a tokenizer; use stop_token_ids or logit_bias")
        for name in ("stop_token_ids", "allowed_token_ids", "logit_bias"):
            for token in getattr(params, name) or ():
                if token >= self.vocabulary.size:
                    raise RequestError(f"{name} has an id outside the vocabulary of {self.vocabulary.size}: {token}")
        return Edits(
            bias=params.logit_bias,
            allowed=None if params.allowed_token_ids is None else tuple(params.allowed_token_ids),
            banned=tuple(banned for word in params.bad_words for banned in self._spellings(word)),
            min_tokens=params.min_tokens,
            ends=tuple(sorted(ends)),
            repetition=params.repetition_penalty,
            presence=params.presence_penalty,
            frequency=params.frequency_penalty,
            processors=tuple(params.logits_processors),
        )

    def _spellings(self, word: str) -> set[tuple[int, ...]]:
        """The tokens of a word, alone and behind a space."""
        _require_text(word)
        return {tuple(self.tokenizer.encode(text, add_special_tokens=False)) for text in (word, " " + word.lstrip())}

    def _encode(self, template: str, prompt: str) -> list[int]:
        if self.tokenizer is None:
            raise RequestError("these members have no tokenizer; give the prompt as a list of token ids")
        if not prompt:
            raise RequestError("the prompt is empty; give at least one token")
        _require_text(prompt)
        ids: list[int] = self.tokenizer.encode(template.replace(PLAIN, prompt))
        self._check_ids(ids)
        return ids

    def _split_pair(self, template: str, prompt: str, continuation: str) -> tuple[list[int], list[int]]:
        filled = template.replace(PLAIN, prompt)
        if not filled:
            start = self.tokenizer.bos_token_id
            start = self.tokenizer.eos_token_id if start is None else start
            if start is None:
                raise RequestError("an empty prompt needs a tokenizer with a beginning-of-text token")
            return [start], self.tokenizer.encode(continuation, add_special_tokens=False)
        context = self.tokenizer.encode(filled)
        whole = self.tokenizer.encode(filled + continuation)
        return context, whole[len(context) :]

    def _check_ids(self, ids: Sequence[int]) -> None:
        if not ids:
            raise RequestError("the prompt is empty; give at least one token")
        for token in ids:
            if not 0 <= token < self.vocabulary.size or token in self._forbidden:
                raise RequestError(
                    f"the prompt has a token id that not all members know: {token}; ids go to {self.vocabulary.size - 1}"
                )


def _require_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestError(f"a text is not UTF-8: {error.reason} at character {error.start}") from None


def _is_tokens(prompt: object) -> bool:
    return isinstance(prompt, list | tuple) and all(type(token) is int for token in prompt)
