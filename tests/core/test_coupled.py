"""Coupled verification: the text is that of standard decoding, token for token, whoever proposes what."""

import functools

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, expectation, observed, schedules
from unisono.combine import Combination, contrastive, only, product, weighted
from unisono.decoding import Schedule, cos, speculative, standard
from unisono.decoding import verification as verify
from unisono.decoding.blocks import Block, Decisions
from unisono.decoding.verification import VERIFICATIONS
from unisono.sampling.enumerating_noise import Race
from unisono.sampling.logits_edits import Edits
from unisono.sampling.noise import KeyedNoise, Noise, Purpose
from unisono.sampling.warp import Warp
from unisono.testing import EnumeratingNoise, Tokens, assert_law, decode, largest_error

COUPLED = VERIFICATIONS["coupled"]
COMBINATIONS = [
    weighted([0.7, 0.3]),
    weighted([0.5, 0.5], order="combine-first"),
    product([0.6, 0.4]),
    contrastive(0.4),
    only(1),
]
WARPS = [Warp(), Warp(0.7, top_k=2), Warp(0.6, top_p=0.8), Warp(0)]
named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))


@functools.cache
def members(count: int, vocabulary: int, sparse: bool = False) -> list[HistoryMember]:
    build = HistoryMember.sparse if sparse else HistoryMember.random
    return [build(vocabulary, seed) for seed in range(1, count + 1)]


@named("combination", COMBINATIONS)
@named("schedule", schedules(2))
@named("warp", WARPS)
def test_the_law_by_enumeration(combination: Combination, schedule: Schedule, warp: Warp):
    """Proposal and target share the noise of their position; the law of the text is the definition's all the same."""
    pair = members(2, 2)
    assert largest_error(pair, combination, schedule, 3, warp=warp, proposer=1, verification=COUPLED) < 1e-12


@named("schedule", schedules(3))
def test_the_law_of_three_members(schedule: Schedule):
    """Laws over three letters, where the winners of two laws leave more than one order of the race open."""
    mixture = weighted([0.5, 0.3, 0.2])
    assert largest_error(members(3, 3), mixture, schedule, 2, verification=COUPLED) < 1e-12
    assert largest_error(members(3, 4, sparse=True), mixture, schedule, 2, verification=COUPLED) < 1e-12


@named("combination", COMBINATIONS)
@named("schedule", schedules(2))
@pytest.mark.parametrize("edits", [Edits(), Edits(repetition=1.4, presence=0.3, bias={2: 1.0})], ids=["plain", "edits"])
def test_the_text_of_standard(combination: Combination, schedule: Schedule, edits: Edits):
    """Token for token, at several temperatures, for every seed."""
    pair = [HistoryMember.random(7, 1), HistoryMember.random(7, 2)]
    for seed, warp in enumerate([*WARPS, Warp(1.7), Warp()]):
        texts = [
            decode(pair, combination, plan, KeyedNoise(seed), 24, warp, verification=rule, edits=edits)
            for plan, rule in ((standard(), VERIFICATIONS["token"]), (standard(), COUPLED), (schedule, COUPLED))
        ]
        assert texts[0] == texts[1] == texts[2]


def accepted(members: list[HistoryMember], verification: verify.Verification) -> tuple[int, int]:
    """Accepted and decided proposals of many seeds."""
    counts = [0, 0]
    for seed in range(40):
        run = observed(members, cos(2, 1), KeyedNoise(seed), 16, weighted([0.7, 0.3]), verification=verification)
        counts[0] += run.row.stats.accepted
        counts[1] += run.row.stats.verified
    return counts[0], counts[1]


def test_proposals_stand_and_fall():
    """What the other tests rely on: with members that half agree, some proposals stand and some do not."""
    pair = [HistoryMember.random(7, 1), HistoryMember.random(7, 2, like=HistoryMember.random(7, 1))]
    stood, decided = accepted(pair, COUPLED)
    assert 0.3 < stood / decided < 0.95


def test_a_proposal_stands_as_often_as_two_races_agree():
    """The winners of p and r under one noise agree at least with probability `(1 - TV) / (1 + TV)` (Daliri et al. 2025)."""
    pair = members(2, 3)

    def stands(noise: Noise) -> float:
        proposal = noise.draw(pair[0].law((0,)), Purpose.TARGET, 0, 0)
        law = (pair[0].law((0,)) + pair[1].law((0,))) / 2
        return float(noise.draw(law, Purpose.TARGET, 0, 0) == proposal)

    rate = expectation(stands)
    law = (pair[0].law((0,)) + pair[1].law((0,))) / 2
    variation = float((law - pair[0].law((0,))).abs().sum() / 2)
    assert (1 - variation) / (1 + variation) - 1e-12 <= rate <= 1 - variation + 1e-12


def test_the_enumerated_race_is_the_sampled_one():
    """The chances of a second question, from volumes, are the frequencies of the generator's variates (alpha 1e-9)."""
    first, second = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]
    joint: dict[Tokens, float] = {}
    for winner in range(3):
        race = Race()
        chance = race.chances(first)[winner]
        race.settle(first, winner)
        for other, mass in enumerate(race.chances(second)):
            joint[winner, other] = chance * mass
    draws: list[Tokens] = []
    for seed in range(6_000):
        noise = KeyedNoise(seed)
        draws.append(tuple(noise.draw(torch.tensor(law), Purpose.TARGET, 3, 0) for law in (first, second)))
    assert_law(draws, joint, detects=0.1)


def test_a_question_asked_twice_has_one_answer():
    """The noise of a position defines the text: asked again, in whatever round, it says the same."""
    law = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)

    def run(noise: Noise) -> tuple[int, ...]:
        return tuple(noise.draw(law, Purpose.TARGET, 4, round) for round in range(3))

    outcomes = list(EnumeratingNoise(run))
    assert [tokens for tokens, _ in outcomes] == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    assert [mass for _, mass in outcomes] == pytest.approx([0.2, 0.3, 0.5], abs=1e-14)


def the_winner_of_another_position(patch: pytest.MonkeyPatch) -> None:
    """Behind accepted proposals the winner of the first position of all is committed."""
    correct = verify._coupled_in_order

    def decide(targets: Tensor, blocks: list[Block]) -> Decisions:
        found = correct(targets, blocks)
        first = blocks[0].tokens[0] if int(found.accepted[0]) else found.tokens[0]
        return Decisions(found.accepted, torch.full_like(found.tokens, int(first)))

    patch.setattr(verify, "_coupled_in_order", decide)


def the_law_of_another_position(patch: pytest.MonkeyPatch) -> None:
    """The race is run with the law of the position before."""
    correct = verify._coupled_in_order
    patch.setattr(verify, "_coupled_in_order", lambda targets, blocks: correct(targets.roll(1, 0), blocks))


@pytest.mark.parametrize("mutate", [the_winner_of_another_position, the_law_of_another_position])
@pytest.mark.parametrize("schedule", [speculative(2), cos(2, 1)], ids=["speculative", "cos"])
def test_mutants(monkeypatch: pytest.MonkeyPatch, mutate, schedule: Schedule):
    """A token of another place, and the target of another position: the law shows it."""
    pair, mixture = members(2, 2), weighted([0.7, 0.3])
    mutate(monkeypatch)
    assert largest_error(pair, mixture, schedule, 3, verification=COUPLED) > 1e-3


def test_a_noise_drawn_anew_each_round_is_another_text(monkeypatch: pytest.MonkeyPatch):
    """The mutant that keys the race by the round: still the law, no longer the text of standard decoding."""
    pair, mixture = [HistoryMember.random(7, 1), HistoryMember.random(7, 2)], weighted([0.7, 0.3])
    correct = KeyedNoise.winner
    calls = iter(range(10**6))
    monkeypatch.setattr(KeyedNoise, "winner", lambda self, law, p: correct(self, law, p + 1000 * next(calls)))
    texts = [
        decode(pair, mixture, plan, KeyedNoise(3), 24, verification=COUPLED) for plan in (standard(), speculative(3))
    ]
    assert texts[0] != texts[1]
