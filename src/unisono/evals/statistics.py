"""Means and paired differences with 95% intervals.

The intervals come from resampling items. The scores of two methods are resampled together, because both methods had the
same items.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
NORMAL = 1.959964  # quantile of the normal distribution for LEVEL


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return the estimate as plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def ratio(scores: Sequence[float], sizes: Sequence[float] | None = None, seed: int = 0) -> Estimate:
    """Return `sum(scores) / sum(sizes)` with a bootstrap interval over items. Without sizes, return the mean.

    If all scores are 0 or 1 and there are no sizes, the interval is Wilson's. If all scores were equal, resampling
    would give an interval of width 0.
    """
    if sizes is None and set(scores) <= {0.0, 1.0}:
        return wilson(int(sum(scores)), len(scores))
    return _bootstrapped(np.asarray(scores, dtype=float), sizes, seed)


def difference(
    scores: Sequence[float], others: Sequence[float], sizes: Sequence[float] | None = None, seed: int = 0
) -> Estimate:
    """Return `ratio(scores) - ratio(others)` with a paired bootstrap interval over items."""
    return _bootstrapped(np.asarray(scores, dtype=float) - np.asarray(others, dtype=float), sizes, seed)


def wilson(successes: int, count: int) -> Estimate:
    """Return a proportion with Wilson's score interval, which is also valid for the proportions 0 and 1."""
    share = successes / count
    prior = NORMAL**2 / count
    middle = (share + prior / 2) / (1 + prior)
    variance = share * (1 - share) / count + prior / (4 * count)
    spread = NORMAL * math.sqrt(variance) / (1 + prior)
    return Estimate(share, max(0.0, middle - spread), min(1.0, middle + spread))


def _bootstrapped(values: np.ndarray, sizes: Sequence[float] | None, seed: int) -> Estimate:
    weights = np.ones_like(values) if sizes is None else np.asarray(sizes, dtype=float)
    count, generator = len(values), np.random.default_rng(seed)
    # [RESAMPLES, count]: the number of times that each item is in each resample
    draws = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float32)
    low, high = np.quantile((draws @ values) / (draws @ weights), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values.sum() / weights.sum()), float(low), float(high))
