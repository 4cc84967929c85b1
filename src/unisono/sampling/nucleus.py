"""Top-p: which tokens belong to the smallest set of most probable tokens that has a given mass.

The definition is `keep_top_p`, which sorts all logits. `top_p_law` finds the same set without sorting the vocabulary: it
adds up the mass in bins of the probability, finds the bin in which the limit lies, and sorts only the
logits of this bin. So the time does not depend on how many tokens belong to the set.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unisono import transfer

SMALL = 1024  # rows of at most this many logits are sorted as a whole; the logits of a bin likewise
SUBBINS = 4096  # the number of bins into which a bin with more than `SMALL` logits is divided
NARROW = 1e-30  # the logits of a bin with a smaller spread are sorted
BITS = {torch.float32: (torch.int32, 17), torch.float64: (torch.int64, 46)}  # leaves the exponent and 6 bits
ROUNDING = 5e-7  # of the sum of a law in float32

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]


def top_p_law(logits: Tensor, mass: float) -> Tensor:
    """Return the softmax [..., V] of the logits of the nucleus of the given mass; all other tokens have probability 0.

    The nucleus is the set that `keep_top_p` keeps. Tokens whose cumulative probability differs from the limit by less
    than the rounding of the sums may be on the other side of the limit.
    """
    short = logits.shape[-1] <= SMALL or not logits.numel()
    if short or not transfer.on_host(logits) or logits.dtype not in BITS:
        return torch.softmax(keep_top_p(logits, mass), -1)
    laws = torch.softmax(logits, -1).view(-1, logits.shape[-1])
    pairs = zip(logits.reshape(laws.shape), laws, strict=True)
    rows = [_row(own, law, mass) for own, law in pairs]
    return (rows[0] if len(rows) == 1 else torch.stack(rows)).view(logits.shape)


def keep_top_p(logits: Tensor, mass: float) -> Tensor:
    """Return the logits [..., V], with -inf for the least probable tokens, whose probabilities sum to <= 1 - mass.

    Among equal logits, the highest id is dropped first. The most probable token is always kept.
    """
    descending, order = logits.sort(stable=True, dim=-1, descending=True)
    dropped = torch.softmax(descending.flip(-1), -1).cumsum(-1).flip(-1) <= 1 - mass
    dropped[..., 0] = False
    return logits.masked_fill(dropped.scatter(-1, order, dropped), -torch.inf)


def _row(logits: Tensor, law: Tensor, mass: float) -> Tensor:
    """Return the law [V] of the nucleus, from the logits and their softmax."""
    if bool(law[0].isnan()):  # no token is possible
        return law
    integer, shift = BITS[law.dtype]
    bins = law.detach().view(integer) >> shift  # the first bits of a positive float increase with the float
    cumulative = _sums(bins, law.detach())
    allowed = cumulative[-1] * (1 - mass)
    place = _place(cumulative, allowed)
    inside = np.flatnonzero(bins.numpy() == place)
    probabilities = law.detach().numpy()[inside]
    below = cumulative[place - 1] if place else 0.0
    dropped = _dropped(logits.detach().numpy()[inside], probabilities, allowed - below)
    least = np.nextafter(probabilities.min(), -1, dtype=probabilities.dtype)
    kept = torch.nn.functional.threshold(law, float(least), 0.0)
    kept[torch.from_numpy(inside[dropped])] = 0
    return kept.div_(kept.sum())


def _sums(bins: Tensor, law: Tensor) -> NDArray[np.float64]:
    """Return the cumulative sums of the mass in each bin."""
    sums: Tensor = torch.bincount(bins, law).double().cumsum(0)
    if abs(float(sums[-1]) - float(law.sum())) > ROUNDING:  # float32 sums of many equal numbers have a systematic error
        sums = torch.bincount(bins, law.double()).cumsum(0)
    return sums.numpy()


def _dropped(logits: Floats, weights: Floats, allowed: float) -> Flags:
    """Return which tokens are dropped: the least probable ones, whose weights sum to at most `allowed`. Keep one.

    Among equal logits, the highest id is dropped first. All arguments but `allowed` have one entry
    per token, in the order of the ids.
    """
    low = float(logits.min())
    spread = float(logits.max()) - low
    if len(logits) > SMALL and NARROW < spread < np.inf:
        bins = ((logits - low) * ((SUBBINS - 1) / spread)).astype(np.int64)
        cumulative = np.bincount(bins, weights).cumsum(dtype=np.float64)
        place = _place(cumulative, allowed)
        inside = np.flatnonzero(bins == place)
        dropped: Flags = bins < place
        below = cumulative[place - 1] if place else 0.0
        dropped[inside] = _dropped(logits[inside], weights[inside], allowed - below)
        return dropped
    order = np.argsort(-logits, kind="stable")[::-1]
    dropped = np.empty(len(logits), dtype=bool)
    dropped[order] = np.cumsum(weights[order], dtype=np.float64) <= allowed
    dropped[order[-1]] = False
    return dropped


def _place(cumulative: Floats, allowed: float) -> int:
    """Return the first bin at which the cumulative mass exceeds `allowed`. It is a bin with at least one token."""
    place = int(np.searchsorted(cumulative, allowed, side="right"))
    return min(place, len(cumulative) - 1)
