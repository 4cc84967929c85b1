"""What may follow a text by rules, as a grammar says it: the protocol that a user's constraint follows."""

from typing import Protocol, Self

import torch
from torch import Tensor

from unisono.errors import RequestError


class Constraint(Protocol):
    """A set of allowed texts, and a state: which text it has accepted so far.

    The decode loop gives each row a copy and moves it along the row's tokens, open proposals included. A cache of masks by
    state belongs to the constraint, and copies may share it.
    """

    def accept(self, token: int) -> bool:
        """Move behind the token and return true; return false, and change nothing, if the token is not allowed."""
        ...

    def rollback(self, count: int) -> None:
        """Take back the last `count` accepted tokens."""
        ...

    def mask(self) -> Tensor:
        """Return which tokens may come next: bool [V]. The tensor is kept and must not be changed later."""
        ...

    def forced(self) -> int | None:
        """Return the token that must come next, or None. Where there is one, the law of the text is one-hot at it."""
        ...

    def copy(self) -> Self:
        """Return a constraint in the same state that moves independently."""
        ...


def require_mask(mask: object, vocabulary: int) -> Tensor:
    """Return the mask; raise RequestError if it is not bool [vocabulary]."""
    if isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == (vocabulary,):
        return mask
    found = (tuple(mask.shape), mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
    raise RequestError(f"the mask of a constraint must be a bool tensor of {vocabulary} tokens, not: {found}")
