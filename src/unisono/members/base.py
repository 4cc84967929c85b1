"""What the decode loop needs of a language model.

A member keeps one KV cache per *slot*. `open` returns the number of a new slot for a context. The member first reads
the context; the units of one text follow. A unit is one entry of the vocabulary: a token id, unless the members are
combined over another kind of unit. A member does not know which units are committed and which are proposals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from unisono.sampling.warp import Warp
from unisono.transfer import Token


@dataclass(frozen=True)
class Reading:
    """The prompt of one member.

    tokens: in units of the vocabulary. text: the text that was split into `tokens`; None if a user gave token ids.
    prefix: how many of the first tokens the member's own tokenizer put in front of the text.
    """

    tokens: tuple[int, ...]
    text: str | None = None
    prefix: int = 0


@dataclass(frozen=True)
class Context:
    """What a member reads before the text, in the form that the member reads. A backend may define a subclass.

    Members with equal contexts read the same input.

    size: number of pieces; each piece takes one place in the member's cache. tokens: the same input in units of the
    vocabulary, for penalties and for proposals that are copied from the text.
    """

    size: int
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Work:
    """What one slot does in one call of `score`.

    read: first read at least this many pieces of the context, or all unread pieces if there are fewer; input that
    cannot be split is read whole. tokens: units to append afterwards; the whole context must have been read. A token
    that was just drafted may still be a tensor on a device: `transfer.token_tensor` accepts both kinds. keep: return
    scores for the last `keep` positions, up to the one after the last unit; at most one per unit, plus one if the slot
    held no unit. committed: number of committed units in the row; later calls of `rewind` keep these units or none.
    features: whether to return hidden states.
    """

    slot: int
    read: int = 0
    tokens: Sequence[Token] = ()
    keep: int = 0
    committed: int = 0
    features: bool = False


@dataclass(frozen=True)
class Scores:
    """The output of a member at the kept positions.

    logits: [keep, V], float32 or float64, -inf for units that this member can never produce. raw: [keep, V], the
    distribution at temperature 1 without any warp, from a member that warps its own logits; None if `raw` equals the
    softmax of `logits`.
    features: [keep, D], hidden states, if they were requested. wanted: [keep], the units that a member with its own
    warp prefers at temperature 0.
    """

    logits: Tensor
    raw: Tensor | None = None
    features: Tensor | None = None
    wanted: Tensor | None = None


class Member(Protocol):
    """A language model with its caches. Slots are independent: work in one slot does not change the scores of another.

    Attributes:
        name: used in messages and statistics.
        vocabulary: size V of the logits that the member returns.
        parameters: number of weights; by default the member with the fewest proposes.
        context_length: the largest number of pieces and units in one slot; None for no limit.
        width: size D of the hidden states; 0 if the member returns none.
        warps: whether the member applies the warp (temperature, top-k, top-p, min-p) to its logits itself.
        device: the torch device of the logits.
        end_ids: units that end a text.
        sampling: temperature, top_k, top_p, min_p, repetition_penalty in the model's files, unchecked; often empty.
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
        """Return whether the cache keeps its memory after the last slot is closed."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Return what `unisono members` prints besides name and number of parameters: column heading -> text."""

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        """Limit the logits to the first `vocabulary` ids, and set the logits of the forbidden ids to -inf."""

    def context(self, reading: Reading, warp: Warp) -> Context:
        """Return the context for a prompt. `warp` is the warp of the request."""

    def room(self, context: Context, text: Sequence[int]) -> int | None:
        """Return how many units can still be read after the context and this text; None for no limit.

        One unit more can be generated or scored, because the last unit is not read.
        """

    def places(self, context: Context, units: int) -> int:
        """Return how many places of the cache a slot needs for the context and `units` units."""

    def memory(self, slots: int, places: int) -> int:
        """Return the bytes of a cache with `slots` slots of `places` places each."""

    def open(self, context: Context) -> int:
        """Return a new slot for the context. The member has read nothing of the context yet."""

    def fork(self, slot: int) -> int:
        """Return a new slot with a copy of this slot's content."""

    def close(self, slot: int) -> None:
        """Free the slot. Closing a closed slot has no effect."""

    def release(self) -> None:
        """Free the memory that the cache keeps while no slot is open. The member can still be used afterwards."""

    def unread(self, slot: int) -> int:
        """Return how many pieces of the slot's context have not been read."""

    def length(self, slot: int) -> int:
        """Return how many units the slot holds after its context."""

    def rewind(self, slot: int, length: int) -> None:
        """Keep the first `length` units or fewer. Even the context may be lost: check `length` and `unread`."""

    def score(self, work: Sequence[Work]) -> list[Scores]:
        """Do the work and return one `Scores` per item. A slot occurs once at most; slots of twins may be included."""
