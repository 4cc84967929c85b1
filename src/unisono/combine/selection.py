"""Combinations that follow one member at a time, and the ones users write themselves."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, LawFunction, Logits
from unisono.errors import ConfigurationError, require_count
from unisono.sampling.warp import AnyWarp


@dataclass(frozen=True)
class Only(Combination):
    """See `only`."""

    member: int

    @property
    def name(self) -> str:
        return f"only:{self.member}"

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        return warp(logits[self.member])

    def check(self, members: int) -> None:
        if self.member >= members:
            raise ConfigurationError(f"only: there is no member {self.member} among {members}; the first is 0")

    def needed(self, members: int) -> tuple[int, ...]:
        return (self.member,)


def only(member: int) -> Only:
    """The law of one member; the others only propose. This is plain speculative decoding.

    Raises:
        ConfigurationError: `member` is not an index.
    """
    return Only(require_count("the index of a member", member, 0))


@dataclass(frozen=True)
class Custom(Combination):
    """A law written by the user; what it returns is checked at every call."""

    function: LawFunction

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def widened(self, logits: Logits) -> list[Tensor]:
        return [member.clone() for member in logits]  # the function may hold tensors of the members' type

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        law = self.function(list(logits), warp)
        if not isinstance(law, Tensor) or law.shape != logits[0].shape:
            found = tuple(law.shape) if isinstance(law, Tensor) else type(law).__name__
            raise ConfigurationError(
                f"combination {self.name} must return a law of shape {tuple(logits[0].shape)}, not: {found}"
            )
        total = law.sum(-1)
        valid = torch.isfinite(law).all() & (law >= 0).all() & ((total - 1).abs() < 1e-3).all()
        if not bool(valid):
            raise ConfigurationError(
                f"combination {self.name} must return probabilities that are 0 or more and sum to 1; "
                "end it with `warp(scores)` or normalise it"
            )
        # Normalised here, or its rounding errors would be accepted by one schedule and redrawn by another
        law = law.to(logits[0].dtype)
        return law / law.sum(-1, keepdim=True)


def custom(function: Callable[[list[Tensor], AnyWarp], Tensor]) -> Custom:
    """Any function `(logits: one [..., V] per member, warp) -> law [..., V]`; `warp` turns logits into a law.

    Raises:
        ConfigurationError: it is no function of two arguments; and, when decoding, that what it returns is no law.
    """
    if not callable(function):
        raise ConfigurationError(f"custom takes a function, not: {function!r}")
    made = Custom(function)
    try:
        inspect.signature(function).bind([], None)
    except TypeError as error:
        reason = f"must be a function of the members' logits and a warp: {error}"
        raise ConfigurationError(f"combination {made.name} {reason}") from None
    except ValueError:  # some functions of C do not say what they take
        pass
    return made
