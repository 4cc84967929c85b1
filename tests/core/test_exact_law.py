"""Exact by enumeration: along every sequence of choices, the real loop gives the law of the definition, to rounding.

The members' laws depend on the whole slot, so a wrong rewind or a token read twice is an error of the law too.
"""

import functools

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, outcomes, schedules, summed
from unisono.combine import Combination, contrastive, contrastive_masked, custom, only, product, weighted
from unisono.combine.logits import ContrastiveMasked
from unisono.decoding import Schedule, cos, speculative, standard
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.sampling.warp import AnyWarp, Warp
from unisono.testing import PROMPT, EnumeratingNoise, brute_force, contexts, decode, largest_error, rounds

TOLERANCE = 1e-12


def geometric_or_even(logits: list[Tensor], warp: AnyWarp) -> Tensor:
    """A user's law: half the geometric, half the arithmetic mean of the members."""
    mean = torch.stack([torch.softmax(member, -1) for member in logits]).mean(0)
    geometric = torch.stack([torch.log_softmax(member, -1) for member in logits]).mean(0)
    return (warp(geometric) + warp(mean.log())) / 2


def combinations(members: int) -> list[Combination]:
    weights = [0.7, 0.3] if members == 2 else [0.5, 0.3, 0.2]
    pairs = [contrastive(0.4), contrastive_masked(0.3, 0.5)] if members == 2 else []
    return [
        weighted(weights),
        weighted(weights, order="combine-first"),
        product(weights),
        *pairs,
        only(0),
        only(1),
        custom(geometric_or_even),
    ]


WARPS = {
    "plain": Warp(),
    "top_k": Warp(0.7, top_k=2),
    "top_p": Warp(0.7, top_p=0.8),
    "min_p": Warp(0.7, min_p=0.3),
    "greedy": Warp(0),
}
CASES = [
    pytest.param(members, combination, schedule, id=f"{members}-{combination.name}-{schedule.name}")
    for members in (2, 3)
    for combination in combinations(members)
    for schedule in schedules(members)
]
EVERYTHING = pytest.mark.parametrize(("count", "combination", "schedule"), CASES)
# With zeros, the amateur may rule out all that the expert finds plausible, which leaves no law
WITH_ZEROS = [case for case in CASES if not isinstance(case.values[1], ContrastiveMasked)]


@functools.cache
def members(count: int, vocabulary: int, sparse: bool = False) -> list[TableMember]:
    build = HistoryMember.sparse if sparse else HistoryMember.random
    return [build(vocabulary, seed) for seed in range(1, count + 1)]


@EVERYTHING
@pytest.mark.parametrize("proposer", [0, 1])
def test_two_letters_three_tokens(count: int, combination: Combination, schedule: Schedule, proposer: int):
    """Every schedule, combination and default proposer: the law of three tokens over two letters."""
    found = largest_error(members(count, 2), combination, schedule, 3, proposer=proposer)
    assert found < TOLERANCE


@EVERYTHING
@pytest.mark.parametrize("warp", [name for name in WARPS if name != "plain"])
def test_warped_laws(count: int, combination: Combination, schedule: Schedule, warp: str):
    """Every schedule and combination under every warp: the law of two tokens over three letters."""
    assert largest_error(members(count, 3), combination, schedule, 2, warp=WARPS[warp], proposer=1) < TOLERANCE


@pytest.mark.parametrize(("count", "combination", "schedule"), WITH_ZEROS)
def test_laws_with_zeros(count: int, combination: Combination, schedule: Schedule):
    """As above where each member rules a letter out, another one after another text: r and s differ in support."""
    assert largest_error(members(count, 4, sparse=True), combination, schedule, 2) < TOLERANCE


@pytest.mark.parametrize(
    ("count", "schedule"),
    [(n, schedule) for n in (2, 3) for schedule in schedules(n)],
    ids=lambda value: getattr(value, "name", None),
)
def test_four_tokens(count: int, schedule: Schedule):
    """Long enough that drafts overlap, are cut by the limit, and rejections follow rejections."""
    combination = weighted([0.6, 0.4] if count == 2 else [0.2, 0.3, 0.5])
    assert largest_error(members(count, 2), combination, schedule, 4) < TOLERANCE


@pytest.mark.parametrize(
    "schedule",
    [standard(), speculative(1), speculative(2), cos(1, 1), cos(2, 1)],
    ids=lambda value: getattr(value, "name", None),
)
def test_three_letters_three_tokens(schedule: Schedule):
    """A residual of more than one token, behind accepted and behind rejected proposals."""
    assert largest_error(members(2, 3), contrastive(0.6), schedule, 3) < TOLERANCE


@pytest.mark.parametrize(
    "schedule", [standard(), speculative(2), cos(1)], ids=lambda value: getattr(value, "name", None)
)
def test_one_member_is_plain_sampling(schedule: Schedule):
    """A single member is decoded by any schedule as if there were no other."""
    single = members(1, 3)
    assert largest_error(single, weighted([1]), schedule, 2) < TOLERANCE
    law = brute_force(single, weighted([1]), 2)
    assert abs(law[(1, 2)] - float(single[0].law((0,))[1] * single[0].law((0, 1))[2])) < TOLERANCE


def test_five_members():
    """Any number of members takes turns."""
    five = members(5, 2)
    for schedule in (speculative(2), cos(1, 1, 1, 1, 1), cos(1, 2, 1, 1, 1)):
        assert largest_error(five, weighted([5, 4, 3, 2, 1]), schedule, 3, proposer=3) < TOLERANCE


@pytest.mark.parametrize("schedule", schedules(2), ids=lambda schedule: schedule.name)
def test_unequal_prompts(schedule: Schedule):
    """Each member reads its own prompt, of its own length, and only there its cache differs."""
    prompts = [[0], [1, 0, 1, 1, 0]]
    pair = members(2, 2)
    combination = weighted([0.5, 0.5])
    method = Method(combination, schedule, VERIFICATIONS["token"], 1)

    def run(noise):
        row = Row(Lineup(tuple(pair)), method, Task(contexts(pair, prompts), Warp(), 3), noise)
        return tuple(commit.token for commits in rounds(row) for commit in commits)

    law = summed(outcomes(run))
    for tokens, probability in law.items():
        wanted = 1.0
        for position, token in enumerate(tokens):
            laws = [member.law([*prompt, *tokens[:position]]) for member, prompt in zip(pair, prompts, strict=True)]
            wanted *= float((laws[0][token] + laws[1][token]) / 2)
        assert abs(probability - wanted) < TOLERANCE
    assert abs(sum(law.values()) - 1) < TOLERANCE


@pytest.mark.parametrize("schedule", schedules(2), ids=lambda schedule: schedule.name)
def test_probabilities_of_an_enumeration_sum_to_one(schedule: Schedule):
    """No path is lost or counted twice, and every output has the length that was asked for."""
    noise = EnumeratingNoise(lambda noise: decode(members(2, 2), weighted([1, 2]), schedule, noise, 3))
    found = list(noise)
    assert abs(sum(probability for _, probability in found) - 1) < TOLERANCE
    assert {len(tokens) for tokens, _ in found} == {3}


def test_the_definition_itself():
    """The reference that everything is compared with, against a product written out by hand."""
    a, b = members(2, 2)
    law = brute_force([a, b], weighted([3, 1]), 2, Warp())
    first = 0.75 * a.law(PROMPT) + 0.25 * b.law(PROMPT)
    second = 0.75 * a.law((*PROMPT, 1)) + 0.25 * b.law((*PROMPT, 1))
    assert abs(law[(1, 0)] - float(first[1] * second[0])) < 1e-15
    assert abs(sum(law.values()) - 1) < 1e-15
