"""Linear mixtures of the members' probabilities, mixed at each position or drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unisono.combine.base import Combination, Heard, Logits, relative_weights, require_count
from unisono.errors import require_known
from unisono.sampling.warp import AnyWarp

ORDERS = ("warp-first", "combine-first")
ROUNDING = 1e-6  # a mixture added up in another order may differ by so much


@dataclass(frozen=True)
class Weighted(Combination):
    """See `weighted`."""

    kind: ClassVar[str] = "weighted"
    weights: tuple[float, ...]
    order: str = ORDERS[0]

    @property
    def name(self) -> str:
        suffix = "" if self.order == ORDERS[0] else f",order={self.order}"
        return f"{self.kind}:" + ",".join(f"{weight:g}" for weight in self.weights) + suffix

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        if self.order == "warp-first":
            return self._mix([warp(member) for member in logits])
        mixture = self._mix([torch.softmax(member, -1) for member in logits])
        return warp(mixture.log())

    def check(self, members: int) -> None:
        require_count(self.kind, len(self.weights), members)

    def needed(self, members: int) -> tuple[int, ...]:
        return tuple(member for member in range(members) if self.weights[member] > 0)

    def equivalent(self, warp: AnyWarp) -> Combination:
        return self if warp.greedy or self.order != ORDERS[0] else Drawn(self.weights)

    def early(self, warp: AnyWarp) -> bool:
        return warp.greedy and self.order == ORDERS[0] and sorted(self.weights)[0] < 0.5

    def fixed(self, heard: Heard, warp: AnyWarp) -> Tensor:
        """At temperature 0 a leader is certain that no weight that is still missing can overtake."""
        everybody = super().fixed(heard, warp)
        if not warp.greedy or self.order != "warp-first" or bool(everybody.all()):
            return everybody
        said = [(weight, member) for weight, member in zip(self.weights, heard, strict=True) if member is not None]
        mixture = torch.stack([weight * warp.untempered()(member) for weight, member in said]).sum(0)
        best = mixture.topk(2, -1).values
        return best[..., 0] - best[..., 1] > 1 - sum(weight for weight, _ in said) + ROUNDING

    def weight(self, member: int) -> float:
        return self.weights[member]

    def _mix(self, laws: list[Tensor]) -> Tensor:
        # In place on the first product: laws are [K, V], and this runs for every token
        mixture = laws[0] * self.weights[0]
        for weight, law in zip(self.weights[1:], laws[1:], strict=True):
            mixture = mixture.add_(law, alpha=weight)
        return mixture


def weighted(weights: Sequence[float], order: str = "warp-first") -> Weighted:
    """Weighted ensemble: `r = sum_i w_i p_i` (CoS, arXiv 2502.01662; DIVERSED's static ensemble, everywhere exact).

    Args:
        weights: one per member, 0 or more; they are relative and normalised to sum 1.
        order: "warp-first" tempers and truncates each member, then mixes; "combine-first" mixes the members'
            probabilities at temperature 1, then tempers and truncates the mixture. The laws differ.

    Raises:
        ConfigurationError: weights are negative, all zero or not finite, or the order is unknown.
    """
    values = relative_weights(weights, "weighted")
    require_known("order", [order], ORDERS)
    return Weighted(values, order)


@dataclass(frozen=True)
class Drawn(Weighted):
    """See `drawn`."""

    kind = "drawn"

    def odds(self, warp: AnyWarp) -> tuple[float, ...]:
        return () if warp.greedy else self.weights


def drawn(weights: Sequence[float]) -> Drawn:
    """A weighted ensemble by drawing: at each position one member, drawn by the weights, decides alone (Mixture-like
    Ensemble, arXiv 2605.00419).

    Texts have the law of `weighted(weights)`, warp-first, since a mixture is what one draws from by drawing a component
    first; but only one member is needed per token. At temperature 0 a drawn member's favourite is neither the mixture's
    nor a sample of it: there this is `weighted`, and follows the mixture's. Log-probabilities are those of the mixture.

    Args:
        weights: one per member, 0 or more; they are relative and normalised to sum 1.

    Raises:
        ConfigurationError: weights are negative, all zero or not finite.
    """
    return Drawn(relative_weights(weights, "drawn"))
