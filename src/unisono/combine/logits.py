"""Combinations of the members' logits. The logits are combined first. The warp is applied to the combined logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono.combine.base import OwnCombination, Traits, finite, finite_weights, require_count
from unisono.errors import ConfigurationError
from unisono.sampling.warp import AnyWarp

PAIR = "the expert and the amateur"


def linear(logits: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    """Return the linear combination `sum_i c_i l_i` of logits: [..., V].

    The result is -inf where the logit of any member is -inf, even if the member's coefficient is 0.
    """
    total = logits[0] * coefficients[0]
    for coefficient, member in zip(coefficients[1:], logits[1:], strict=True):
        total = total.add_(member, alpha=coefficient)
    # Here 0 * -inf and inf - inf have given nan, and -(-inf) has given inf
    impossible = torch.stack([member.isneginf() for member in logits]).any(0)
    return total.masked_fill_(impossible, -torch.inf)


class Steered(OwnCombination):
    """A combination in which only the first member has a weight. If all members have the same size, it proposes."""

    def traits(self, warp: AnyWarp) -> Traits:
        return Traits(weights=(1.0,))


@dataclass(frozen=True)
class Product(OwnCombination):
    """The combination that `product` returns."""

    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        return "product:" + ",".join(f"{weight:g}" for weight in self.weights)

    def scores(self, logits: Sequence[Tensor]) -> Tensor:
        # The normalising constants of the members shift all logits equally, so the softmax removes them
        return linear(logits, self.weights)

    def check(self, members: int) -> None:
        require_count("product", len(self.weights), members)

    def traits(self, warp: AnyWarp) -> Traits:
        return Traits(weights=self.weights)


def product(weights: Sequence[float]) -> Product:
    """Return the weighted product of the members' laws (log-linear pool): `r ∝ prod_i p_i ** w_i`.

    Args:
        weights: the exponents, one per member, 0 or more. If they sum to 1, the law is a geometric mean. If all are 1,
            the law is the product of experts.

    Raises:
        ConfigurationError: weights are negative, all zero or not finite.
    """
    return Product(finite_weights(weights, "product"))


@dataclass(frozen=True)
class Contrastive(Steered):
    """The combination that `contrastive` returns."""

    roles = PAIR
    mu: float

    @property
    def name(self) -> str:
        return f"contrastive:{self.mu:g}"

    def scores(self, logits: Sequence[Tensor]) -> Tensor:
        return linear(logits, (1.0, -self.mu))


def contrastive(mu: float = 0.1) -> Contrastive:
    """Return contrastive decoding as in CoS: `r = softmax(l_expert - mu * l_amateur)` (arXiv 2502.01662).

    The first member is the expert, the second member is the amateur.

    Raises:
        ConfigurationError: mu is not finite.
    """
    return Contrastive(finite("mu", mu))


@dataclass(frozen=True)
class ContrastiveMasked(Steered):
    """The combination that `contrastive_masked` returns."""

    roles = PAIR
    alpha: float
    beta: float

    @property
    def name(self) -> str:
        return f"contrastive_masked:alpha={self.alpha:g},beta={self.beta:g}"

    def scores(self, logits: Sequence[Tensor]) -> Tensor:
        expert = logits[0]
        least = expert.amax(-1, keepdim=True) + math.log(self.alpha)
        scores = linear(logits, (1 + self.beta, -self.beta))
        return scores.masked_fill_(expert < least, -torch.inf)


def contrastive_masked(alpha: float = 0.1, beta: float = 0.5) -> ContrastiveMasked:
    """Return contrastive decoding with a plausibility mask (O'Brien & Lewis, arXiv 2309.09117).

    The law is the softmax of `(1 + beta) l_expert - beta l_amateur` over the plausible tokens. A token is plausible if
    `p_expert >= alpha max p_expert`. All other tokens have probability 0. The first member is the expert, the second
    member is the amateur.

    Raises:
        ConfigurationError: alpha is outside (0, 1], or beta is not finite.
    """
    if not 0 < finite("alpha", alpha) <= 1:
        raise ConfigurationError(f"alpha must be in (0, 1], not: {alpha}")
    return ContrastiveMasked(float(alpha), finite("beta", beta))
