"""The common vocabulary of the members. Two members must not have different tokens at one id. Sizes may differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unisono.errors import VocabularyError

PROBE = "def f(x):\n    return {'naïve': x[0], '日本': 3.14}  # probe\n\nThe quick brown fox, 12345!"


@dataclass(frozen=True)
class Vocabulary:
    """The common vocabulary: the ids from 0 to size - 1.

    forbidden: ids that at least one member does not know. These ids always get probability 0. partial: the tokens that
    only some members know. A warning names these tokens.
    """

    size: int
    forbidden: tuple[int, ...] = ()
    partial: tuple[str, ...] = ()


def common(names: Sequence[str], tokenizers: Sequence[Any], sizes: Sequence[int]) -> Vocabulary:
    """Return the vocabulary that all members share.

    The sizes may differ, because a model may have padding rows, which are logits without a token. Added tokens that
    only some members know get probability 0.

    Args:
        names: the names of the members, for messages.
        tokenizers: one per member; None for every member if prompts are token ids.
        sizes: the number of logits of each member.

    Raises:
        VocabularyError: two members have different tokens at an id; two tokenizers split text differently; only some
            members have a tokenizer; or members without tokenizers have different sizes. The message names the first
            difference.
    """
    without = [name for name, tokenizer in zip(names, tokenizers, strict=True) if tokenizer is None]
    if len(without) == len(names):
        return _unnamed(names, sizes)
    if without:
        raise VocabularyError(
            f"member {without[0]} has no tokenizer, so its tokens cannot be compared; give it one, as in "
            '{"model": model, "tokenizer": tokenizer}'
        )
    members = [_Member(*member) for member in zip(names, tokenizers, sizes, strict=True)]
    for other in members[1:]:
        _require_same(members[0], other)
        _require_same_splits(members[0], other)
    shared = set.intersection(*(set(member.tokens) for member in members))
    size = max(shared) + 1
    partial = {token for member in members for index, token in member.tokens.items() if index not in shared}
    return Vocabulary(size, tuple(sorted(set(range(size)) - shared)), tuple(sorted(partial)))


def _unnamed(names: Sequence[str], sizes: Sequence[int]) -> Vocabulary:
    if len(set(sizes)) > 1:
        found = ", ".join(f"{name} has {size}" for name, size in zip(names, sizes, strict=True))
        raise VocabularyError(
            f"members without tokenizers must have vocabularies of one size: {found}; give tokenizers"
        )
    return Vocabulary(sizes[0])


def _said(token: str | None) -> str:
    return "no token" if token is None else repr(token)


@dataclass(frozen=True)
class _Member:
    name: str
    tokenizer: Any
    size: int

    @cached_property
    def tokens(self) -> dict[int, str]:
        """Return id -> token. Ids without a logit are left out, because the member can never generate these ids."""
        return {index: token for token, index in self.tokenizer.get_vocab().items() if index < self.size}

    @cached_property
    def added(self) -> set[int]:
        return set(self.tokenizer.get_added_vocab().values())

    @cached_property
    def merges(self) -> list[Any]:
        """Return the merge rules of a byte-pair tokenizer; an empty list for other tokenizers."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return json.loads(backend.to_str())["model"].get("merges", []) if backend is not None else []


def _require_same(first: _Member, other: _Member) -> None:
    for index in sorted(first.tokens.keys() | other.tokens.keys()):
        mine, theirs = first.tokens.get(index), other.tokens.get(index)
        optional = (mine is None and index in other.added) or (theirs is None and index in first.added)
        if mine != theirs and not optional:
            raise VocabularyError(
                f"members {first.name} and {other.name} have different vocabularies, first at id {index}: "
                f"{_said(mine)} against {_said(theirs)}; combine models that share a tokenizer"
            )


def _require_same_splits(first: _Member, other: _Member) -> None:
    """Raise VocabularyError if the tokenizers split a test text differently or have different merge rules."""
    pairs = [[each.tokenizer.encode(PROBE, add_special_tokens=False) for each in (first, other)]]
    if first.merges and other.merges:
        pairs.append([first.merges, other.merges])
    for mine, theirs in pairs:
        if mine != theirs:
            both = enumerate(zip([*mine, object()], [*theirs, object()], strict=False))
            step = next(k for k, (a, b) in both if a != b)
            raise VocabularyError(
                f"members {first.name} and {other.name} have the same tokens but split text differently, first at step {step}: "
                f"{mine[step : step + 1]} against {theirs[step : step + 1]}; combine models that share a tokenizer"
            )
