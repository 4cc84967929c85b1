"""Intervals: right in closed form, paired where pairs matter, and covering as often as they promise."""

import numpy as np
import pytest

from unisono.evals.statistics import difference, ratio, wilson


def test_wilson_by_hand():
    """8 of 10: the textbook's interval; and no interval of width 0 at the ends."""
    found = wilson(8, 10)
    assert found.value == 0.8
    assert found.low == pytest.approx(0.4902, abs=1e-4)
    assert found.high == pytest.approx(0.9433, abs=1e-4)
    assert wilson(0, 10).low == 0 < wilson(0, 10).high
    assert ratio([1.0] * 10).low == wilson(10, 10).low < 1


def test_a_ratio_weighs_by_size():
    """Bits over bytes, not the mean of quotients."""
    found = ratio([10.0, 1.0], [10.0, 100.0])
    assert found.value == 11 / 110
    assert ratio([3.0, 5.0]).value == 4


def test_pairs_make_differences_narrow():
    """Two methods that differ by 0.1 on every item: hard and easy items cancel."""
    hard = np.random.default_rng(0).normal(size=200)
    found = difference(list(hard + 0.1), list(hard))
    assert found.value == pytest.approx(0.1)
    assert found.high - found.low < 1e-6


@pytest.mark.statistical
def test_intervals_cover():
    """95% intervals of a difference cover the truth in 180 of 200 runs or more.

    Bootstrap intervals of 60 items cover about 94%; fewer than 180 then has probability below 1% for the fixed seed,
    which is what makes this test deterministic. It detects intervals that cover less than 85%.
    """
    generator, covered = np.random.default_rng(1), 0
    for _ in range(200):
        first, second = generator.random(60) < 0.6, generator.random(60) < 0.5
        found = difference(list(first * 1.0), list(second * 1.0))
        covered += found.low <= 0.1 <= found.high
    assert covered >= 180
