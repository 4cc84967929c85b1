"""A member whose contexts are texts: it reads characters, as many as its own opening makes them, and warps by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor

from unisono.members.base import Context, Reading, Scores, Work
from unisono.sampling.warp import Warp

STATES = 257


@dataclass(frozen=True)
class TextContext(Context):
    """text: what is read, a piece per character. warp: of the row."""

    text: str = ""
    warp: Warp = field(default_factory=Warp)


@dataclass
class TextSlot:
    """read: how many characters were read. units: behind the text."""

    context: TextContext
    read: int
    units: tuple[int, ...] = ()


class TextMember:
    """Its law depends on every character that it reads and on every unit behind them.

    Args:
        opening: what it reads in front of every prompt.
    """

    width, warps, device, keeps = 0, True, "cpu", False
    end_ids: frozenset[int] = frozenset()
    context_length: int | None = None
    sampling: Mapping[str, float] = MappingProxyType({})

    def __init__(self, opening: str, vocabulary: int = 3, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        masses = -torch.rand(STATES, vocabulary, generator=generator, dtype=torch.float64).log()
        self._laws, self._opening = masses / masses.sum(-1, keepdim=True), opening
        self.name, self.vocabulary, self.parameters = f"reads {opening!r}", vocabulary, 1 + seed
        self._slots: dict[int, TextSlot] = {}
        self._opened = 0

    @property
    def facts(self) -> Mapping[str, str]:
        return {"architecture": "texts"}

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        assert vocabulary == self.vocabulary
        assert not forbidden

    def context(self, reading: Reading, warp: Warp) -> TextContext:
        text = self._text(reading.tokens) if reading.text is None else self._opening + reading.text
        return TextContext(len(text), reading.tokens, text, warp)

    def room(self, context: Context, text: Sequence[int]) -> int | None:
        return None

    def places(self, context: Context, units: int) -> int:
        return context.size + 2 * units  # a unit may take several places

    def memory(self, slots: int, places: int) -> int:
        return slots * places

    def open(self, context: Context) -> int:
        assert isinstance(context, TextContext)
        self._opened += 1
        self._slots[self._opened] = TextSlot(context, 0)
        return self._opened

    def fork(self, slot: int) -> int:
        self._opened += 1
        self._slots[self._opened] = replace(self._slots[slot])
        return self._opened

    def close(self, slot: int) -> None:
        self._slots.pop(slot, None)

    def release(self) -> None:
        pass

    def unread(self, slot: int) -> int:
        return self._slots[slot].context.size - self._slots[slot].read

    def length(self, slot: int) -> int:
        return len(self._slots[slot].units)

    def rewind(self, slot: int, length: int) -> None:
        self._slots[slot].units = self._slots[slot].units[:length]

    def score(self, work: Sequence[Work]) -> list[Scores]:
        return [self._scored(item) for item in work]

    def law(self, prefix: Sequence[int]) -> Tensor:
        """The law [V] behind a prompt of one token and the units that follow it, without a warp."""
        return self._law(self._text(prefix[:1]), prefix[1:])

    def _scored(self, work: Work) -> Scores:
        slot = self._slots[work.slot]
        slot.read = min(slot.context.size, slot.read + work.read)
        assert slot.read == slot.context.size or not (work.tokens or work.keep)
        slot.units += tuple(int(token) for token in work.tokens)
        ends = range(len(slot.units) - work.keep + 1, len(slot.units) + 1)
        laws = [self._law(slot.context.text, slot.units[:end]) for end in ends]
        raw = torch.stack(laws) if laws else self._laws[:0]
        greedy = slot.context.warp.greedy
        return Scores(raw.log() if greedy else slot.context.warp(raw.log()).log(), raw=raw)

    def _text(self, tokens: Sequence[int]) -> str:
        return self._opening + " ".join(f"token {token}" for token in tokens)

    def _law(self, text: str, units: Sequence[int]) -> Tensor:
        state = 0
        for code in (*text.encode(), *units):
            state = (31 * state + code + 1) % STATES
        return self._laws[state]
