"""What a combination is: the one object that says which law the output follows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unisono.errors import ConfigurationError
from unisono.sampling.warp import AnyWarp, one_hot
from unisono.values import plain, shown

Logits = Sequence[Tensor]  # one [..., V] per member, in the order they were listed
Heard = Sequence[Tensor | None]  # the same, with None for a member that has not scored these positions
LawFunction = Callable[[list[Tensor], AnyWarp], Tensor]


class Combination(ABC):
    """Member logits at a position -> the target law there.

    Subclasses are frozen dataclasses: they hold the parameters, and calling them is a pure function of tensors.
    """

    prompts: ClassVar[tuple[str, ...]] = ()
    """Per member what it reads, `prompt` or `negative`; without entries all read the prompt."""
    roles: ClassVar[str] = ""
    """Who the members are, for a combination of a fixed number of them, `takes`."""
    takes: ClassVar[int] = 2
    leading: ClassVar[float] = 0.0
    """How much of the law is the first member's."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How a user writes it, as in `weighted:0.7,0.3`."""

    @abstractmethod
    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        """Logits, [..., V] per member, -inf where a token is impossible -> law [..., V].

        Only the entries of `needed` members are looked at. Not called at temperature 0: see `target_law`.
        """

    def check(self, members: int) -> None:
        """Raise ConfigurationError if this combination is not one of `members` members."""
        if self.roles and members != self.takes:
            kind = self.name.partition(":")[0]
            raise ConfigurationError(f"{kind} takes {self.takes} members, {self.roles}, not: {members}")

    def needed(self, members: int) -> tuple[int, ...]:
        """The members without whose scores the law is not known."""
        return tuple(range(members))

    def early(self, warp: AnyWarp) -> bool:
        """Whether it may say in `fixed` or `certain` more than that all needed members have scored."""
        return False

    def fixed(self, heard: Heard, warp: AnyWarp) -> Tensor:
        """Positions [...] (bool) whose law cannot change any more, whatever the members say that have not scored.

        There, the law from `filled(heard)` is the law: whoever stands in for the others is outvoted or not read. Who is
        still needed elsewhere are the needed members not heard, to be asked in their order.
        """
        shape = next(member for member in heard if member is not None).shape[:-1]
        return torch.full(shape, all(heard[member] is not None for member in self.needed(len(heard))))

    def certain(self, heard: Heard, warp: AnyWarp, tokens: Tensor, laws: Tensor) -> Tensor:
        """Positions [...] (bool) whose proposal token verification accepts, whatever the others say: `r(x) >= s(x)`.

        Args:
            tokens: the proposals x [...]. laws: the laws s [..., V] they were drawn from.
        """
        return torch.zeros(tokens.shape, dtype=torch.bool, device=tokens.device)

    def widened(self, logits: Logits) -> list[Tensor]:
        """Copies of the logits for log-probabilities: float64, whose laws do not underflow."""
        return [member.double() if member.dtype != torch.float64 else member.clone() for member in logits]

    def opener(self) -> int | None:
        """The member to ask first, where the law may be known from it alone; None if that is as good as any."""
        return None

    def odds(self, warp: AnyWarp) -> tuple[float, ...]:
        """If the law of a position is that of a member drawn for it: how probably each one is drawn. Else nothing.

        Calling such a combination gives the law before the member is drawn.
        """
        return ()

    def equivalent(self, warp: AnyWarp) -> "Combination":
        """A combination of which texts have the same law, and that needs fewer members per token; else itself."""
        return self

    def weight(self, member: int) -> float:
        """How much of the law is this member's; decides between proposers of equal size."""
        return 0.0 if member else self.leading


def target_law(combination: Combination, logits: Logits, warp: AnyWarp) -> Tensor:
    """The law the output follows: [..., V].

    At temperature 0 every combination is one-hot at the largest entry of its law at temperature 1 without truncation.
    """
    if warp.greedy:
        law = combination(logits, warp.untempered())
        return torch.where(law.isnan(), law, one_hot(law))  # no possible token: say so, do not take the first
    return combination(logits, warp)


def filled(heard: Heard) -> list[Tensor]:
    """Logits of every member; one that was heard stands in for each that was not."""
    some = next(member for member in heard if member is not None)
    return [some if member is None else member for member in heard]


def finite_weights(values: Sequence[float], kind: str) -> tuple[float, ...]:
    """Weights that are finite, not negative and not all zero; ConfigurationError if they are not."""
    try:
        weights = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(f"{kind} needs a list of numbers, one per member, not: {shown(values)}") from None
    if not weights or not math.isfinite(sum(weights)):
        raise ConfigurationError(f"{kind} needs finite weights, one per member, not: {list(weights)}")
    if min(weights) < 0 or max(weights) == 0:
        raise ConfigurationError(f"{kind} needs weights that are 0 or more and not all 0, not: {list(weights)}")
    return weights


def relative_weights(values: Sequence[float], kind: str) -> tuple[float, ...]:
    """The same, divided by their sum."""
    weights = finite_weights(values, kind)
    return tuple(weight / sum(weights) for weight in weights)


def require_count(kind: str, given: int, members: int) -> None:
    """Raise ConfigurationError unless there is one weight per member."""
    if given != members:
        raise ConfigurationError(f"{kind} has {given} weights for {members} members; give one weight per member")


def share(name: str, value: float) -> float:
    """The value as a float; ConfigurationError if it is not in [0, 1]."""
    if not 0 <= finite(name, value) <= 1:
        raise ConfigurationError(f"{name} must be in [0, 1], not: {value}")
    return float(value)


def finite(name: str, value: float) -> float:
    """The value as a float; ConfigurationError if it is not a finite number."""
    number = plain(value)
    if not isinstance(number, int | float) or not abs(number) <= 1e30:
        raise ConfigurationError(f"{name} must be a finite number, not: {shown(value)}")
    return float(number)
