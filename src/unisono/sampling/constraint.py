"""The protocol of user-defined constraints. A constraint allows only texts that follow rules, for example a grammar."""

from typing import Protocol, Self

import torch
from torch import Tensor

from unisono.errors import RequestError


class Constraint(Protocol):
    """A set of allowed texts, with a state: the sequence of tokens that the constraint has accepted so far.

    The decode loop makes a copy for each row. It calls `accept` and `rollback`, so that the state of the copy follows
    the row's tokens, including open proposals. A constraint may cache the mask of each state. Copies may share this
    cache.
    """

    def accept(self, token: int) -> bool:
        """Add the token to the state and return True. If the token is not allowed, return False and change nothing."""
        ...

    def rollback(self, count: int) -> None:
        """Remove the last `count` accepted tokens from the state."""
        ...

    def mask(self) -> Tensor:
        """Return which tokens are allowed next: bool [V]. The caller keeps the tensor, so it must not be changed."""
        ...

    def forced(self) -> int | None:
        """Return the only token that is allowed next; None if there is no such token.

        If a token is returned, the target law at this position is one-hot at the token.
        """
        ...

    def copy(self) -> Self:
        """Return a copy with the same state. Later calls on the copy do not change the state of the original."""
        ...


def require_mask(mask: object, vocabulary: int) -> Tensor:
    """Return the mask; raise RequestError if it is not bool [vocabulary]."""
    if isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == (vocabulary,):
        return mask
    found = (tuple(mask.shape), mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
    raise RequestError(f"the mask of a constraint must be a bool tensor of {vocabulary} tokens, not: {found}")
