"""The slots of a row: one in every member. A member reads the row's context into its slot first, and then the text."""

from collections.abc import Sequence

from unisono.decoding.frontier import Frontier
from unisono.members.base import Context, Work
from unisono.members.lineup import Lineup

CHUNK = 256  # the most pieces of a context that a row reads in one step, so that a long one does not stall the others


class Slots:
    """The slots of one row. None is open at first.

    Args:
        contexts: per member, what it reads before the text.
        features: the members that are asked for hidden states.
    """

    def __init__(self, lineup: Lineup, contexts: Sequence[Context], features: Sequence[int] = ()) -> None:
        self._members, self._contexts, self._features = lineup.members, contexts, features
        self._slots: list[int] = []

    def __bool__(self) -> bool:
        """Whether the slots are open."""
        return bool(self._slots)

    def open(self, sibling: "Slots | None" = None) -> None:
        """Open a slot in every member, or in none if one of them fails.

        Args:
            sibling: open slots with the same contexts; the new slots are copies of these, with the text removed.
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
        """Take over the slots of a row with the same contexts that has ended."""
        self._slots, other._slots = other._slots, []
        for member, slot in zip(self._members, self._slots, strict=True):
            member.rewind(slot, 0)

    def cut(self, length: int) -> None:
        """Remove what the members have read beyond the first `length` tokens: another token stands there now."""
        for member, slot in zip(self._members, self._slots, strict=True):
            if member.length(slot) > length:
                member.rewind(slot, length)

    def close(self) -> None:
        """Close the slots."""
        for member, slot in zip(self._members, self._slots, strict=False):
            member.close(slot)
        self._slots = []

    def work(self, index: int, frontier: Frontier, positions: int) -> Work | None:
        """Return what a member must do to score the first open positions; None if it has scored them.

        A long context is read in several steps, which do not depend on the text. If the slot holds tokens of a draft that
        was cut, the member is rewound first.
        """
        keep = positions - frontier.scored(index)
        if keep <= 0:
            return None
        member, slot = self._members[index], self._slots[index]
        end = frontier.position + positions - 1
        if member.length(slot) > max(0, end - keep):  # the unit in front of the first position to score is to be read
            member.rewind(slot, max(0, end - keep))
        unread = member.unread(slot)
        if unread > CHUNK:
            return Work(slot, CHUNK)
        units = frontier.units(member.length(slot), end)
        if len(units) > max(CHUNK, keep):  # the member was not needed for long
            units, keep = units[: max(1, min(CHUNK, len(units) - keep))], 0
        return Work(slot, unread, units, keep, frontier.position, index in self._features)
