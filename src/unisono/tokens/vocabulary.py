"""The common vocabulary of the members. Their tokens are compared by content, not by their count."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.errors import VocabularyError

PROBE = "def f(x):\n    return {'naïve': x[0], '日本': 3.14}  # probe\n\nThe quick brown fox, 12345!"


@dataclass(frozen=True)
class Vocabulary:
    """The common vocabulary: ids 0 .. size - 1. The `forbidden` ids get no probability.

    `partial` lists the tokens that only some members know, for a warning.
    """

    size: int
    forbidden: tuple[int, ...] = ()
    partial: tuple[str, ...] = ()


def common(names: Sequence[str], tokenizers: Sequence[Any], sizes: Sequence[int]) -> Vocabulary:
    """Return the vocabulary that all members share.

    Sizes may differ by padding rows. Added tokens that only some members know get no probability.

    Args:
        names: of the members, for messages.
        tokenizers: one per member; None if prompts are token ids.
        sizes: number of logits of each member.

    Raises:
        VocabularyError: an id is a different token for two members; the message names the first such id.
    """
    without = [name for name, tokenizer in zip(names, tokenizers, strict=True) if tokenizer is None]
    if len(without) == len(names):
        return _unnamed(names, sizes)
    if without:
        raise VocabularyError(
            f"member {without[0]} has no tokenizer, so its tokens cannot be compared; give it one, as in "
            '{"model": model, "tokenizer": tokenizer}'
        )
    tables = [_table(tokenizer, size) for tokenizer, size in zip(tokenizers, sizes, strict=True)]
    merges = [_merges(tokenizer) for tokenizer in tokenizers] if len(tokenizers) > 1 else []
    added = [set(tokenizer.get_added_vocab().values()) for tokenizer in tokenizers]
    for other in range(1, len(names)):
        _require_same(names[0], tables[0], added[0], names[other], tables[other], added[other])
        _require_same_splits(names[0], tokenizers[0], names[other], tokenizers[other], merges[0], merges[other])
    shared = set.intersection(*(set(table) for table in tables))
    size = max(shared) + 1
    partial = sorted({token for table in tables for index, token in table.items() if index not in shared})
    return Vocabulary(size, tuple(sorted(set(range(size)) - shared)), tuple(partial))


def _unnamed(names: Sequence[str], sizes: Sequence[int]) -> Vocabulary:
    if len(set(sizes)) > 1:
        found = ", ".join(f"{name} has {size}" for name, size in zip(names, sizes, strict=True))
        raise VocabularyError(
            f"members without tokenizers must have vocabularies of one size: {found}; give tokenizers"
        )
    return Vocabulary(sizes[0])


def _said(token: str | None) -> str:
    return "no token" if token is None else repr(token)


def _table(tokenizer: Any, size: int) -> dict[int, str]:
    """Return id -> token. Ids without logits can never be generated and are left out."""
    return {index: token for token, index in tokenizer.get_vocab().items() if index < size}


def _require_same(
    name: str,
    table: Mapping[int, str],
    added: set[int],
    other_name: str,
    other: Mapping[int, str],
    other_added: set[int],
) -> None:
    for index in sorted(table.keys() | other.keys()):
        mine, theirs = table.get(index), other.get(index)
        optional = (mine is None and index in other_added) or (theirs is None and index in added)
        if mine != theirs and not optional:
            raise VocabularyError(
                f"members {name} and {other_name} have different vocabularies, first at id {index}: "
                f"{_said(mine)} against {_said(theirs)}; combine models that share a tokenizer"
            )


def _require_same_splits(
    name: str, tokenizer: Any, other_name: str, other: Any, merges: list[Any], other_merges: list[Any]
) -> None:
    """Raise VocabularyError if two tokenizers with the same tokens split a test text differently or merge differently."""
    pairs = [(tokenizer.encode(PROBE, add_special_tokens=False), other.encode(PROBE, add_special_tokens=False))]
    if merges and other_merges:
        pairs.append((merges, other_merges))
    for mine, theirs in pairs:
        if mine != theirs:
            ends = (object(),)
            first = next(k for k, (a, b) in enumerate(zip([*mine, *ends], [*theirs, *ends], strict=False)) if a != b)
            raise VocabularyError(
                f"members {name} and {other_name} have the same tokens but split text differently, first at step {first}: "
                f"{mine[first : first + 1]} against {theirs[first : first + 1]}; combine models that share a tokenizer"
            )


def _merges(tokenizer: Any) -> list[Any]:
    """Return the merge rules of a byte-pair tokenizer; an empty list for other tokenizers."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return json.loads(backend.to_str())["model"].get("merges", []) if backend is not None else []
