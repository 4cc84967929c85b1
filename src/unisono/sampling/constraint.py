"""The protocol of user-defined constraints, which restrict the next token, for example by a grammar."""

from typing import Protocol, Self

import torch
from torch import Tensor

from unisono.errors import RequestError


class Constraint(Protocol):
    """A set of allowed texts. The state of a constraint is the text that the constraint has accepted so far.

    The decode loop makes one copy per row, and calls `accept` of this copy for the row's tokens, including open
    proposals. A constraint may cache its masks, and copies may share the cache.
    """

    def accept(self, token: int) -> bool:
        """Return whether the token is allowed. If the token is allowed, also append it to the accepted text."""
        ...

    def rollback(self, count: int) -> None:
        """Remove the last `count` tokens from the accepted text."""
        ...

    def mask(self) -> Tensor:
        """Return which tokens may come next: bool [V]. The returned tensor must not be changed after the call."""
        ...

    def forced(self) -> int | None:
        """Return the only possible next token, or None. If a token is returned, the target law is one-hot at it."""
        ...

    def copy(self) -> Self:
        """Return an independent constraint with the same state."""
        ...


def require_mask(mask: object, vocabulary: int) -> Tensor:
    """Return the mask. Raise RequestError if the mask is not a bool tensor [vocabulary]."""
    if isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == (vocabulary,):
        return mask
    found = (tuple(mask.shape), mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
    raise RequestError(f"the mask of a constraint must be a bool tensor of {vocabulary} tokens, not: {found}")
