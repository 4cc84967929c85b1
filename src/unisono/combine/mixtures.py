"""Linear mixtures of the members' probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, Logits, finite_weights, require_count
from unisono.errors import unknown
from unisono.warp import AnyWarp

ORDERS = ("warp-first", "combine-first")


@dataclass(frozen=True)
class Weighted(Combination):
    """See `weighted`."""

    weights: tuple[float, ...]
    order: str

    @property
    def name(self) -> str:
        suffix = "" if self.order == ORDERS[0] else f",order={self.order}"
        return "weighted:" + ",".join(f"{weight:g}" for weight in self.weights) + suffix

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        if self.order == "warp-first":
            return self._mix([warp(member) for member in logits])
        mixture = self._mix([torch.softmax(member, -1) for member in logits])
        return warp(mixture.log())

    def check(self, members: int) -> None:
        require_count("weighted", len(self.weights), members)

    def needed(self, members: int) -> tuple[int, ...]:
        return tuple(member for member in range(members) if self.weights[member] > 0)

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
    values = finite_weights(weights, "weighted")
    if order not in ORDERS:
        raise unknown("order", str(order), ORDERS)
    total = sum(values)
    return Weighted(tuple(value / total for value in values), order)
