"""The keyed generator through the real loop: whole sequences of independent seeds follow the exact law.

Enumeration proves the loop; these tests only have to find out whether its random numbers are what it takes them for. Each
assertion raises a false alarm with probability 1e-9, and misses a total-variation error of `detects` with the same.
"""

from collections.abc import Sequence

import pytest
import torch

from tests.core.helpers import HistoryMember
from unisono.combine import Combination, contrastive, only, weighted
from unisono.decoding import Schedule, cos, speculative
from unisono.decoding import verification as verify
from unisono.decoding.engine import Engine
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import Tokens, assert_law, brute_force, contexts, decode

pytestmark = pytest.mark.statistical

CASES = [
    (weighted([0.7, 0.3]), cos(1, 1)),
    (contrastive(0.5), cos(2, 1)),
    (weighted([0.7, 0.3]), speculative(2)),
    (only(1), speculative(2)),
]


def members() -> list[TableMember]:
    return [HistoryMember.random(2, seed) for seed in (1, 2)]


def sampled(combination: Combination, schedule: Schedule, tokens: int, seeds: Sequence[int]) -> list[Tokens]:
    """What each seed gives, in rows of one engine."""
    pair, found = members(), []
    lineup = Lineup(tuple(pair))
    engine, task = Engine(lineup, rows=256), Task(contexts(pair), Warp(), tokens)
    method = Method(combination, schedule, verify.VERIFICATIONS["token"], 0)
    for start in range(0, len(seeds), 4096):
        part = seeds[start : start + 4096]
        rows = [Row(lineup, method, task, KeyedNoise(seed)) for seed in part]
        engine.submit(*rows)
        for row in rows:
            engine.run(row)
        found += [tuple(row.frontier.committed) for row in rows]
    return found


@pytest.mark.parametrize(("combination", "schedule"), CASES, ids=lambda value: value.name)
def test_sequences_follow_the_law(combination: Combination, schedule: Schedule):
    """Three tokens of 5,300 consecutive seeds (detects 0.1)."""
    law = brute_force(members(), combination, 3)
    assert_law(sampled(combination, schedule, 3, range(5_300)), law, detects=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("combination", "schedule"), [CASES[0], CASES[2]], ids=lambda value: value.name)
def test_sequences_follow_the_law_closely(combination: Combination, schedule: Schedule):
    """Two tokens of 118,000 consecutive seeds (detects 0.02)."""
    law = brute_force(members(), combination, 2)
    assert_law(sampled(combination, schedule, 2, range(118_000)), law, detects=0.02)


def test_samples_of_one_request_follow_the_law():
    """Many samples of one seed are as independent as different seeds are (detects 0.1)."""
    pair, combination = members(), weighted([0.7, 0.3])
    runs = [decode(pair, combination, cos(1, 1), KeyedNoise(1, sample), 2) for sample in range(4_700)]
    assert_law(runs, brute_force(pair, combination, 2), detects=0.1)


def test_always_accepting_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """The negative control: a loop that accepts everything follows the proposer, and must fail."""
    monkeypatch.setattr(verify, "acceptance", lambda r, s: torch.ones_like(r))
    combination = weighted([0.3, 0.7])
    law = brute_force(members(), combination, 3)
    with pytest.raises(AssertionError, match="L1 distance"):
        assert_law(sampled(combination, cos(2, 1), 3, range(2_400)), law, detects=0.15)


def test_too_few_samples_are_an_error():
    """A test that could not see the error it is to detect does not pass."""
    with pytest.raises(ValueError, match="detect"):
        assert_law([(0,)] * 100, {(0,): 0.5, (1,): 0.5}, detects=0.1)


def test_impossible_outcomes_are_noticed():
    """A token without mass fails the test however rare it is; a warp is part of the law."""
    law = brute_force(members(), weighted([1, 1]), 1, Warp(top_k=1))
    possible = [tokens for tokens, mass in law.items() if mass > 0]
    outcomes: list[Tokens] = [possible[0]] * 4_000 + [(5,)]
    with pytest.raises(AssertionError, match="impossible"):
        assert_law(outcomes, {possible[0]: 1.0}, detects=0.2)
