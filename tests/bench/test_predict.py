"""The paper's formulas against the process they describe."""

import random

import pytest

from unisono.bench import predict


def simulate(acceptance: float, cost: float, proposer: int, verifier: int, tokens: int = 60_000) -> float:
    """Speed-up of the alternate-proposal framework with independent acceptances, by playing it."""
    toss, time, done, open_, turn = random.Random(3), 0.0, 0, 0, 0
    while done < tokens:
        drafts = proposer if turn == 0 else verifier
        call = cost if turn == 0 else 1.0
        accepted = 0
        if open_:
            while accepted < open_ and toss.random() < acceptance:
                accepted += 1
            time += call
            done += accepted + (accepted < open_)
            if accepted < open_:
                open_, turn = 0, 0
                continue
            open_, time = drafts, time + call * (drafts - 1)
        else:
            open_, time = drafts, time + call * drafts
        turn = 1 - turn
    return done * (1 + cost) / time


@pytest.mark.parametrize("acceptance", [0.3, 0.6, 0.9])
def test_alternating_is_the_process_for_equal_members(acceptance):
    """With one draft each and equal cost the formula is the simulated speed-up (2%: 60,000 tokens)."""
    assert predict.alternating(acceptance, 1.0, 1, 1) == pytest.approx(simulate(acceptance, 1.0, 1, 1), rel=0.02)


@pytest.mark.parametrize(("proposer", "verifier"), [(1, 1), (3, 1)])
def test_alternating_promises_too_little_for_a_cheap_proposer(proposer, verifier):
    """It does not count the tokens that the proposer's own checks commit; docs/log.md says so beside the figures."""
    assert predict.alternating(0.8, 0.4, proposer, verifier) < simulate(0.8, 0.4, proposer, verifier)


def test_equal_members_with_one_draft_each():
    """gq = gp = 1: (1 + c) / (1 + c - a c), never below 1."""
    assert predict.alternating(0.8, 1.0, 1, 1) == pytest.approx(2 / 1.2)
    assert predict.alternating(0.0, 0.7, 1, 1) == pytest.approx(1.0)


def test_certain_acceptance():
    """a = 1 is the limit, not a division by zero: g tokens for one verifier and g proposer calls."""
    assert predict.speculative(1.0, 0.25, 4) == pytest.approx(4 * 1.25 / 2)


def play_drawing(agreement: float, cost: float, share: float, length: int, tokens: int = 60_000) -> float:
    """Speed-up of drafting ahead with drawn members (algorithm in docs/schedules.md), by playing it."""
    toss, time, done = random.Random(5), 0.0, 0
    risky = toss.random() < share
    while done < tokens:
        block: list[bool] = []
        while sum(block) < length or not risky:  # the block ends just before the risky position that is too many
            block.append(risky)
            time += cost
            risky = toss.random() < share
        time += 1
        rejected = next((place for place, danger in enumerate(block) if danger and toss.random() >= agreement), None)
        if rejected is not None:
            done, risky = done + rejected + 1, block[rejected + 1] if rejected + 1 < len(block) else risky
            continue
        done, risky = done + len(block) + 1, toss.random() < share
    return done * (1 + cost) / time


@pytest.mark.parametrize("length", [0, 1, 3])
def test_drawing_is_the_process(length):
    """The closed form is the simulated speed-up (3%: 60,000 tokens; after a rejection one draw is known already)."""
    promised = predict.risky(0.7, 0.15, 0.5, length)
    assert promised == pytest.approx(play_drawing(0.7, 0.15, 0.5, length), rel=0.03)


def test_drawing_without_drafts_is_the_mixture_like_ensemble():
    """Each token costs its own member: (1 + c) / (l + (1 - l) c), 2 for two equal members, whatever the agreement."""
    assert predict.risky(0.1, 1.0, 0.5, 0) == pytest.approx(2.0)
    assert predict.risky(0.9, 0.2, 0.3, 0) == pytest.approx(1.2 / (0.3 + 0.7 * 0.2))
