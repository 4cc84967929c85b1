"""The combination that follows one member, and the combination that a user writes as a function."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from unisono.combine.base import Combination, LawFunction, OwnCombination, Traits
from unisono.combine.positions import Positions
from unisono.errors import ConfigurationError, require_count
from unisono.sampling.warp import AnyWarp


@dataclass(frozen=True)
class Only(OwnCombination):
    """The combination that `only` makes."""

    member: int

    @property
    def name(self) -> str:
        return f"only:{self.member}"

    def check(self, members: int) -> None:
        if self.member >= members:
            raise ConfigurationError(f"only: there is no member {self.member} among {members}; the first is 0")

    def needed(self, members: int) -> tuple[int, ...]:
        return (self.member,)

    def scores(self, logits: Sequence[Tensor]) -> Tensor:
        return logits[self.member]

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        return positions.scores[self.member].law


def only(member: int) -> Only:
    """Return the law of one member; the other members only propose. This is plain speculative decoding.

    Raises:
        ConfigurationError: `member` is not an index.
    """
    return Only(require_count("the index of a member", member, 0))


@dataclass(frozen=True)
class Custom(Combination):
    """A user's function. What the function returns is checked and normalised at every call."""

    function: LawFunction

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        # Clones, since the function may write to what it is given
        return self.function([member.logits.clone() for member in positions.scores], warp)

    def traits(self, warp: AnyWarp) -> Traits:
        return Traits(widened=False)  # the function may hold tensors of the members' type


def custom(function: Callable[[list[Tensor], AnyWarp], Tensor]) -> Custom:
    """Return the combination of a function `(logits, warp) -> law [N, V]`.

    The function gets a list of logits [N, V], one tensor per member, and the warp, which turns logits into a law.

    Raises:
        ConfigurationError: the argument is not a function of two arguments. The same error is raised during decoding if the
            function returns something that is not a law.
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
