"""Combinations of the members' logits. All combine first and temper and truncate the outcome."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import Combination, Logits, finite, finite_weights, require_count
from unisono.errors import ConfigurationError
from unisono.sampling.warp import AnyWarp

PAIR = "the expert and the amateur"


def linear(logits: Logits, coefficients: Sequence[float]) -> Tensor:
    """`sum_i c_i l_i` [..., V]; -inf wherever any member's logit is, whatever its coefficient."""
    total = logits[0] * coefficients[0]
    for coefficient, member in zip(coefficients[1:], logits[1:], strict=True):
        total = total.add_(member, alpha=coefficient)
    # 0 * -inf and inf - inf are nan, and -(-inf) is inf: a token that one member rules out is ruled out
    impossible = torch.stack([member.isneginf() for member in logits]).any(0)
    return total.masked_fill_(impossible, -torch.inf)


@dataclass(frozen=True)
class Product(Combination):
    """See `product`."""

    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        return "product:" + ",".join(f"{weight:g}" for weight in self.weights)

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        # Normalising constants of the members shift all logits alike and vanish in the softmax
        return warp(linear(logits, self.weights))

    def check(self, members: int) -> None:
        require_count("product", len(self.weights), members)

    def weight(self, member: int) -> float:
        return self.weights[member]


def product(weights: Sequence[float]) -> Product:
    """Product of experts, or log-linear pool: `r ∝ prod_i p_i ** w_i`.

    Args:
        weights: exponents, one per member, 0 or more: sum 1 for a geometric mean, 1 each for a product of experts.

    Raises:
        ConfigurationError: weights are negative, all zero or not finite.
    """
    return Product(finite_weights(weights, "product"))


@dataclass(frozen=True)
class Contrastive(Combination):
    """See `contrastive`."""

    roles = PAIR
    leading = 1.0
    mu: float

    @property
    def name(self) -> str:
        return f"contrastive:{self.mu:g}"

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        return warp(linear(logits, (1.0, -self.mu)))


def contrastive(mu: float = 0.1) -> Contrastive:
    """Contrastive decoding as in CoS: `r = softmax(l_expert - mu * l_amateur)`, expert first (arXiv 2502.01662).

    Raises:
        ConfigurationError: mu is not finite.
    """
    return Contrastive(finite("mu", mu))


@dataclass(frozen=True)
class ContrastiveMasked(Combination):
    """See `contrastive_masked`."""

    roles = PAIR
    leading = 1.0
    alpha: float
    beta: float

    @property
    def name(self) -> str:
        return f"contrastive_masked:alpha={self.alpha:g},beta={self.beta:g}"

    def __call__(self, logits: Logits, warp: AnyWarp) -> Tensor:
        expert = logits[0]
        least = expert.amax(-1, keepdim=True) + math.log(self.alpha)
        scores = linear(logits, (1 + self.beta, -self.beta))
        return warp(scores.masked_fill_(expert < least, -torch.inf))


def contrastive_masked(alpha: float = 0.1, beta: float = 0.5) -> ContrastiveMasked:
    """Contrastive decoding with a plausibility mask: `(1 + beta) l_expert - beta l_amateur` over the tokens with
    `p_expert >= alpha max p_expert`; the rest have no mass (O'Brien & Lewis, arXiv 2309.09117). Expert first.

    Raises:
        ConfigurationError: alpha is outside (0, 1], or beta is not finite.
    """
    if not 0 < finite("alpha", alpha) <= 1:
        raise ConfigurationError(f"alpha must be in (0, 1], not: {alpha}")
    return ContrastiveMasked(float(alpha), finite("beta", beta))
