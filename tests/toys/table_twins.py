"""Table members that share slots: `score` of either takes work of all, as with transformers members of one model."""

from collections.abc import Sequence

from tests.core.helpers import HistoryMember
from unisono.members.base import Context, Scores, Work


class TwinMember(HistoryMember):
    """One of several members with one law and one set of slots; each has contexts of its own.

    alone: whether `score` refuses work of other twins.
    """

    def __init__(self, *options: object) -> None:
        super().__init__(*options)  # type: ignore[arg-type]
        self.owners: dict[int, str] = {}  # of slots
        self.together: list[list[str]] = []  # per call of any twin, whose slots were scored

    @classmethod
    def pair(cls, vocabulary: int, seed: int, offset: int = 1) -> "list[TwinMember]":
        """Two twins. The second one reads another prompt: all tokens of its context are shifted by `offset`."""
        first = cls.random(vocabulary, seed, "first")
        assert isinstance(first, cls)
        second = ShiftedMember(first.laws(), "second")
        second.offset = offset
        for name in ("_slots", "_contexts", "calls", "owners", "together"):
            setattr(second, name, getattr(first, name))
        return [first, second]

    def open(self, context: Context) -> int:
        slot = super().open(context)
        self.owners[slot] = self.name
        return slot

    def fork(self, slot: int) -> int:
        copy = super().fork(slot)
        self.owners[copy] = self.owners[slot]
        return copy

    def score(self, work: Sequence[Work]) -> list[Scores]:
        self.together.append([self.owners[item.slot] for item in work])
        return super().score(work)


class ShiftedMember(TwinMember):
    """The second twin."""

    offset = 1

    def context(self, reading, warp):  # type: ignore[no-untyped-def]
        found = super().context(reading, warp)
        return Context(found.size, tuple((token + self.offset) % self.vocabulary for token in found.tokens))

    def law(self, prefix):  # type: ignore[no-untyped-def]
        first = (prefix[0] + self.offset) % self.vocabulary
        return super().law((first, *prefix[1:]))
