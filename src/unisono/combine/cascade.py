"""Speculative cascades: a small model's law where a rule trusts it, the large one's elsewhere (arXiv 2405.19261).

Rules read probabilities at temperature 1; what they choose between is warped.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, Logits, share
from unisono.combine.gates import Gate
from unisono.errors import require_known
from unisono.sampling.warp import AnyWarp

ROLES = "the small model and the large one"


@dataclass(frozen=True)
class Chow(Gate):
    """The small model where its largest probability is at least `1 - alpha` (equation 2)."""

    roles = ROLES
    alpha: float

    @property
    def name(self) -> str:
        return f"cascade:rule=chow,alpha={self.alpha:g}"

    def sure(self, base: Tensor) -> Tensor:
        return ~(base.amax(-1) < 1 - self.alpha)


@dataclass(frozen=True)
class Opt(Combination):
    """The small model where `max q >= max p - alpha TV(p, q)` (equation 10)."""

    roles = ROLES
    alpha: float

    @property
    def name(self) -> str:
        return f"cascade:rule=opt,alpha={self.alpha:g}"

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        small, large = (torch.softmax(member, -1) for member in logits)
        variation = (small - large).abs().sum(-1) / 2
        kept = small.amax(-1) >= large.amax(-1) - self.alpha * variation
        law = torch.where(kept.unsqueeze(-1), warp(logits[0]), warp(logits[1]))
        return law + 0 * variation.unsqueeze(-1)  # nan if either member's scores are, though the other one is chosen


@dataclass(frozen=True)
class TokenV3(Combination):
    """`q(v) 1[v in A] + q(not A) p(v)` with `A = {v: p(v) >= (1 - alpha) max p}` (equation 15)."""

    roles = ROLES
    alpha: float

    @property
    def name(self) -> str:
        return f"cascade:rule=tokenv3,alpha={self.alpha:g}"

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        large = torch.softmax(logits[1], -1)
        trusted = large >= (1 - self.alpha) * large.amax(-1, keepdim=True)
        small = warp(logits[0])
        rest = torch.where(trusted, 0.0, small).sum(-1, keepdim=True)
        return torch.where(trusted, small, 0.0) + rest * warp(logits[1])


RULES: dict[str, Callable[[float], Combination]] = {"chow": Chow, "opt": Opt, "tokenv3": TokenV3}


def cascade(rule: str = "chow", alpha: float = 0.3) -> Combination:
    """A speculative cascade of a small model, listed first, and a large one (arXiv 2405.19261).

    Args:
        rule: "chow" (equation 2), "opt" (10) or "tokenv3" (15).
        alpha: lenience in [0, 1]: larger keeps the small model more often.

    Raises:
        ConfigurationError: the rule is unknown, or alpha is not in [0, 1].
    """
    require_known("rule of cascade", [rule], RULES)
    return RULES[rule](share("alpha", alpha))
