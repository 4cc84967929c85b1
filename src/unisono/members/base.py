"""What the engine needs of a language model, and nothing else.

A member keeps one cache per *slot*, a number it hands out in `open`. It knows tokens, not rows: which tokens are
committed and which are proposals is the frontier's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from unisono.transfer import Token


@dataclass(frozen=True)
class Work:
    """Tokens to append to a slot, at least one, and of how many of the last ones to return logits (0 to all).

    A token just drafted may still be on a device; `transfer.token_tensor` makes one tensor of both kinds.
    """

    slot: int
    tokens: Sequence[Token]
    keep: int


class Member(Protocol):
    """A language model with its caches. Slots are independent: what happens in one is not seen in another.

    Attributes:
        name: how users and statistics call it.
        vocabulary: size V of the logits it returns.
        context: the most tokens a slot can hold, or None for no limit.
        parameters: number of weights; the member with the fewest proposes by default.
        keeps: whether its cache stays as large as it has grown when the last slot is closed.
    """

    name: str
    vocabulary: int
    context: int | None
    parameters: int

    @property
    def keeps(self) -> bool: ...

    def memory(self, slots: int, tokens: int) -> int:
        """Bytes that so many slots of so many tokens each take."""
        ...

    def open(self) -> int:
        """A fresh, empty slot."""
        ...

    def fork(self, slot: int) -> int:
        """A fresh slot that holds the same tokens."""
        ...

    def close(self, slot: int) -> None:
        """Free the slot. Closing a closed slot is harmless."""
        ...

    def length(self, slot: int) -> int:
        """How many tokens the slot holds. Does not change the slot."""
        ...

    def rewind(self, slot: int, length: int) -> None:
        """Keep the first `length` tokens of the slot; more than it holds is an error of the caller."""
        ...

    def score(self, work: Sequence[Work]) -> list[Tensor]:
        """Append tokens to slots, each slot once, and return the logits after the last `keep` of them: [keep, V] each.

        float32 or float64, -inf for tokens that this member can never produce.
        """
        ...
