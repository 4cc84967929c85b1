"""Turn logits into probability distributions ("laws"). This is the only module that applies temperature and truncation.

The steps are temperature, top-k, top-p, min-p. Order and definitions are those of transformers' logits warpers. There
is one exception: among equal logits at the limit of top-p, the lowest ids are kept. All functions work on the last
dimension, so one call handles any number of positions. The logits have no padding rows, because members remove them.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from unisono import transfer
from unisono.params import SamplingParams
from unisono.sampling.nucleus import top_p_law
from unisono.sampling.ranking import best, top

HALF = (torch.float16, torch.bfloat16)  # laws of such logits are computed in float32


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

        At temperature 0 the distribution is one-hot at the largest logit; the lowest id wins a tie. At other
        temperatures, all entries are nan if no token is possible or if a logit is nan.
        """
        if self.greedy:
            return one_hot(logits)
        if logits.dtype in HALF:
            return self(logits.float()).to(logits.dtype)
        if self.top_k and self.top_k < logits.shape[-1]:  # before the shift, which may round small differences away
            if transfer.on_host(logits):
                return self._of_largest(logits)
            logits = keep_top_k(logits, self.top_k)
        if self.temperature != 1:
            logits = _tempered(logits, self.temperature)
        law = torch.softmax(logits, -1) if self.top_p >= 1 else top_p_law(logits, self.top_p)
        return _at_least(law, self.min_p) if self.min_p > 0 else law

    def _of_largest(self, logits: Tensor) -> Tensor:
        """Return the distributions if `top_k` is less than V. Only the k largest logits of each position are warped.

        If a position has no law, all its entries are nan, as without top-k.
        """
        count, rows, rest = self.top_k, logits.reshape(-1, logits.shape[-1]), replace(self, top_k=0)
        law = torch.zeros_like(rows)
        values, ids = top(rows, count + 1)
        ids = ids[:, :count].sort(-1).values  # top-p needs the order of the ids
        shares = rest(rows.gather(-1, ids))
        law.scatter_(-1, ids, shares)
        tied = (values[:, count - 1] == values[:, count]) & (values[:, count] > -torch.inf)
        for row in tied.nonzero()[:, 0].tolist():  # all logits that equal the k-th largest are kept
            kept = (rows[row] >= values[row, count]).nonzero()[:, 0]
            law[row] = 0
            law[row, kept] = rest(rows[row, kept])
        impossible = shares[:, :1].isnan()
        if bool(impossible.any()):
            law = law.masked_fill(impossible, torch.nan)
        return law.view(logits.shape)


def one_hot(scores: Tensor) -> Tensor:
    """Return laws with all probability on the largest score of the last dimension; the lowest id wins a tie."""
    return torch.zeros_like(scores).scatter_(-1, best(scores).unsqueeze(-1), 1.0)


def keep_top_k(logits: Tensor, count: int) -> Tensor:
    """Return the logits [..., V], with -inf for all logits that are smaller than the `count`-th largest logit."""
    least = logits.topk(min(count, logits.shape[-1]), -1).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    """Return the logits divided by the temperature, with the largest logit at 0.

    So a temperature near 0 makes only the smaller logits -inf, and no probability nan.
    """
    limits = torch.finfo(logits.dtype)
    return (logits - logits.amax(-1, keepdim=True)).div_(min(max(temperature, limits.tiny), limits.max))


def _at_least(law: Tensor, share: float) -> Tensor:
    """Return the laws [..., V] of the tokens with at least this share of the largest probability (min-p)."""
    relative = law / law.amax(-1, keepdim=True)
    limits = torch.tensor([share, -1.0], dtype=law.dtype, device="cpu")  # not on the law's device: the host reads it
    least = float(torch.nextafter(limits[0], limits[1]))
    kept = torch.nn.functional.threshold(relative, least, 0.0)
    return kept.div_(kept.sum(-1, keepdim=True))


def surely(scores: Tensor, laws: Tensor, greedy: bool) -> Tensor:
    """Return the largest probability at each position: [...].

    If `greedy`, the probabilities are the softmax of `scores`. Otherwise the probabilities are `laws`.
    """
    return (Warp()(scores) if greedy else laws).amax(-1)
