"""Logits -> law. The only place where logits are tempered or truncated.

Order and definitions are those of transformers' logits warpers: temperature, top-k, top-p, min-p. Everything acts on
the last dimension, so one call serves any number of positions. Rows of padding never reach this module: members cut
their logits to the common vocabulary.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unisono.params import SamplingParams


class AnyWarp(Protocol):
    """Logits -> law: a `Warp`, or one behind edits."""

    @property
    def greedy(self) -> bool:
        """Whether the law is one-hot."""
        ...

    def untempered(self) -> "AnyWarp":
        """The same at temperature 1, without truncation."""
        ...

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits [..., V] -> law [..., V]."""
        ...


@dataclass(frozen=True)
class Warp:
    """How logits become a law. The default leaves them as they are: softmax at temperature 1."""

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
        """The warp at temperature 1 without truncation."""
        return Warp()

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits [..., V], -inf where a token is impossible -> law [..., V] of the same dtype.

        At temperature 0 the law is one-hot at the largest logit, the lowest id among equals.
        """
        if self.greedy:
            return one_hot(logits)
        if self.top_k:  # no temperature changes the order, but the shift below rounds small differences away
            logits = _keep_top_k(logits, self.top_k)
        # With the largest logit at 0, a temperature near 0 makes the others -inf, not the whole law nan
        limits = torch.finfo(logits.dtype)
        logits = (logits - logits.amax(-1, keepdim=True)) / min(max(self.temperature, limits.tiny), limits.max)
        if self.top_p < 1:
            logits = _keep_top_p(logits, self.top_p)
        if self.min_p > 0:
            logits = _keep_min_p(logits, self.min_p)
        return torch.softmax(logits, -1)


def one_hot(scores: Tensor) -> Tensor:
    """All mass on the largest score of the last dimension; ties go to the lowest id."""
    best = scores.argmax(-1, keepdim=True)
    return torch.zeros_like(scores).scatter_(-1, best, 1.0)


def largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest scores of the last dimension and their ids, best first; ties go to the lowest id."""
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
    """How sure of its token a member is [...]: the largest probability in its laws [..., V], at temperature 1 if greedy."""
    return (Warp()(scores) if greedy else laws).amax(-1)
