"""Proposers outside the combination, the text itself and a draft model: what they propose, and that no law changes."""

import functools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.core.helpers import HistoryMember, chosen, observed
from unisono.combine import Combination, cascade, contrastive, drawn, only, product, weighted
from unisono.decoding import Schedule, Turn, View, cos, lookup, parallel, risky, speculative, standard
from unisono.decoding.frontier import Frontier
from unisono.decoding.prompt_lookup import LENGTHS, Lookup
from unisono.decoding.proposals import Proposal
from unisono.decoding.schedules import LOOKUP
from unisono.decoding.verification import VERIFICATIONS
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import decode, largest_error

named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))
RULES = list(VERIFICATIONS.values())
TOKEN = VERIFICATIONS["token"]
PAIRS: list[Combination] = [
    *(weighted([0.7, 0.3]), weighted([0.6, 0.4], order="combine-first"), drawn([0.7, 0.3])),
    *(product([0.6, 0.4]), contrastive(0.4), only(1), cascade("chow", 0.4)),
]


@functools.cache
def members(count: int, vocabulary: int, sparse: bool = False) -> list[HistoryMember]:
    build = HistoryMember.sparse if sparse else HistoryMember.random
    return [build(vocabulary, seed) for seed in range(1, count + 1)]


def test_what_followed_is_found():
    """The longest run first, of equals the last one; nothing where the end is new."""
    text = Lookup([1, 2, 3, 4, 9, 8, 3, 4, 7])
    assert text.find([3, 4], 2) == ([7, 3], 2)
    assert text.find([2, 3, 4], 3) == ([9, 8, 3], 3)
    assert text.find([1, 2, 3, 4], 9)[1] == 4
    assert text.find([7, 7], 4) == ([], 0)
    assert Lookup([5]).find([], 3) == ([], 0)
    assert Lookup([1, 2, 1, 2]).find([], 5) == ([1, 2, 1, 2, 1], 2)  # a copy that runs into itself
    committed = [3]
    growing = Lookup([1, 2], committed)
    assert growing.find([], 1) == ([], 0)
    committed += [1, 2]
    assert growing.find([], 1) == ([3], 2)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=24), st.lists(st.integers(0, 2), max_size=4), st.integers(1, 6))
def test_a_find_is_a_copy(text: list[int], open: list[int], most: int):
    """What is proposed follows an earlier occurrence of the very tokens in front of it, read in any portions."""
    committed: list[int] = []
    index = Lookup(text[:1], committed)
    for end in range(1, len(text) + 1, 3):
        committed[:] = text[1:end]
        index.find(open, most)
    committed[:] = text[1:]
    found, length = index.find(open, most)
    whole = [*text, *open, *found]
    begin = len(text) + len(open)
    places = [
        place for place in range(length, len(text)) if whole[place - length : place] == whole[begin - length : begin]
    ]
    if not found:
        assert length == 0
        assert all(whole[place - 2 : place] != whole[begin - 2 : begin] for place in range(2, len(text)))
    else:
        assert length in LENGTHS
        assert found == whole[places[-1] : places[-1] + len(found)]
        assert len(found) == most


def mixed() -> Schedule:
    """Looks up behind drafts of any member, also twice before anything is decided."""

    def turn(view: View) -> Turn:
        other = view.open % 2
        if view.open in (1, 2) and view.scored[other] < view.open:
            return Turn((other,), ((other, 1), (LOOKUP, 1)))
        member = view.least_scored()
        return Turn((member,), ((member, 1), (LOOKUP, 2)))

    return Schedule("mixed", turn)


@named(("rule", "combination"), [*((TOKEN, each) for each in PAIRS), *((rule, PAIRS[0]) for rule in RULES[1:])])
@named("schedule", [lookup(2), mixed()])
def test_looked_up_tokens_keep_the_law(rule, combination: Combination, schedule: Schedule):
    """Four tokens over two letters repeat themselves soon; every verification decides one-hot proposals exactly."""
    assert largest_error(members(2, 2), combination, schedule, 4, verification=rule) < 1e-12


@named("rule", RULES)
@named("warp", [Warp(0.7, top_k=2), Warp(0)])
def test_looked_up_tokens_that_are_impossible(rule, warp: Warp):
    """A token without mass is replaced, also where the law leaves one token."""
    assert (
        largest_error(members(2, 3, sparse=True), weighted([0.5, 0.5]), lookup(2), 3, warp=warp, verification=rule)
        < 1e-12
    )


@named(("rule", "combination"), [*((TOKEN, each) for each in PAIRS), *((rule, PAIRS[0]) for rule in RULES[1:])])
@named("schedule", [speculative(2), cos(1, 1, 2), lookup(2), risky(1), standard(), parallel()])
def test_a_draft_model_keeps_the_law(rule, combination: Combination, schedule: Schedule):
    """The third member is no part of the combination; where it proposes, the law is that of the other two."""
    options = {"verification": rule, "proposer": 2, "drafters": 1}
    assert largest_error(members(3, 2), combination, schedule, 3, **options) < 1e-12


def test_a_draft_model_drafts_and_is_not_waited_for():
    """It proposes first, and never scores what it has no use for."""
    trio = [HistoryMember.random(5, seed) for seed in (1, 2, 3)]
    method = chosen([9, 9, 1], "weighted:0.5,0.5", "speculative:2", "auto", drafters=1)
    assert (method.proposer, method.peers) == (2, ())
    run = observed(trio, speculative(2), KeyedNoise(1), 20, weighted([0.5, 0.5]), proposer=2, drafters=1)
    assert run.row.stats.members[2].proposed > 10
    plain = observed(trio, standard(), KeyedNoise(1), 20, weighted([0.5, 0.5]), proposer=2, drafters=1)
    assert [member.forwards for member in plain.row.stats.members] == [20, 20, 0]


@named("schedule", [lookup(3), speculative(2), cos(1, 1, 2)])
def test_coupled_text_is_that_of_standard(schedule: Schedule):
    """Token for token, whoever proposes."""
    trio = [HistoryMember.random(4, seed) for seed in (1, 2, 3)]
    for seed in range(5):
        texts = [
            decode(
                trio,
                weighted([0.4, 0.6]),
                plan,
                KeyedNoise(seed),
                24,
                Warp(0.4),
                2,
                VERIFICATIONS["coupled"],
                drafters=1,
            )
            for plan in (standard(), schedule)
        ]
        assert texts[0] == texts[1]


def test_proposals_of_the_text_stand_and_fall():
    """What the other tests rely on; they count for nobody but the text."""
    pair = [HistoryMember.random(3, 1), HistoryMember.random(3, 2)]
    run = observed(pair, lookup(4), KeyedNoise(0), 60, warp=Warp(0.5))
    stats = run.row.stats
    assert 0 < stats.proposers[0].accepted < stats.proposers[0].decided <= stats.proposers[0].proposed
    assert stats.verified == stats.proposers[0].decided + sum(member.decided for member in stats.members)
    assert any(commit.origin == "accepted" and commit.proposer == LOOKUP for commit in run.commits)


def test_nothing_is_looked_up_behind_an_end():
    """Nor beyond the limit."""
    pair = [HistoryMember.random(2, 1), HistoryMember.random(2, 2)]
    for limit in (5, 9, 14):
        run = observed(pair, lookup(8), KeyedNoise(2), limit, ends=frozenset([1]), prompts=[[0, 0, 1, 0, 0, 1, 0]] * 2)
        assert len(run.tokens) == limit
        for view, turn in run.turns:
            assert view.open <= limit
            assert turn.drafts[1] == (LOOKUP, 8)


def test_block_is_off_for_them():
    """One-hot proposals gain nothing from blocks."""
    for schedule, name in (("lookup:4", "token"), ("cos:1,1", "block")):
        assert chosen([1, 1], None, schedule, "block").verification.name == name


def test_a_law_that_is_not_the_proposals_own_is_caught(monkeypatch: pytest.MonkeyPatch):
    """The mutant says that the token was drawn evenly."""
    correct = Frontier.propose

    def propose(self: Frontier, proposal: Proposal) -> list[Proposal]:
        return correct(self, replace(proposal, law=torch.full([2], 0.5)) if proposal.proposer == LOOKUP else proposal)

    monkeypatch.setattr(Frontier, "propose", propose)
    assert largest_error(members(2, 2), weighted([0.7, 0.3]), lookup(2), 4) > 1e-3
