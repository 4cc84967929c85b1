"""What the engine needs of a language model, and nothing else.

A member keeps one cache per *slot*, a number that it hands out in `open`. A slot belongs to a context, which the member
reads first; the units of one text follow it. A unit is one symbol of the law: a token id, unless members are combined in
another unit. A member does not know which units are committed and which are proposals: that is the frontier's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from unisono.sampling.warp import Warp
from unisono.transfer import Token


@dataclass(frozen=True)
class Reading:
    """What a member is asked to read.

    tokens: in units of the law. text: what they were split from; None where a user gave token ids. prefix: how many of the
    first tokens are the member's own, as its tokenizer puts them in front.
    """

    tokens: tuple[int, ...]
    text: str | None = None
    prefix: int = 0


@dataclass(frozen=True)
class Context:
    """What a member reads before the text, in the form that it reads it. A backend's own kind may hold more.

    Members with equal contexts read the same.

    size: in pieces, of which each takes a place in the member's cache. tokens: the same in units of the law, for penalties
    and look-ups.
    """

    size: int
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Work:
    """What one slot does in one call.

    read: first read at least so many pieces of the context, or what is left of it; what cannot be cut is read whole. tokens:
    then append these units; the context must have been read. A token that was just drafted may still be on a device:
    `transfer.token_tensor` makes one tensor of both kinds. keep: return the scores of the last so many positions, up to
    the one behind the last unit: at most one per unit, and one more where the slot held no unit. committed: how many units
    of the row are committed; no later `rewind` goes below that, except to 0. features: hidden states are asked for.
    """

    slot: int
    read: int = 0
    tokens: Sequence[Token] = ()
    keep: int = 0
    committed: int = 0
    features: bool = False


@dataclass(frozen=True)
class Scores:
    """What a member says at the kept positions.

    logits: [keep, V], float32 or float64, -inf for units that this member can never produce. raw: [keep, V], the law at
    temperature 1 without any warp, from a member that warps by itself; None if that is the softmax of the logits.
    features: [keep, D], hidden states, where they were asked for. wanted: [keep], the units that a member which warps by
    itself prefers at temperature 0.
    """

    logits: Tensor
    raw: Tensor | None = None
    features: Tensor | None = None
    wanted: Tensor | None = None


class Member(Protocol):
    """A language model with its caches. Slots are independent: what happens in one is not seen in another.

    Attributes:
        name: how users and statistics call it.
        vocabulary: size V of the logits that it returns.
        parameters: number of weights; the member with the fewest proposes by default.
        context_length: the most pieces and units that a slot can hold, or None for no limit.
        width: size D of its features; 0 if it has none.
        warps: whether its logits are those of a law that it has warped itself.
        device: where its logits are, as torch calls it.
        end_ids: the units that end a text.
        sampling: what its files say of temperature, top_k, top_p, min_p and repetition_penalty, unchecked; mostly nothing.
    """

    name: str
    vocabulary: int
    parameters: int
    context_length: int | None
    width: int
    warps: bool
    device: str
    end_ids: frozenset[int]
    sampling: Mapping[str, Any]

    @property
    def keeps(self) -> bool:
        """Whether its cache stays as large as it has grown when the last slot is closed."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What `unisono members` prints of it besides name and parameters, by the heading of the column."""
        ...

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        """Score only the first `vocabulary` ids, and give no mass to the forbidden ones."""
        ...

    def context(self, reading: Reading, warp: Warp) -> Context:
        """What the member reads, in its own form, for a text whose laws are warped like that."""
        ...

    def room(self, context: Context, text: Sequence[int]) -> int | None:
        """How many units can still be read behind the context and this text, or None for no limit.

        One more unit can be generated or scored than can be read.
        """
        ...

    def places(self, context: Context, units: int) -> int:
        """How many places of its cache a slot needs for the context and so many units."""
        ...

    def memory(self, slots: int, places: int) -> int:
        """Bytes that so many slots of so many places each take."""
        ...

    def open(self, context: Context) -> int:
        """A slot that has read nothing."""
        ...

    def fork(self, slot: int) -> int:
        """A slot of its own that holds the same."""
        ...

    def close(self, slot: int) -> None:
        """Free the slot. Closing a closed slot is harmless."""
        ...

    def release(self) -> None:
        """Give back the memory that its cache keeps without open slots. The member may go on being used."""
        ...

    def unread(self, slot: int) -> int:
        """How many pieces of the context are left to be read."""
        ...

    def length(self, slot: int) -> int:
        """How many units the slot holds behind its context."""
        ...

    def rewind(self, slot: int, length: int) -> None:
        """Keep the first `length` units at most. It may keep fewer, and even lose the context: ask `length` and `unread`."""
        ...

    def score(self, work: Sequence[Work]) -> list[Scores]:
        """Do the work, each slot once; the scores of each. Slots of twins may be among them."""
        ...
