"""Assertions for the tests of combinations, schedules and samplers."""

import math
from collections.abc import Sequence
from typing import Any

from unisono.members.table import TableMember
from unisono.sampling.logits_edits import Edits
from unisono.sampling.warp import Warp
from unisono.testing.enumeration import Tokens
from unisono.testing.laws import largest_error


def assert_schedule(schedule: object, members: int = 2) -> None:
    """Assert that a schedule is exact: for several combinations, temperatures, and with penalties."""
    even = "weighted:" + ",".join(str(index + 1) for index in range(members))
    for combination in (even, even + ",order=combine-first", "product", "only:0"):
        _assert_exact(combination, schedule, members, edits=Edits(repetition=1.2))


def assert_combination(combination: object, members: int = 2) -> None:
    """Assert that a combination is a law and that every schedule follows it, at several temperatures."""
    for schedule in ("standard", "parallel", "speculative:1", "cos:" + ",".join("1" * members)):
        _assert_exact(combination, schedule, members)


def _assert_exact(combination: object, schedule: object, members: int, **options: Any) -> None:
    for warp in (Warp(), Warp(0.7, top_k=2), Warp(0)):
        error = largest_error(unequal_members(members), combination, schedule, 3, warp=warp, **options)
        if error > 1e-12:
            raise AssertionError(f"{schedule} is off by {error:.1e} for {combination} and {warp}")


def assert_law(outcomes: Sequence[Tokens], law: dict[Tokens, float], detects: float, alpha: float = 1e-9) -> None:
    """Assert that independent outcomes follow a law. If they do, the assertion fails with probability `alpha` at most.

    The test compares the L1 distance between frequencies and law with its bound (Weissman et al. 2003), which holds for every
    sample size. `detects` is the smallest total-variation error that the test must find with probability 1 - alpha; too few
    outcomes for that are an error of the test's author.
    """
    cells = len(law)
    radius = math.sqrt(2 * (cells * math.log(2) + math.log(1 / alpha)) / len(outcomes))
    if radius > detects:  # a law off by `detects` is 2 * detects away in L1: one radius beyond the bound
        raise ValueError(f"{len(outcomes)} outcomes detect a total variation of {radius:.3g}, not {detects:.3g}")
    counts = dict.fromkeys(law, 0)
    for outcome in outcomes:
        if outcome not in counts:
            raise AssertionError(f"impossible outcome {outcome}")
        counts[outcome] += 1
    distance = sum(abs(counts[outcome] / len(outcomes) - mass) for outcome, mass in law.items())
    if distance > radius:
        raise AssertionError(f"L1 distance {distance:.4f} over {radius:.4f} at n={len(outcomes)}: {counts} for {law}")


def unequal_members(count: int, vocabulary: int = 3, seed: int = 1) -> list[TableMember]:
    """Return table members that disagree; the first one is the smallest."""
    return [TableMember.random(vocabulary, seed + index, f"table-{index}", index + 1) for index in range(count)]
