"""Speculative cascades of a small and a large model (arXiv 2405.19261).

At each position, a rule chooses between the laws of the two models. Rules read probabilities at temperature 1 without
edits. The laws that a rule chooses from are warped. In formulas, q is the law of the small model, and p is the law of
the large model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, OwnCombination, share
from unisono.combine.gates import Gate
from unisono.combine.positions import Positions
from unisono.errors import require_known
from unisono.sampling.warp import AnyWarp

ROLES = "the small model and the large one"


@dataclass(frozen=True)
class Chow(Gate):
    """The cascade whose law is q at positions where `max q >= 1 - alpha`, and p at all other positions (equation 2).

    q is the small model's law. p is the large model's law.
    """

    roles = ROLES
    alpha: float

    @property
    def name(self) -> str:
        return f"cascade:rule=chow,alpha={self.alpha:g}"

    def sure(self, base: Tensor) -> Tensor:
        return ~(base.amax(-1) < 1 - self.alpha)


@dataclass(frozen=True)
class Opt(OwnCombination):
    """The cascade whose law is q at positions where `max q >= max p - alpha TV(p, q)`, else p (equation 10).

    q is the small model's law. p is the large model's law. TV is the total variation distance.
    """

    roles = ROLES
    alpha: float

    @property
    def name(self) -> str:
        return f"cascade:rule=opt,alpha={self.alpha:g}"

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        small, large = (member.raw for member in positions.scores)
        variation = (small - large).abs().sum(-1) / 2
        kept = small.amax(-1) >= large.amax(-1) - self.alpha * variation
        law = torch.where(kept.unsqueeze(-1), positions.scores[0].law, positions.scores[1].law)
        return law + 0 * variation.unsqueeze(-1)  # nan if the scores of either member are nan


@dataclass(frozen=True)
class TokenV3(OwnCombination):
    """The cascade with the law `q(v) 1[v in A] + q(not A) p(v)` (equation 15).

    q is the small model's law. p is the large model's law. `A = {v: p(v) >= (1 - alpha) max p}`.
    """

    roles = ROLES
    alpha: float

    @property
    def name(self) -> str:
        return f"cascade:rule=tokenv3,alpha={self.alpha:g}"

    def law(self, positions: Positions, warp: AnyWarp) -> Tensor:
        small, large = positions.scores
        trusted = large.raw >= (1 - self.alpha) * large.raw.amax(-1, keepdim=True)
        rest = torch.where(trusted, 0.0, small.law).sum(-1, keepdim=True)
        return torch.where(trusted, small.law, 0.0) + rest * large.law


RULES: dict[str, Callable[[float], Combination]] = {"chow": Chow, "opt": Opt, "tokenv3": TokenV3}


def cascade(rule: str = "chow", alpha: float = 0.3) -> Combination:
    """Return a speculative cascade of a small model, which is the first member, and a large model (arXiv 2405.19261).

    Args:
        rule: "chow" (equation 2), "opt" (equation 10) or "tokenv3" (equation 15).
        alpha: the tolerance, in [0, 1]. With a larger value, the small model's law is used more often.

    Raises:
        ConfigurationError: the rule is unknown, or alpha is not in [0, 1].
    """
    require_known("rule of cascade", [rule], RULES)
    return RULES[rule](share("alpha", alpha))
