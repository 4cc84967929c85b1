"""Combinations with the law of a base model at positions where the base is confident, and another law elsewhere."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Traits, finite, relative_weights, require_count, share
from unisono.combine.early import EarlyCombination
from unisono.combine.positions import Positions
from unisono.errors import ConfigurationError, require_known
from unisono.sampling.warp import AnyWarp

MEASURES = ("confidence", "entropy")


class Gate(EarlyCombination):
    """A combination with the law of the base (member 0) where the base is confident, and another law elsewhere."""

    @abstractmethod
    def sure(self, base: Tensor) -> Tensor:
        """Return at which positions the base is confident: bool [N].

        The result is also True where the probabilities are nan. The law is then nan, and decoding raises an error. If
        the result were False, the other members' law would hide the error.

        Args:
            base: [N, V], the probabilities of the base at temperature 1.
        """

    def otherwise(self, positions: Positions) -> Tensor:
        """Return the law for positions where the base is not confident: [N, V]. By default, the second member's law."""
        return positions.scores[1].law

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        base = positions.scores[0]
        return torch.where(self.sure(base.raw).unsqueeze(-1), base.law, self.otherwise(positions))

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return bool [N]: whether the law is final. It is if the base is confident or all needed members have scored."""
        complete = super().fixed(positions, warp)
        return complete | self.sure(positions.scores[0].raw) if 0 in positions.heard else complete

    def traits(self, warp: AnyWarp) -> Traits:
        return Traits(certainty=self, opener=0, weights=(1.0,))


@dataclass(frozen=True)
class Nudge(Gate):
    """The combination that `nudge` returns."""

    roles = "the base and the model that nudges it"
    threshold: float

    @property
    def name(self) -> str:
        return f"nudge:{self.threshold:g}"

    def sure(self, base: Tensor) -> Tensor:
        return ~(base.amax(-1) < self.threshold)


def nudge(threshold: float = 0.3) -> Nudge:
    """Return nudging (arXiv 2410.09300). The first member is the base, the second member is the nudging model.

    The law of a position is the base's law if the largest probability of the base is at least the threshold. Otherwise
    the law is the nudging model's law. In the paper, the nudging model continues to the end of the word. Here the base
    is checked again at every token.

    Raises:
        ConfigurationError: the threshold is not in [0, 1].
    """
    return Nudge(share("threshold", threshold))


@dataclass(frozen=True)
class Mixed(Gate):
    """The combination that `gate` returns."""

    weights: tuple[float, ...]
    threshold: float
    by: str

    @property
    def name(self) -> str:
        weights = ",".join(f"{weight:g}" for weight in self.weights)
        return f"gate:{weights},threshold={self.threshold:g},by={self.by}"

    def sure(self, base: Tensor) -> Tensor:
        if self.by == "confidence":
            return ~(base.amax(-1) < self.threshold)
        entropy: Tensor = torch.special.entr(base).sum(-1)
        return ~(entropy > self.threshold)

    def otherwise(self, positions: Positions) -> Tensor:
        laws = [weight * positions.scores[member].law for member, weight in enumerate(self.weights) if weight > 0]
        return torch.stack(laws).sum(0)

    def check(self, members: int) -> None:
        require_count("gate", len(self.weights), members)

    def needed(self, members: int) -> tuple[int, ...]:
        return tuple(member for member in range(members) if member == 0 or self.weights[member] > 0)


def gate(weights: Sequence[float], threshold: float | None = None, by: str = "confidence") -> Mixed:
    """Return a gated ensemble.

    Its law is the law of the base (member 0) at positions where the base is confident, else a weighted mixture.

    Args:
        weights: the weights of all members in the mixture. They are divided by their sum.
        threshold: with `by="confidence"`, the base is confident if its largest probability is at least `threshold`. The
            default is 0.5, as in GaC (arXiv 2406.12585). With `by="entropy"`, the base is confident if its entropy in
            nats is at most `threshold`. The default is 1.
        by: the measure of confidence, "confidence" (largest probability) or "entropy".

    Raises:
        ConfigurationError: the weights are wrong, the measure is unknown, or the threshold is out of its range.
    """
    values = relative_weights(weights, "gate")
    require_known("measure of gate", [by], MEASURES)
    limit = (0.5 if by == "confidence" else 1.0) if threshold is None else threshold
    limit = share("threshold", limit) if by == "confidence" else finite("threshold", limit)
    if limit < 0:
        raise ConfigurationError(f"threshold must be 0 or more, not: {threshold}")
    return Mixed(values, limit, by)
