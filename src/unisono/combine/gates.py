"""Combinations that follow a base where it is sure of itself, and something else where it is not."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, Heard, Logits, finite, relative_weights, require_count, share
from unisono.errors import ConfigurationError, require_known
from unisono.sampling.warp import AnyWarp

MEASURES = ("confidence", "entropy")


class Gate(Combination):
    """The base (member 0) where it is sure, which it decides alone; otherwise another law."""

    leading = 1.0

    @abstractmethod
    def sure(self, base: Tensor) -> Tensor:
        """Where the base is sure: probabilities at temperature 1 [..., V] -> bool [...].

        Where they are nan, it is: then the base's own law says so, and no other member covers for a broken one.
        """

    def otherwise(self, logits: Logits, warp: AnyWarp) -> Tensor:
        """The law [..., V] where it is not; that of the second member if nothing else is said."""
        return warp(logits[1])

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        sure = self.sure(torch.softmax(logits[0], -1)).unsqueeze(-1)
        return torch.where(sure, warp(logits[0]), self.otherwise(logits, warp))

    def fixed(self, heard: Heard, warp: AnyWarp) -> Tensor:
        everybody = super().fixed(heard, warp)
        return everybody if heard[0] is None else everybody.to(heard[0].device) | self.sure(torch.softmax(heard[0], -1))

    def opener(self) -> int:
        return 0

    def early(self, warp: AnyWarp) -> bool:
        return True


@dataclass(frozen=True)
class Nudge(Gate):
    """See `nudge`."""

    roles = "the base and the model that nudges it"
    threshold: float

    @property
    def name(self) -> str:
        return f"nudge:{self.threshold:g}"

    def sure(self, base: Tensor) -> Tensor:
        return ~(base.amax(-1) < self.threshold)


def nudge(threshold: float = 0.3) -> Nudge:
    """Nudging: the base, unless its largest probability is below the threshold: then the nudging model's law
    (arXiv 2410.09300, whose nudging model goes on to the end of the word; here the base is asked at every token).

    Raises:
        ConfigurationError: the threshold is not in [0, 1].
    """
    return Nudge(share("threshold", threshold))


@dataclass(frozen=True)
class Mixed(Gate):
    """See `gate`."""

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

    def otherwise(self, logits: Logits, warp: AnyWarp) -> Tensor:
        laws = [weight * warp(logits[member]) for member, weight in enumerate(self.weights) if weight > 0]
        return torch.stack(laws).sum(0)

    def check(self, members: int) -> None:
        require_count("gate", len(self.weights), members)

    def needed(self, members: int) -> tuple[int, ...]:
        return tuple(member for member in range(members) if member == 0 or self.weights[member] > 0)


def gate(weights: Sequence[float], threshold: float | None = None, by: str = "confidence") -> Mixed:
    """A gated ensemble: the base, member 0, where it is sure; the weighted mixture of all where it is not.

    Args:
        weights: of the mixture, one per member, relative.
        threshold: by confidence, the base is sure from this largest probability on (default 0.5, as in GaC, arXiv
            2406.12585); by entropy, up to this entropy in nats (default 1).
        by: "confidence" or "entropy".

    Raises:
        ConfigurationError: weights are wrong, the measure is unknown, or the threshold is out of its range.
    """
    values = relative_weights(weights, "gate")
    require_known("measure of gate", [by], MEASURES)
    limit = (0.5 if by == "confidence" else 1.0) if threshold is None else threshold
    limit = share("threshold", limit) if by == "confidence" else finite("threshold", limit)
    if limit < 0:
        raise ConfigurationError(f"threshold must be 0 or more, not: {threshold}")
    return Mixed(values, limit, by)
