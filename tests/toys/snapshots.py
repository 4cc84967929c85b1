"""A member whose state cannot be cut: it is kept where all that was read is committed, and read on from there."""

from collections.abc import Sequence
from dataclasses import replace

from tests.core.helpers import HistoryMember
from unisono.members.base import Scores, Work
from unisono.members.tokens import Append


class SnapshotMember(HistoryMember):
    """`rewind` goes back to the last kept state, or to an empty slot, which has lost its context.

    lost: how many units `rewind` dropped that were to be kept.
    """

    lost = 0

    def __init__(self, *options: object) -> None:
        super().__init__(*options)  # type: ignore[arg-type]
        self._kept: dict[int, int] = {}  # how many tokens the state is of that each slot keeps

    def rewind(self, slot: int, length: int) -> None:
        if length < self.length(slot):
            wanted = self._contexts[slot].size + length
            kept = self._kept.get(slot, 0)
            self._cut(slot, kept if kept <= wanted else 0)
            self.lost += wanted - self._held(slot)

    def score(self, work: Sequence[Work]) -> list[Scores]:
        for item in work:
            if self.length(item.slot) <= item.committed:  # no rewind goes below, except to 0
                self._kept[item.slot] = self._held(item.slot)
        return super().score(work)

    def _append(self, work: Work) -> Append:
        if work.keep > len(work.tokens) and not self.unread(work.slot):
            self._cut(work.slot, 0)
            work = replace(work, read=self._contexts[work.slot].size)
        return super()._append(work)
