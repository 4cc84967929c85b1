"""The base class of combinations. A combination defines the target law: the probabilities that the output follows."""

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
TOLERANCE = 1e-3  # the sum of a user-defined law may differ from 1 by at most this


class Certainty(Protocol):
    """Methods that find final laws and accepted proposals before all needed members have scored.

    With these methods, decoding needs fewer forward passes and gives the same text. `positions.heard` lists the members
    that have scored. The methods must not read the scores of other members. After `fixed` returns True for a position,
    `Combination.law` may be called for this position.
    """

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return bool [N]: whether the law is the same for all possible scores of members that have not scored."""
        ...

    def certain(self, positions: Positions, warp: AnyWarp, tokens: Tensor, chances: Tensor) -> Tensor:
        """Return bool [N]: whether a proposal is accepted for all possible scores of members that have not scored.

        A proposal x is certainly accepted if `r(x) >= s(x)`. r is the target law. s is the law that x was drawn from.

        Args:
            tokens: the proposals x [N]. chances: the probabilities s(x) of the proposals [N].
        """
        ...


@dataclass(frozen=True)
class Traits:
    """Properties of a combination that influence speed and reported numbers, but not the law.

    certainty: an object that finds final laws and accepted proposals before all needed members have scored; None if the
    combination has no such object. opener: the member that should score first, because its scores alone may determine
    the law; None if there is no such member. weights: the share of each member in the law. Among members of equal size,
    the member with the largest share proposes. equivalent: another combination that gives texts with the same law and
    needs fewer members per token; None if there is no such combination. widened: whether log-probabilities may be
    computed from float64 logits, which do not underflow.
    """

    certainty: Certainty | None = None
    opener: int | None = None
    weights: tuple[float, ...] = ()
    equivalent: "Combination | None" = None
    widened: bool = True

    def weight(self, member: int) -> float:
        """Return the share of a member in the law; 0 if no share is given."""
        return self.weights[member] if member < len(self.weights) else 0.0


class Combination(ABC):
    """A rule that computes the target law of a position from the members' scores at this position.

    A subclass defines `name`. If the members' logits are combined before the warp, the subclass also defines `scores`.
    Otherwise the subclass also defines `law`. An object holds only parameters and no state, because the law must be a
    pure function of its inputs. docs/methods/custom.md shows an example.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    """The inputs of the law other than scores: any of "tokens", "loglikelihood", "prompt_loglikelihood", "features"."""
    prompts: ClassVar[tuple[str, ...]] = ()
    """The kind of prompt that each member reads: "prompt" or "negative". If empty, all members read the prompt."""
    drawn_by: ClassVar[tuple[int, ...] | None] = None
    """The members whose scores `odds` reads, if the combination draws one member per position; else None.

    At temperature 0 no member is drawn. The output at each position is then the most probable token of `law`.
    """
    checked: ClassVar[bool] = True
    """Whether the result of `law` is checked and normalised at every call. False for combinations of this package."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The text that a user writes for this combination, for example `weighted:0.7,0.3`."""

    def check(self, members: int) -> None:
        """Raise ConfigurationError if the combination cannot be used with this number of members."""

    def needed(self, members: int) -> tuple[int, ...]:
        """Return the indices of the members whose scores the law needs. `members` is the number of members."""
        return tuple(range(members))

    def scores(self, logits: Sequence[Tensor]) -> Tensor | None:
        """Return the combined logits [..., V] before the warp. Return None if the subclass defines `law` instead.

        Args:
            logits: one tensor [..., V] per member. Only the tensors of the members in `needed` may be read.
        """
        return None

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return the law at each position: [N, V].

        If members are drawn, the law is the mixture of the members' laws, with the weights `odds`. For a request at
        temperature 0, `warp` has temperature 1 without truncation. `target_law` then takes the most probable token of
        the law.
        """
        if self.drawn_by is not None:
            odds = member_odds(self, positions, (len(positions.scores[0].logits), len(positions.scores)))
            return torch.stack([odds[:, [m]].to(each.law) * each.law for m, each in enumerate(positions.scores)]).sum(0)
        scores = self.scores([each.logits for each in positions.scores])
        if scores is None:
            raise ConfigurationError(f"combination {self.name} must define scores or law")
        return warp(scores)

    def odds(self, positions: Positions) -> Tensor:
        """Return the probability of drawing each member at each position: [N, M].

        This method is called only if `drawn_by` is not None. It may read the scores of the members in `drawn_by`, but
        no other scores.
        """
        raise ConfigurationError(f"combination {self.name} must define odds, since it has drawn_by")

    def traits(self, warp: AnyWarp) -> Traits:
        """Return the properties of this combination that influence speed, for requests with this warp."""
        return Traits()


class OwnCombination(Combination):
    """A combination of this package. Its law is valid by construction, so the law is not checked at every call."""

    checked = False
    roles: ClassVar[str] = ""
    """A phrase that names the members in order. If it is not empty, exactly `takes` members are required."""
    takes: ClassVar[int] = 2

    def check(self, members: int) -> None:
        if self.roles and members != self.takes:
            kind = self.name.partition(":")[0]
            raise ConfigurationError(f"{kind} takes {self.takes} members, {self.roles}, not: {members}")


def target_law(combination: Combination, positions: Positions, warp: AnyWarp) -> Tensor:
    """Return the target law, which the output follows, at each position: [N, V].

    At temperature 0 the combination's law is computed at temperature 1 without truncation. The target law is then
    one-hot at the largest entry of the combination's law.

    Raises:
        ConfigurationError: a user-defined combination returned something that is not a law.
    """
    law = combination.law(positions, warp.untempered() if warp.greedy else warp)
    if combination.checked:
        law = _require_law(combination, law, positions.scores[0].logits)
    if warp.greedy:
        return torch.where(law.isnan(), law, one_hot(law))  # nan: no token is possible
    return law


def _require_law(combination: Combination, law: object, like: Tensor) -> Tensor:
    """Return the law, divided by its sum; raise ConfigurationError if it is not a law with the shape of `like`."""
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
    # Without this division, rounding errors could make one schedule accept a proposal that another one redraws
    law = law.to(like.dtype)
    return law / law.sum(-1, keepdim=True)


def member_odds(combination: Combination, positions: Positions, shape: tuple[int, int]) -> Tensor:
    """Return the probability of drawing each member at each position: [N, M]. Each row sums to 1.

    Raises:
        ConfigurationError: a user-defined combination returned invalid odds, or odds whose shape is not `shape`.
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
    """Return the probability of drawing each member, if the probabilities are the same at every position.

    Return an empty tuple if no member is drawn, or if the probabilities differ between positions.
    """
    if combination.drawn_by != () or combination.reads or warp.greedy:
        return ()
    positions = Positions.of([torch.zeros(1, 1)] * members, warp)
    return tuple(member_odds(combination, positions, (1, members))[0].tolist())


def require_reads(combination: Combination) -> None:
    """Raise ConfigurationError if `reads` of the combination contains an unknown word."""
    reads: object = combination.reads
    if isinstance(reads, str):
        raise ConfigurationError(f"reads of combination {combination.name} must be a set of words, not: {reads!r}")
    require_known(f"word in reads of combination {combination.name}", sorted(combination.reads), READS)


def finite_weights(values: Sequence[float], kind: str) -> tuple[float, ...]:
    """Return the weights as floats. Raise ConfigurationError for a weight that is negative or not finite.

    ConfigurationError is also raised if all weights are 0 or if the list is empty.
    """
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
    """Return the weights divided by their sum. Raise the errors of `finite_weights`."""
    weights = finite_weights(values, kind)
    return tuple(weight / sum(weights) for weight in weights)


def require_count(kind: str, given: int, members: int) -> None:
    """Raise ConfigurationError if the number of given weights is not the number of members."""
    if given != members:
        raise ConfigurationError(f"{kind} has {given} weights for {members} members; give one weight per member")


def share(name: str, value: float) -> float:
    """Return the value as a float; raise ConfigurationError if it is not in [0, 1]."""
    if not 0 <= finite(name, value) <= 1:
        raise ConfigurationError(f"{name} must be in [0, 1], not: {value}")
    return float(value)


def finite(name: str, value: float) -> float:
    """Return the value as a float; raise ConfigurationError if it is not a finite number."""
    number = plain(value)
    if not isinstance(number, int | float) or not abs(number) <= 1e30:
        raise ConfigurationError(f"{name} must be a finite number, not: {shown(value)}")
    return float(number)
