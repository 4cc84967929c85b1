"""The interface between the decode loop and a language model: the protocol `Member` and the types of its arguments.

A member keeps one KV cache per *slot*. A slot is a number that `Member.open` returns. A slot holds a context and the
units of one text after the context. The context is the member's prompt. A unit is one entry of the common vocabulary.
Units are token ids, unless the members are combined over another kind of unit. A member does not know which units are
committed and which units are proposals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from unisono.frozen import quick
from unisono.sampling.warp import Warp
from unisono.transfer import Token


@dataclass(frozen=True)
class Reading:
    """The prompt of one member.

    tokens: the prompt in units of the vocabulary. text: the text of `tokens`; None for a conversation, for token ids
    and for a shortened prompt. prefix: number of special tokens at the beginning of `tokens` that do not come from the
    user's text.
    """

    tokens: tuple[int, ...]
    text: str | None = None
    prefix: int = 0


@dataclass(frozen=True)
class Context:
    """The input that a member reads before the generated text. A backend may define a subclass with more fields.

    Two members with equal contexts read the same input.

    size: number of pieces of the input. Each piece takes one place in the member's cache. tokens: the input in units of
    the vocabulary. Penalties read these tokens, and proposals may be copied from them.
    """

    size: int
    tokens: tuple[int, ...] = ()


@quick
@dataclass(frozen=True)
class Work:
    """A work item of one slot for a call of `score`: read pieces of the context, append units, return scores.

    read: the member reads at least `read` further pieces of the context. If fewer pieces are unread, the member reads
    all of them. The member may read more pieces if the input cannot be split. tokens: units to append after the
    context. If `tokens` is not empty, this work or earlier work must read the context to its end. A drafted token may
    be a tensor on a device; `transfer.token_tensor` converts such tokens. keep: number of positions whose scores are
    returned. The last of these positions is the position after the last unit. `keep` is at most the number of units,
    plus one if the slot held no unit before. committed: number of committed units in the row. Later calls of `rewind`
    keep all of the committed units or none of them. features: whether to return hidden states.
    """

    slot: int
    read: int = 0
    tokens: Sequence[Token] = ()
    keep: int = 0
    committed: int = 0
    features: bool = False


@quick
@dataclass(frozen=True)
class Scores:
    """The output of a member for one `Work`, at the last `keep` positions.

    logits: [keep, V], float32 or float64; -inf for units that this member can never produce. raw: [keep, V], the
    member's probabilities at temperature 1 without truncation. A member sets `raw` only if it warps its own logits;
    otherwise `raw` is None and the softmax of `logits` gives the same probabilities. features: [keep, D], hidden
    states; None if they were not requested. wanted: [keep], for each position, the unit that is selected at temperature
    0. A member sets `wanted` only if it warps its own logits; otherwise `wanted` is None. place: if `logits` are rows of
    a tensor [N, V] with the logits of several works, this tensor and the index of the first of these rows; else None.
    It saves copies when laws of several works are computed together.
    """

    logits: Tensor
    raw: Tensor | None = None
    features: Tensor | None = None
    wanted: Tensor | None = None
    place: tuple[Tensor, int] | None = None


class Member(Protocol):
    """A language model with its caches. Work in one slot does not change the scores of another slot.

    Attributes:
        name: the name in messages and statistics.
        vocabulary: size V of the logits that the member returns.
        parameters: number of weights. By default, the member with the fewest weights proposes tokens.
        context_length: the largest number of pieces and units in one slot; None for no limit.
        width: size D of the hidden states; 0 if the member returns none.
        warps: whether the member itself applies the warp (temperature, top-k, top-p, min-p) to its logits.
        device: the torch device of the logits.
        end_ids: units that end a text.
        sampling: the values of temperature, top_k, top_p, min_p and repetition_penalty in the model's files. The values
            are not checked. The mapping is often empty.
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
        """Return whether the cache still occupies memory after the last slot is closed."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Return additional columns for the table of `unisono members`: a mapping from column heading to text."""

    def restrict(self, vocabulary: int, forbidden: Sequence[int]) -> None:
        """Limit the logits to the first `vocabulary` ids, and set the logits of the forbidden ids to -inf."""

    def context(self, reading: Reading, warp: Warp) -> Context:
        """Return the context that this member reads for a prompt. `warp` is the warp of the request."""

    def room(self, context: Context, text: Sequence[int]) -> int | None:
        """Return how many units the member can read after the context and the units `text`; None for no limit.

        The scores of a unit are computed before the unit is read. So the member can score one more unit than it can
        read.
        """

    def places(self, context: Context, units: int) -> int:
        """Return how many places in the cache a slot needs for the context and `units` units."""

    def memory(self, slots: int, places: int) -> int:
        """Return the size in bytes of a cache with `slots` slots of `places` places each."""

    def open(self, context: Context) -> int:
        """Return a new slot for the context. All pieces of the context are still unread."""

    def fork(self, slot: int) -> int:
        """Copy the content of the slot to a new slot, and return the new slot."""

    def close(self, slot: int) -> None:
        """Free the slot. Closing a closed slot has no effect."""

    def release(self) -> None:
        """If no slot is open, free the memory that the cache occupies. The member can still be used afterwards."""

    def unread(self, slot: int) -> int:
        """Return how many pieces of the slot's context are still unread."""

    def length(self, slot: int) -> int:
        """Return how many units the slot holds after its context."""

    def rewind(self, slot: int, length: int) -> None:
        """Remove units from the end of the slot until at most `length` units remain.

        A member may also remove more units, and even pieces of the context. After this call, the methods `length` and
        `unread` describe the new content of the slot.
        """

    def score(self, work: Sequence[Work]) -> list[Scores]:
        """Process the work items. Return one `Scores` object per item, in the order of the items.

        A slot occurs in at most one item. The slots may belong to this member and to its twins.
        """
