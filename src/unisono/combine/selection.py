"""Two combinations: `only` has the law of one member, and `custom` has the law of a user-defined function."""

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
    """The combination that `only` returns."""

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
    """Return the combination with the law of one member. The other members only propose tokens.

    This is plain speculative decoding.

    Raises:
        ConfigurationError: `member` is not an integer, 0 or more.
    """
    return Only(require_count("the index of a member", member, 0))


@dataclass(frozen=True)
class Custom(Combination):
    """A user-defined function as a combination. The function's result is checked and normalised at every call."""

    function: LawFunction

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        # Clones, because the function may write to its arguments
        return self.function([member.logits.clone() for member in positions.scores], warp)

    def traits(self, warp: AnyWarp) -> Traits:
        return Traits(widened=False)  # the function may use own tensors with the dtype of the logits


def custom(function: Callable[[list[Tensor], AnyWarp], Tensor]) -> Custom:
    """Return the combination for a user-defined function `(logits, warp) -> law [N, V]`.

    The function receives a list of logits, one tensor [N, V] per member, and the warp, a function from logits to a law.

    Raises:
        ConfigurationError: `function` is not a function of two arguments. Decoding raises the same error if the result
            of the function is not a law.
    """
    if not callable(function):
        raise ConfigurationError(f"custom takes a function, not: {function!r}")
    made = Custom(function)
    try:
        inspect.signature(function).bind([], None)
    except TypeError as error:
        reason = f"must be a function of the members' logits and a warp: {error}"
        raise ConfigurationError(f"combination {made.name} {reason}") from None
    except ValueError:  # some functions written in C have no signature
        pass
    return made
