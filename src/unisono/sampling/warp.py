"""Turn logits into probability distributions ("laws"). This is the only module that applies temperature and truncation.

The steps are temperature, top-k, top-p, min-p. Order and definitions are those of transformers' logits warpers. All
functions work on the last dimension, so one call handles any number of positions. The logits have no padding rows,
because members remove them.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unisono.params import SamplingParams


class AnyWarp(Protocol):
    """A function from logits to distributions: a `Warp` or an `EditedWarp`."""

    @property
    def greedy(self) -> bool:
        """Return whether the distributions are one-hot, as at temperature 0."""

    def untempered(self) -> "AnyWarp":
        """Return this warp at temperature 1 without truncation."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the distributions [..., V] for logits [..., V]."""


@dataclass(frozen=True)
class Warp:
    """A function from logits to distributions. The default is plain softmax: temperature 1 without truncation."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    @classmethod
    def of(cls, params: SamplingParams) -> "Warp":
        return cls(params.temperature, params.top_k, params.top_p, params.min_p)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def untempered(self) -> "Warp":
        return Warp()

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the distributions [..., V] for logits [..., V], in the same dtype. -inf marks an impossible token.

        At temperature 0 the distribution is one-hot at the largest logit; the lowest id wins a tie.
        """
        if self.greedy:
            return one_hot(logits)
        if self.top_k:  # before the shift below, which may round small differences away
            logits = _keep_top_k(logits, self.top_k)
        # The largest logit becomes 0. So a temperature near 0 makes only smaller logits -inf, and no probability nan
        limits = torch.finfo(logits.dtype)
        logits = (logits - logits.amax(-1, keepdim=True)) / min(max(self.temperature, limits.tiny), limits.max)
        if self.top_p < 1:
            logits = _keep_top_p(logits, self.top_p)
        if self.min_p > 0:
            logits = _keep_min_p(logits, self.min_p)
        return torch.softmax(logits, -1)


def one_hot(scores: Tensor) -> Tensor:
    """Return laws with all probability on the largest score of the last dimension; the lowest id wins a tie."""
    best = scores.argmax(-1, keepdim=True)
    return torch.zeros_like(scores).scatter_(-1, best, 1.0)


def largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest scores of the last dimension and their ids, best first; the lowest id wins a tie."""
    if count <= 1:
        ids = scores.argmax(-1, keepdim=True)[..., :count]
        return scores.gather(-1, ids), ids
    values, ids = scores.sort(stable=True, dim=-1, descending=True)
    return values[..., :count], ids[..., :count]


def _keep_top_k(logits: Tensor, count: int) -> Tensor:
    least = logits.topk(min(count, logits.shape[-1]), -1).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def _keep_top_p(logits: Tensor, mass: float) -> Tensor:
    ascending, order = logits.sort(-1)
    dropped = torch.softmax(ascending, -1).cumsum(-1) <= 1 - mass
    dropped[..., -1] = False
    return logits.masked_fill(dropped.scatter(-1, order, dropped), -torch.inf)


def _keep_min_p(logits: Tensor, share: float) -> Tensor:
    law = torch.softmax(logits, -1)
    return logits.masked_fill(law < share * law.amax(-1, keepdim=True), -torch.inf)


def surely(scores: Tensor, laws: Tensor, greedy: bool) -> Tensor:
    """Return the largest probability at each position: [...].

    If `greedy`, the probabilities are the softmax of `scores`. Otherwise the probabilities are `laws`.
    """
    return (Warp()(scores) if greedy else laws).amax(-1)
