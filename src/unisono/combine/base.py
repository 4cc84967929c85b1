"""What a combination is: the one object that says which law the output follows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from unisono.combine.positions import READS, Positions
from unisono.errors import ConfigurationError, require_known
from unisono.sampling.warp import AnyWarp, one_hot
from unisono.values import plain, shown

LawFunction = Callable[[list[Tensor], AnyWarp], Tensor]
TOLERANCE = 1e-3  # how far from 1 the sum of a user's law may be


class Certainty(Protocol):
    """What a law lets know before all needed members have scored: it saves forward passes and changes no text.

    Of `positions`, `positions.heard` says which members have scored; of the others nothing may be read, except through
    `Combination.law` where it is fixed.
    """

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return where the law cannot change any more, whatever the other members score: bool [N]."""
        ...

    def certain(self, positions: Positions, warp: AnyWarp, tokens: Tensor, chances: Tensor) -> Tensor:
        """Return where a proposal is accepted whatever the other members score, since `r(x) >= s(x)`: bool [N].

        Args:
            tokens: the proposals x [N]. chances: s(x) [N], their probabilities under the laws that they were drawn from.
        """
        ...


@dataclass(frozen=True)
class Traits:
    """What serves only the speed of a combination, and the figures that are told of it.

    certainty: what is known early; None if nothing is. opener: the member to ask first, where the law may be known from
    it alone. weights: how much of the law is each member's; decides between proposers of equal size. equivalent: a
    combination of which texts have the same law and that needs fewer members per token. widened: whether log-probabilities
    may be computed from logits in float64, which do not underflow.
    """

    certainty: Certainty | None = None
    opener: int | None = None
    weights: tuple[float, ...] = ()
    equivalent: "Combination | None" = None
    widened: bool = True

    def weight(self, member: int) -> float:
        """Return how much of the law is the member's."""
        return self.weights[member] if member < len(self.weights) else 0.0


class Combination(ABC):
    """The members' scores at a position -> the target law there.

    A subclass defines `name`, and either `scores` (a law that combines logits first) or `law`. It holds its parameters and
    no state: the law is a pure function of what it reads. docs/methods/custom.md shows one.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    """What the law reads besides scores: of "tokens", "loglikelihood", "prompt_loglikelihood", "features"."""
    prompts: ClassVar[tuple[str, ...]] = ()
    """Per member what it reads, `prompt` or `negative`; without entries all read the prompt."""
    drawn_by: ClassVar[tuple[int, ...] | None] = None
    """If a member is drawn for each position, the members that `odds` reads; None if the law is not one of drawn members.

    At temperature 0 no member is drawn: the text follows the most probable token of `law`.
    """
    checked: ClassVar[bool] = True
    """Whether what `law` returns is checked and normalised at every call; not needed for the laws of this package."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How a user writes it, as in `weighted:0.7,0.3`."""

    def check(self, members: int) -> None:
        """Raise ConfigurationError if this is no combination of so many members."""

    def needed(self, members: int) -> tuple[int, ...]:
        """Return the members without whose scores the law is not known."""
        return tuple(range(members))

    def scores(self, logits: Sequence[Tensor]) -> Tensor | None:
        """Return the combined scores [..., V] that the warp is applied to, constants included; None for another law.

        Args:
            logits: [..., V] per member; only those of `needed` members are looked at.
        """
        return None

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return the law [N, V] at each position; before a member is drawn, if one is.

        At temperature 0 the warp has temperature 1 and truncates nothing: `target_law` takes the most probable token.
        """
        if self.drawn_by is not None:
            odds = member_odds(self, positions, (len(positions.scores[0].logits), len(positions.scores)))
            return torch.stack([odds[:, [m]].to(each.law) * each.law for m, each in enumerate(positions.scores)]).sum(0)
        scores = self.scores([each.logits for each in positions.scores])
        if scores is None:
            raise ConfigurationError(f"combination {self.name} must define scores or law")
        return warp(scores)

    def odds(self, positions: Positions) -> Tensor:
        """Return how probably each member is drawn: [N, M]. Only for combinations with `drawn_by`.

        Of `positions.scores`, only those of the members in `drawn_by` may be read.
        """
        raise ConfigurationError(f"combination {self.name} must define odds, since it has drawn_by")

    def traits(self, warp: AnyWarp) -> Traits:
        """Return what is known for speed under a warp."""
        return Traits()


class OwnCombination(Combination):
    """A combination of this package: its law is right by construction, and not checked at every call."""

    checked = False
    roles: ClassVar[str] = ""
    """Who the members are, for a combination of a fixed number of them, `takes`."""
    takes: ClassVar[int] = 2

    def check(self, members: int) -> None:
        if self.roles and members != self.takes:
            kind = self.name.partition(":")[0]
            raise ConfigurationError(f"{kind} takes {self.takes} members, {self.roles}, not: {members}")


def target_law(combination: Combination, positions: Positions, warp: AnyWarp) -> Tensor:
    """Return the law that the output follows: [N, V].

    At temperature 0 every combination is one-hot at the largest entry of its law at temperature 1 without truncation.

    Raises:
        ConfigurationError: a user's combination returned no law.
    """
    law = combination.law(positions, warp.untempered() if warp.greedy else warp)
    if combination.checked:
        law = _require_law(combination, law, positions.scores[0].logits)
    if warp.greedy:
        return torch.where(law.isnan(), law, one_hot(law))  # no possible token: say so, do not take the first
    return law


def _require_law(combination: Combination, law: object, like: Tensor) -> Tensor:
    """Return the law, normalised; or raise ConfigurationError if it is none."""
    if not isinstance(law, Tensor) or law.shape != like.shape:
        found = tuple(law.shape) if isinstance(law, Tensor) else type(law).__name__
        raise ConfigurationError(
            f"combination {combination.name} must return a law of shape {tuple(like.shape)}, not: {found}"
        )
    total = law.sum(-1)
    valid = torch.isfinite(law).all() & (law >= 0).all() & ((total - 1).abs() < TOLERANCE).all()
    if not bool(valid):
        raise ConfigurationError(
            f"combination {combination.name} must return probabilities that are 0 or more and sum to 1; "
            "end it with `warp(scores)` or normalise it"
        )
    # Normalised here, or its rounding errors would be accepted by one schedule and redrawn by another
    law = law.to(like.dtype)
    return law / law.sum(-1, keepdim=True)


def member_odds(combination: Combination, positions: Positions, shape: tuple[int, int]) -> Tensor:
    """Return how probably each member is drawn at each position: [N, M] of this shape, each row sums to 1.

    Raises:
        ConfigurationError: a user's combination returned no odds.
    """
    odds = combination.odds(positions)
    if not combination.checked:
        return odds
    if not isinstance(odds, Tensor) or odds.shape != shape:
        found = tuple(odds.shape) if isinstance(odds, Tensor) else type(odds).__name__
        raise ConfigurationError(f"combination {combination.name} must return odds of shape {shape}, not: {found}")
    total = odds.sum(-1, keepdim=True)
    if not bool(torch.isfinite(odds).all() & (odds >= 0).all() & (total > 0).all()):
        raise ConfigurationError(
            f"combination {combination.name} must return odds that are finite, 0 or more and not all 0"
        )
    return odds / total


def static_odds(combination: Combination, members: int, warp: AnyWarp) -> tuple[float, ...]:
    """Return the odds that a member is drawn with at every position; nothing if none is drawn, or the odds differ."""
    if combination.drawn_by != () or combination.reads or warp.greedy:
        return ()
    positions = Positions.of([torch.zeros(1, 1)] * members, warp)
    return tuple(member_odds(combination, positions, (1, members))[0].tolist())


def require_reads(combination: Combination) -> None:
    """Raise ConfigurationError if the combination reads something that there is not."""
    require_known(f"word in reads of combination {combination.name}", sorted(combination.reads), READS)


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
