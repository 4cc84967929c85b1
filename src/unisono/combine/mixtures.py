"""Linear mixtures of the members' laws. `weighted` computes the mixture, `drawn` draws one member per position."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from unisono.combine.base import Traits, relative_weights, require_count
from unisono.combine.early import EarlyCombination
from unisono.combine.positions import Positions
from unisono.errors import require_known
from unisono.sampling.ranking import top
from unisono.sampling.warp import AnyWarp

ORDERS = ("warp-first", "combine-first")
ROUNDING = 1e-6  # mixtures that are summed in different orders may differ by this much


@dataclass(frozen=True)
class Weighted(EarlyCombination):
    """The mixture that `weighted` returns. Its weights sum to 1."""

    kind: ClassVar[str] = "weighted"
    weights: tuple[float, ...]
    order: str = ORDERS[0]

    @property
    def name(self) -> str:
        suffix = "" if self.order == ORDERS[0] else f",order={self.order}"
        return f"{self.kind}:" + ",".join(f"{weight:g}" for weight in self.weights) + suffix

    def check(self, members: int) -> None:
        require_count(self.kind, len(self.weights), members)

    def needed(self, members: int) -> tuple[int, ...]:
        return tuple(member for member in range(members) if self.weights[member] > 0)

    def scores(self, logits: Sequence[Tensor]) -> Tensor | None:
        if self._warps_first:
            return None
        return self._mix([torch.softmax(member, -1) for member in logits]).log()

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        if self._warps_first:
            return self._mix([member.law for member in positions.scores])
        return super().law(positions, warp)

    def traits(self, warp: AnyWarp) -> Traits:
        early = warp.greedy and self._warps_first and min(self.weights) < 0.5
        other = Drawn(self.weights) if self._warps_first and not warp.greedy else None
        return Traits(certainty=self if early else None, weights=self.weights, equivalent=other)

    def fixed(self, positions: Positions, warp: AnyWarp) -> Tensor:
        """Return at which positions the law is final: bool [N].

        At temperature 0 the members that have scored give a partial mixture. The law is final if the two largest
        entries of this mixture differ by more than the sum of the missing members' weights. At other temperatures the
        law is final if all needed members have scored.
        """
        complete = super().fixed(positions, warp)
        if not warp.greedy or not self._warps_first or bool(complete.all()):
            return complete
        heard = sorted(positions.heard)
        share = sum(self.weights[member] for member in heard)
        missing = 1 - share + ROUNDING
        if share <= missing:  # the two largest entries differ by at most the share
            return complete
        mixture = positions.scores[heard[0]].law * self.weights[heard[0]]
        for member in heard[1:]:
            mixture.add_(positions.scores[member].law, alpha=self.weights[member])
        best = top(mixture, 2)[0]
        return best[..., 0] - best[..., 1] > missing

    @property
    def _warps_first(self) -> bool:
        return self.order == ORDERS[0]

    def _mix(self, laws: Sequence[Tensor]) -> Tensor:
        # The first product is a new tensor, so adding to it in place changes no law and saves an allocation per member
        mixture = laws[0] * self.weights[0]
        for weight, law in zip(self.weights[1:], laws[1:], strict=True):
            mixture = mixture.add_(law, alpha=weight)
        return mixture


def weighted(weights: Sequence[float], order: str = "warp-first") -> Weighted:
    """Return the weighted ensemble `r = sum_i w_i p_i` (CoS, arXiv 2502.01662; also DIVERSED's static ensemble).

    Args:
        weights: one per member, 0 or more. They are divided by their sum.
        order: "warp-first" applies temperature and truncation to each member's law, and then mixes the laws.
            "combine-first" mixes the members' laws at temperature 1, and then applies temperature and truncation to the
            mixture. The two orders give different laws.

    Raises:
        ConfigurationError: weights are negative, all zero or not finite, or the order is unknown.
    """
    values = relative_weights(weights, "weighted")
    require_known("order", [order], ORDERS)
    return Weighted(values, order)


@dataclass(frozen=True)
class Drawn(Weighted):
    """The mixture that `drawn` returns. One member is drawn for each position. A member's weight is its probability."""

    kind = "drawn"
    drawn_by = ()

    def odds(self, positions: Positions) -> Tensor:
        """Return the weights of the members at each position, as the probabilities of drawing them: [N, M], float64."""
        count = len(positions.scores[0].logits)
        return torch.tensor(self.weights, dtype=torch.float64).expand(count, -1)

    def traits(self, warp: AnyWarp) -> Traits:
        return replace(super().traits(warp), equivalent=None)


def drawn(weights: Sequence[float]) -> Drawn:
    """Return an ensemble that draws one member for each position (Mixture-like Ensemble, arXiv 2605.00419).

    The law of the drawn member is the target law of the position, so only one member is needed per token. Texts have
    the same distribution as texts of `weighted(weights)` with the order "warp-first". At temperature 0 no member is
    drawn, and the text equals the text of `weighted(weights)`. Log-probabilities are those of the mixture.

    Args:
        weights: the probability of each member, 0 or more. The weights are divided by their sum.

    Raises:
        ConfigurationError: weights are negative, all zero or not finite.
    """
    return Drawn(relative_weights(weights, "drawn"))
