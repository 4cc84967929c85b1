"""Means with intervals. Everything is compared on the same items, so differences are paired.

The one idea: items are resampled together for all methods, so an interval of a difference knows that both methods met
the same easy and hard items.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
NORMAL = 1.959964  # the quantile of the normal law for this level


@dataclass(frozen=True)
class Estimate:
    """A value with its interval of 95%."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def ratio(scores: Sequence[float], sizes: Sequence[float] | None = None, seed: int = 0) -> Estimate:
    """`sum scores / sum sizes` (the mean without sizes), with a bootstrap interval over items.

    Where resampling says nothing because all scores are equal, a proportion gets Wilson's interval.
    """
    values = np.asarray(scores, dtype=float)
    weights = np.ones_like(values) if sizes is None else np.asarray(sizes, dtype=float)
    if sizes is None and set(values.tolist()) <= {0.0, 1.0}:
        return wilson(int(values.sum()), len(values))
    draws = _draws(len(values), seed)
    return _estimate(values.sum() / weights.sum(), (draws @ values) / (draws @ weights))


def difference(
    scores: Sequence[float], others: Sequence[float], sizes: Sequence[float] | None = None, seed: int = 0
) -> Estimate:
    """`ratio(scores) - ratio(others)`, items resampled in pairs."""
    gaps = np.asarray(scores, dtype=float) - np.asarray(others, dtype=float)
    weights = np.ones_like(gaps) if sizes is None else np.asarray(sizes, dtype=float)
    draws = _draws(len(gaps), seed)
    return _estimate(gaps.sum() / weights.sum(), (draws @ gaps) / (draws @ weights))


def wilson(successes: int, count: int) -> Estimate:
    """A proportion with Wilson's score interval, which is right at 0 and 1 too."""
    share = successes / count
    prior = NORMAL**2 / count
    middle = (share + prior / 2) / (1 + prior)
    variance = share * (1 - share) / count + prior / (4 * count)
    spread = NORMAL * math.sqrt(variance) / (1 + prior)
    return Estimate(share, max(0.0, middle - spread), min(1.0, middle + spread))


def _draws(count: int, seed: int) -> np.ndarray:
    """How often each item is in each resample: [RESAMPLES, count]."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float32)


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))
