"""The slots of a row: one slot in each member's KV cache. A member reads its context into the slot, then the text."""

from collections.abc import Sequence

from unisono.decoding.frontier import Frontier
from unisono.members.base import Context, Work
from unisono.members.lineup import Lineup

CHUNK = 256  # maximum of tokens that a row reads in one step: a long prompt must not delay other rows


class Slots:
    """The slots of one row. At first, no slot is open.

    Args:
        contexts: for each member, the context that it reads before the text.
        features: the members that must return hidden states.
    """

    def __init__(self, lineup: Lineup, contexts: Sequence[Context], features: Sequence[int] = ()) -> None:
        self._members, self._contexts, self._features = lineup.members, contexts, features
        self._slots: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._slots)

    def open(self, sibling: "Slots | None" = None) -> None:
        """Open a slot in every member. If one member raises an error, close all slots and raise this error.

        Args:
            sibling: the slots of another row with the same contexts. The new slots are copies without the text.
        """
        try:
            for index, member in enumerate(self._members):
                if sibling is None:
                    self._slots.append(member.open(self._contexts[index]))
                else:
                    self._slots.append(member.fork(sibling._slots[index]))
                    member.rewind(self._slots[-1], 0)
        except BaseException:
            self.close()
            raise

    def inherit(self, other: "Slots") -> None:
        """Take the slots of an ended row with the same contexts."""
        self._slots, other._slots = other._slots, []
        for member, slot in zip(self._members, self._slots, strict=True):
            member.rewind(slot, 0)

    def cut(self, length: int) -> None:
        """Remove all tokens after the first `length` tokens of the text from the slots."""
        for member, slot in zip(self._members, self._slots, strict=True):
            if member.length(slot) > length:
                member.rewind(slot, length)

    def close(self) -> None:
        for member, slot in zip(self._members, self._slots, strict=False):
            member.close(slot)
        self._slots = []

    def work(self, index: int, frontier: Frontier, positions: int) -> Work | None:
        """Return the member's work to score the first `positions` open positions; None if the member has scored them.

        A long context is read in several steps. Tokens that must be read again are first removed from the slot.
        """
        keep = positions - frontier.scored(index)
        if keep <= 0:
            return None
        member, slot = self._members[index], self._slots[index]
        end = frontier.position + positions - 1
        length = member.length(slot)
        if length > max(0, end - keep):  # the token before the first position to score must be unread
            member.rewind(slot, max(0, end - keep))
            length = member.length(slot)
        unread = member.unread(slot)
        if unread > CHUNK:
            return Work(slot, CHUNK)
        units = frontier.units(length, end)
        if len(units) > max(CHUNK, keep):  # the member has not run for many tokens
            units, keep = units[: max(1, min(CHUNK, len(units) - keep))], 0
        return Work(slot, unread, units, keep, frontier.position, index in self._features)
