"""What the engine needs of a language model, and nothing else.

A member keeps one cache per *slot*, a number it hands out in `open`. It knows tokens, not rows: which tokens are
committed and which are proposals is the frontier's business.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Member(Protocol):
    """A language model with its caches. Slots are independent: what happens in one is not seen in another.

    Attributes:
        name: how users and statistics call it.
        vocabulary: size V of the logits it returns.
        context: the most tokens a slot can hold, or None for no limit.
        parameters: number of weights; the member with the fewest proposes by default.
    """

    name: str
    vocabulary: int
    context: int | None
    parameters: int

    def open(self) -> int:
        """A fresh, empty slot."""
        ...

    def close(self, slot: int) -> None:
        """Free the slot's memory. Closing a closed slot is harmless."""
        ...

    def length(self, slot: int) -> int:
        """How many tokens the slot holds. Does not change the slot."""
        ...

    def rewind(self, slot: int, length: int) -> None:
        """Keep the first `length` tokens of the slot; more than it holds is an error of the caller."""
        ...

    def score(self, slot: int, tokens: Sequence[int], keep: int) -> Tensor:
        """Append tokens to the slot and return the logits after each of the last `keep` of them: [keep, V].

        float32 or float64, -inf for tokens that this member can never produce. 1 <= keep <= len(tokens).
        """
        ...
