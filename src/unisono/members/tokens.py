"""A base class for members that read token ids and whose slots can be rolled back to any length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from unisono.frozen import quick
from unisono.members.base import Context, Reading, Work
from unisono.sampling.warp import Warp
from unisono.transfer import Token


@quick
@dataclass(frozen=True)
class Append:
    """One or more tokens to append to a slot. Scores are returned after each of the last `keep` (0 or more) tokens."""

    slot: int
    tokens: Sequence[Token]
    keep: int
    features: bool = False


class TokenMember:
    """A base class that implements the methods of `Member` that manage slots and contexts.

    When a subclass reads a token of a slot, the subclass must append the token to the list `_slots[slot]`. A subclass
    that does not use `_slots` overrides `_open`, `_fork`, `_close`, `_held` and `_cut`.
    """

    context_length: int | None
    width = 0
    warps = False
    sampling: Mapping[str, Any] = MappingProxyType({})

    def __init__(self) -> None:
        self._contexts: dict[int, Context] = {}  # open slot -> context
        self._slots: dict[int, list[Any]] = {}  # open slot -> tokens

    def context(self, reading: Reading, warp: Warp) -> Context:
        return Context(len(reading.tokens), reading.tokens)

    def room(self, context: Context, text: Sequence[int]) -> int | None:
        return None if self.context_length is None else self.context_length - context.size - len(text)

    def places(self, context: Context, units: int) -> int:
        return context.size + units

    def open(self, context: Context) -> int:
        slot = self._open()
        self._contexts[slot] = context
        return slot

    def fork(self, slot: int) -> int:
        copy = self._fork(slot)
        self._contexts[copy] = self._contexts[slot]
        return copy

    def close(self, slot: int) -> None:
        self._close(slot)
        self._contexts.pop(slot, None)

    def release(self) -> None:
        """Do nothing, because closing a slot already frees its memory."""

    def unread(self, slot: int) -> int:
        return max(0, self._contexts[slot].size - self._held(slot))

    def length(self, slot: int) -> int:
        return max(0, self._held(slot) - self._contexts[slot].size)

    def rewind(self, slot: int, length: int) -> None:
        if length < self.length(slot):
            self._cut(slot, self._contexts[slot].size + length)

    def _append(self, work: Work) -> Append:
        """Return the tokens to append for a work item: first tokens of the context, then the units of the item.

        A work item may need the scores after the context although the slot already holds the whole context. In this
        case, the last token of the context is removed from the slot and appended again.
        """
        context, held = self._contexts[work.slot], self._held(work.slot)
        pieces = context.tokens[held : held + work.read]
        if work.keep > len(work.tokens) and not pieces:
            pieces = context.tokens[-1:]
            self._cut(work.slot, context.size - 1)
        return Append(work.slot, (*pieces, *work.tokens), work.keep, work.features)

    def _open(self) -> int:
        slot = max(self._slots, default=0) + 1
        self._slots[slot] = []
        return slot

    def _fork(self, slot: int) -> int:
        copy = self._open()
        self._slots[copy] = list(self._slots[slot])
        return copy

    def _close(self, slot: int) -> None:
        """Free the slot. If the slot is not open, do nothing."""
        self._slots.pop(slot, None)

    def _held(self, slot: int) -> int:
        """Return how many tokens the slot holds, including the context."""
        return len(self._slots[slot])

    def _cut(self, slot: int, count: int) -> None:
        """Remove all tokens of the slot after the first `count` tokens."""
        del self._slots[slot][count:]
