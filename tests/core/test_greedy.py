"""Temperature 0: every schedule gives the text of standard decoding, token for token."""

import pytest

from tests.core.helpers import HistoryMember, observed, schedules
from tests.laws import law_of
from unisono import combine
from unisono.combine import Combination
from unisono.decoding import Schedule, standard
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import PROMPT

TOKENS = 80
VOCABULARY = 20
GREEDY = Warp(0)


def blended(count: int) -> list[HistoryMember]:
    """Members that share half of their law: they agree on some tokens and disagree on others."""
    shared = HistoryMember.random(VOCABULARY, 0)
    return [HistoryMember.random(VOCABULARY, seed, like=shared) for seed in range(1, count + 1)]


def combinations(count: int) -> list[Combination]:
    weights = [0.6, 0.4] if count == 2 else [0.4, 0.3, 0.3]
    pairs = [combine.contrastive(0.3), combine.contrastive_masked(0.1, 0.3)] if count == 2 else []
    return [
        combine.weighted(weights),
        combine.weighted(weights, order="combine-first"),
        combine.product(weights),
        combine.only(1),
        *pairs,
    ]


CASES = [
    pytest.param(count, combination, schedule, id=f"{count}-{combination.name}-{schedule.name}")
    for count in (2, 3)
    for combination in combinations(count)
    for schedule in schedules(count)
    if schedule.name != "standard"
]


@pytest.mark.parametrize(("count", "combination", "schedule"), CASES)
def test_greedy_text_is_that_of_standard(count: int, combination: Combination, schedule: Schedule):
    """80 tokens equal those of `standard`, whatever the seed; some proposals were accepted and some rejected."""
    members = blended(count)
    wanted = observed(members, standard(), KeyedNoise(1), TOKENS, combination, GREEDY)
    run = observed(members, schedule, KeyedNoise(2), TOKENS, combination, GREEDY)
    assert run.tokens == wanted.tokens
    stats = run.row.stats
    if schedule.name.startswith("lookup"):  # texts repeat themselves as they like
        assert stats.lookup.decided
    elif schedule.name not in ("parallel", "risky:0"):  # which propose nothing
        assert stats.accepted >= 10
        assert stats.verified - stats.accepted >= 10


@pytest.mark.parametrize("count", [2, 3])
def test_standard_takes_the_best_token_of_the_combination(count: int):
    """The reference itself: at each position the largest entry of the combined law at temperature 1."""
    members = blended(count)
    for combination in combinations(count):
        run = observed(members, standard(), KeyedNoise(1), TOKENS, combination, GREEDY)
        prefix = list(PROMPT)
        for token in run.tokens:
            laws = law_of(combination, [member.law(prefix).log() for member in members], Warp())
            assert token == int(laws.argmax())
            prefix.append(token)
        assert len(set(run.tokens)) > 10


@pytest.mark.parametrize("schedule", schedules(2), ids=lambda schedule: schedule.name)
def test_ties_go_to_the_lowest_token(schedule: Schedule):
    """Equal mass everywhere: the lowest id is proposed, accepted and drawn."""
    members = blended(1) * 2
    even = [HistoryMember(0 * member.laws() + 1 / VOCABULARY) for member in members]
    assert observed(even, schedule, KeyedNoise(3), 10, warp=GREEDY).tokens == (0,) * 10
