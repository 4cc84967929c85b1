"""Turn prompts into contexts, one per member, and check the tokens and lengths of the prompts."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from unisono.combine.base import Combination
from unisono.errors import RequestError
from unisono.members.base import Context, Member, Reading
from unisono.members.lineup import Lineup
from unisono.members.source import PLAIN
from unisono.params import SamplingParams
from unisono.sampling.logits_edits import Edits
from unisono.sampling.warp import Warp
from unisono.text.encoder import Chat, Encoder
from unisono.text.prefix import Prefixes, shortened
from unisono.tokens.vocabulary import Vocabulary
from unisono.values import integers, kind, listed

Prompt = str | Sequence[int]
UNLIMITED = 2**31


@dataclass(frozen=True)
class Pair:
    """A prompt, and the continuation that is scored: two texts, or two lists of token ids. Token ids get no prefix.

    The prompt may be an empty text, even if the continuation is a list of token ids. longest: the largest number of
    tokens that a member reads. If prompt and continuation are longer, the first tokens of the prompt are removed. If
    `longest` is None, no tokens are removed, and a prompt that is too long raises RequestError.
    """

    prompt: Prompt
    continuation: Prompt
    longest: int | None = None

    def __str__(self) -> str:
        return f"{str(self.prompt)[-30:]!r} + {str(self.continuation)[:30]!r}"


AnyPrompt = Prompt | Chat | Pair


@dataclass(frozen=True)
class Prepared:
    """A prompt that has passed all checks.

    contexts: one per member. units: the units whose scores are returned; empty if text is generated. warp: the warp
    that the decode loop applies. If the members themselves apply the warp of the request, `warp` is softmax or argmax.
    ends: for a conversation, the tokens that end the assistant's turn; else empty. prefixes: for each member, the
    length of its prefix; empty if all members of the combination have the same prefix. added: the length of the first
    member's prefix.
    """

    contexts: tuple[Context, ...]
    units: tuple[int, ...]
    warp: Warp
    ends: frozenset[int] = frozenset()
    prefixes: tuple[int, ...] = ()
    added: int = 0

    @property
    def prefix(self) -> int:
        """Return the length of the first member's prefix; 0 if all members of the combination have the same prefix."""
        return self.prefixes[0] if self.prefixes else 0


class Prompts:
    """Turns prompts into contexts, one per member.

    Args:
        tokenizers: one per member, or None for every member. Without tokenizers, prompts are token ids and outputs have
            no text. The first tokenizer encodes texts and writes conversations. Each tokenizer determines the prefix of
            its member (see the module `prefix`).
        templates: one per member. The user's prompt replaces `{prompt}` in the template.
        lineup: the members, before `restrict` limits them to the common vocabulary.
        vocabulary: the common vocabulary.
    """

    def __init__(
        self, tokenizers: Sequence[Any], templates: Sequence[str], lineup: Lineup, vocabulary: Vocabulary
    ) -> None:
        self.tokenizer = tokenizers[0]
        self._encoder = Encoder(self.tokenizer)
        self.template = self._encoder.template
        self.templates = tuple(templates)
        self.vocabulary = vocabulary
        self._lineup, self._members = lineup, lineup.members
        rows = [member.vocabulary for member in lineup.members]
        self._prefixes = Prefixes(self._encoder, tokenizers, rows, self.templates)
        self._forbidden = frozenset(vocabulary.forbidden)

    def prepare(
        self,
        prompt: AnyPrompt,
        params: SamplingParams | None = None,
        combination: Combination | None = None,
        negative: AnyPrompt | None = None,
    ) -> Prepared:
        """Check a prompt and return it in the form that the members read.

        Args:
            params: determines the warp, and may contain a negative prompt. If units are scored, this warp is not
                applied.
            combination: determines which members read the negative prompt. Without a combination, no member reads it.
            negative: a negative prompt of any kind. It replaces the negative prompt in `params`. If there is no
                negative prompt, a member with the role "negative" reads the last token of the prompt, as in
                transformers. If this member has its own prompt template, the member reads the prompt in this template
                instead.

        Raises:
            RequestError: the prompt is empty, has the wrong type, is too long for a member, or has ids outside the
                vocabulary; or a negative prompt is given but no member reads it.
        """
        readings, units = self._pair(prompt) if isinstance(prompt, Pair) else (self.read(prompt), ())
        differing = self._differing(readings)
        negative = params.negative_prompt if negative is None and params is not None else negative
        readings = self._against(readings, combination, negative)
        warp = Warp() if units or params is None else Warp.of(params)
        for reading in readings:
            self._check_ids(reading.tokens, reading.prefix)
        if units:
            self._check_ids(units)
        pairs = zip(self._members, readings, strict=True)
        contexts = tuple(member.context(reading, warp) for member, reading in pairs)
        if units:
            self._require_room(contexts, units)
        ends = self.turn_ends(prompt.chat_template) if isinstance(prompt, Chat) else frozenset()
        prefixes = tuple(reading.prefix for reading in readings) if differing else ()
        return Prepared(contexts, units, self._lineup.remaining(warp), ends, prefixes, readings[0].prefix)

    def itself(self, prepared: Prepared) -> Prepared | None:
        """Return a `Prepared` for scoring the prompt's own tokens; None if the members read different prompts.

        All tokens after the prefixes are scored, with one exception: if a member has no prefix, the first token of the
        prompt is not scored. Members that only propose tokens may read other prompts. Raise RequestError if the prompt
        is too long.
        """
        contexts, prefixes = prepared.contexts, prepared.prefixes or (0,) * len(prepared.contexts)
        combined = self._lineup.combined
        units = contexts[0].tokens[prepared.prefix :]
        if any(contexts[index].tokens[prefixes[index] :] != units for index in combined):
            return None
        if min(prefixes[index] for index in combined) == 0:
            units = units[1:]
        first = [Reading(context.tokens[: max(1, len(context.tokens) - len(units))]) for context in contexts]
        own = tuple(member.context(each, Warp()) for member, each in zip(self._members, first, strict=True))
        self._require_room(own, units)
        return Prepared(own, units, Warp())

    def read(self, prompt: AnyPrompt) -> list[Reading]:
        """Return each member's `Reading` of a prompt; raise RequestError for a wrong type or an empty text."""
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise RequestError("these members have no tokenizer; give the prompt as a list of token ids")
            return self._prefixes.text(prompt)
        ids = self._encoder.chat(prompt) if isinstance(prompt, Chat) else integers(prompt)
        if ids is None:
            raise RequestError(f"a prompt is a text or a list of token ids, not: {kind(prompt)}")
        if any(template != PLAIN for template in self.templates):
            raise RequestError("members with a prompt of their own need text, not token ids")
        tokens = tuple(ids)
        return self._prefixes.chat(tokens) if isinstance(prompt, Chat) else [Reading(tokens)] * len(self.templates)

    def ids(self, prompt: AnyPrompt) -> list[int]:
        """Return the token ids that the first member reads for a text or a conversation. Raise the errors of `read`."""
        if isinstance(prompt, Chat):
            return list(self._encoder.chat(prompt))
        return list(self.read(prompt)[0].tokens)

    def turn_ends(self, template: str | None = None) -> frozenset[int]:
        """Return the tokens that end the assistant's turn in a chat template and are in the common vocabulary."""
        return frozenset(end for end in self.template.ends(template) if end < self.vocabulary.size)

    def split(self, prompts: Prompt | Chat | Sequence[Prompt | Chat]) -> tuple[list[Any], bool]:
        """Return a list of prompts, and whether `prompts` was a single prompt: a text, a chat or a list of token ids.

        Raise RequestError if `prompts` is neither a prompt nor a list.
        """
        found = [prompts] if isinstance(prompts, str | Chat) else listed(prompts)
        if found is None or isinstance(prompts, Set):
            raise RequestError(f"give a prompt or a list of prompts, not: {type(prompts).__name__}")
        ids = integers(found)
        return ([ids] if ids else found), isinstance(prompts, str | Chat) or bool(ids)

    def room(self, contexts: Sequence[Context]) -> int:
        """Return how many units each member can read after its context. Raise RequestError if the number is 0."""
        found = [(member.room(context, ()), member, context) for member, context in self._with(contexts)]
        room, member, context = min(found, key=lambda each: UNLIMITED if each[0] is None else each[0])
        if room is not None and room < 1:
            raise RequestError(
                f"the prompt is too long: {context.size} tokens for a context of {member.context_length}, which must hold "
                "the output too"
            )
        return UNLIMITED if room is None else room

    def edits(self, params: SamplingParams, ends: frozenset[int]) -> Edits:
        """Return an `Edits` object with the parameters that change logits. `ends` are the tokens that end the text.

        Raise RequestError if a token is outside the vocabulary, or if a parameter needs a tokenizer but none exists.
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
            banned=tuple(banned for word in params.bad_words for banned in self._encoder.spellings(word)),
            min_tokens=params.min_tokens,
            ends=tuple(sorted(ends)),
            repetition=params.repetition_penalty,
            presence=params.presence_penalty,
            frequency=params.frequency_penalty,
            processors=tuple(params.logits_processors),
        )

    def _with(self, contexts: Sequence[Context]) -> Iterator[tuple[Member, Context]]:
        return zip(self._members, contexts, strict=True)

    def _differing(self, readings: Sequence[Reading]) -> bool:
        combined = [readings[index] for index in self._lineup.combined]
        return len({each.tokens[: each.prefix] for each in combined}) > 1

    def _against(
        self, readings: list[Reading], combination: Combination | None, negative: AnyPrompt | None
    ) -> list[Reading]:
        """Give each member with the role "negative" its `Reading` of the negative prompt. Return all readings."""
        roles = () if combination is None else combination.prompts
        if "negative" not in roles:
            if negative is not None:
                name = "these members" if combination is None else combination.name
                raise RequestError(f"negative_prompt has no use with {name}; use guidance or context_aware")
            return readings
        found = []
        for place, (reading, role) in enumerate(zip_longest(readings, roles)):
            if role != "negative":
                found.append(reading)
            elif negative is not None:
                found.append(self.read(negative)[place])
            else:
                shared = self.templates[place] in (PLAIN, self.templates[0])
                found.append(Reading(readings[0].tokens[-1:]) if shared else reading)
        return found

    def _pair(self, pair: Pair) -> tuple[list[Reading], tuple[int, ...]]:
        """Return each member's `Reading` of the prompt, and the units to score."""
        prompt, continuation = pair.prompt, pair.continuation
        units: list[int] | tuple[int, ...] | None
        empty = isinstance(prompt, str) and not prompt and self.tokenizer is not None
        if not isinstance(continuation, str) and (empty or not isinstance(prompt, str)):
            units = integers(continuation)
            if units is None:
                raise RequestError(f"a continuation is a text or a list of token ids, not: {kind(continuation)}")
            if not units:
                raise RequestError("the continuation is empty; give at least one token to score")
            readings = self._prefixes.empty() if empty else self.read(prompt)
        elif isinstance(prompt, str) and isinstance(continuation, str) and self.tokenizer is not None:
            readings, units = self._prefixes.pair(prompt, continuation)
        else:
            raise RequestError("logprobs takes two lists of token ids, or two texts and members with a tokenizer")
        return (readings if pair.longest is None else shortened(readings, units, pair.longest)), tuple(units)

    def _require_room(self, contexts: Sequence[Context], units: Sequence[int]) -> None:
        for member, context in self._with(contexts):
            room = member.room(context, units[:-1])  # the last unit is scored but not read
            if room is not None and room < 0:
                raise RequestError(
                    f"prompt and continuation are too long: {context.size + len(units)} tokens for a context of "
                    f"{member.context_length}"
                )

    def _check_ids(self, ids: Sequence[int], prefix: int = 0) -> None:
        """Raise RequestError if there are no ids, or if a member does not know an id.

        The first `prefix` ids are not checked.
        """
        if not ids:
            raise RequestError("the prompt is empty; give at least one token")
        for token in ids[prefix:]:
            if not 0 <= token < self.vocabulary.size or token in self._forbidden:
                raise RequestError(
                    f"the prompt has a token id that not all members know: {token}; ids go to {self.vocabulary.size - 1}"
                )
