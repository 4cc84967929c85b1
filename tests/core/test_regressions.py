"""Mistakes that other engines made with speculation, each by the number of its row in our list of published bugs.

Rows about text, stop strings, caches of real models, servers and grammars have their tests where those are tested.
"""

import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, Run, expectation, observed, outcomes, schedules, summed
from tests.laws import law_of
from unisono.combine import Combination, contrastive, only, weighted
from unisono.decoding import Schedule, Turn, cos, parallel, speculative, standard
from unisono.decoding.frontier import Frontier
from unisono.decoding.proposals import Proposal
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.sampling.noise import KeyedNoise, Noise, Purpose
from unisono.sampling.warp import Warp
from unisono.testing import PROMPT, Tokens, brute_force, contexts, decode, exact_law, largest_error, rounds

WARPS = [Warp(), Warp(0), Warp(0.6), Warp(top_k=2), Warp(top_p=0.7), Warp(min_p=0.4), Warp(1.4, 3, 0.9, 0.1)]
ALL_SCHEDULES = pytest.mark.parametrize("schedule", schedules(2), ids=lambda schedule: schedule.name)
ALL_WARPS = pytest.mark.parametrize("warp", WARPS, ids=str)


def pair(vocabulary: int = 4) -> list[HistoryMember]:
    return [HistoryMember.random(vocabulary, seed) for seed in (1, 2)]


def table(*rows: Sequence[float]) -> TableMember:
    """A member with the same law after every token if one row is given."""
    laws = torch.tensor(rows, dtype=torch.float64)
    return TableMember(laws.expand(laws.shape[-1], -1) if len(rows) == 1 else laws)


class Noted(Noise):
    """Passes on to another noise, and keeps the laws that proposals were drawn from."""

    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self.laws: list[tuple[int, Tensor]] = []

    def draw(self, law: Tensor, purpose: Purpose, position: int, round: int) -> int:
        token = self._noise.draw(law, purpose, position, round)
        if purpose is Purpose.PROPOSE:
            self.laws.append((token, law))
        return token

    def leading(self, probabilities: Tensor, position: int, round: int) -> int:
        return self._noise.leading(probabilities, position, round)


@ALL_SCHEDULES
@ALL_WARPS
def test_r1_proposals_carry_the_very_law_they_were_drawn_from(
    monkeypatch: pytest.MonkeyPatch, schedule: Schedule, warp: Warp
):
    """R1: the law that verification sees is the tensor that was drawn from, under every warp; not raw logits.

    At temperature 0 nothing is drawn and no law is kept: the proposals are treated as given.
    """
    carried: list[Proposal] = []
    propose = Frontier.propose

    def noted(self: Frontier, proposal: Proposal) -> list[Proposal]:
        carried.append(proposal)
        return propose(self, proposal)

    monkeypatch.setattr(Frontier, "propose", noted)
    noise = Noted(KeyedNoise(1))
    observed(pair(), schedule, noise, 12, warp=warp)
    drawn = [proposal for proposal in carried if isinstance(proposal.proposer, int)]  # others were looked up
    if warp.greedy:
        assert not noise.laws
        assert all(proposal.law is None for proposal in carried)
        return
    assert len(drawn) == len(noise.laws)
    for proposal, (token, law) in zip(drawn, noise.laws, strict=True):
        assert proposal.token == token
        assert proposal.law is not None
        assert proposal.law.data_ptr() == law.data_ptr()  # views of one tensor
        assert law[token] > 0


def test_r2_greedy_proposals_have_one_hot_laws():
    """R2: a proposer that is certain of its token says so. [.6, .4] stays [.6, .4]; it became [.75, .25] elsewhere."""
    certain, target = table([1, 0]), table([0.6, 0.4])
    for schedule in (speculative(1), speculative(2), cos(1, 1)):
        law = exact_law([certain, target], only(1), schedule, 1)
        assert law[(0,)] == pytest.approx(0.6, abs=1e-15)
        assert law[(1,)] == pytest.approx(0.4, abs=1e-15)
    wrong = torch.tensor([0.9, 0.1])  # what softmax said of the same greedy proposal
    assert (torch.tensor([0.6, 0.4]) - wrong).clamp(min=0).argmax() == 1
    open: list[Proposal] = []
    noise = Noted(KeyedNoise(1))
    run = observed(
        pair(), cos(3, 1), noise, 12, warp=Warp(0), after_round=lambda row: open.extend(row.frontier.proposals)
    )
    assert run.row.stats.verified > 0
    assert open
    assert not noise.laws
    assert all(proposal.law is None for proposal in open)  # treated as given: their laws are one-hot


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_r3_members_of_low_precision(dtype: torch.dtype):
    """R3: a proposal is drawn and verified with one float32 law, also where the logits come from coarser numbers."""
    members = pair(3)
    for member in members:
        member._logits = member._logits.to(dtype).float()
    assert largest_error(members, weighted([0.7, 0.3]), cos(2, 1), 2) < 1e-6
    noise = Noted(KeyedNoise(1))
    observed(members, cos(2, 1), noise, 8)
    assert {law.dtype for _, law in noise.laws} == {torch.float32}


@pytest.mark.parametrize("combination", [weighted([0.7, 0.3]), contrastive(0.5), only(1)], ids=lambda c: c.name)
def test_r4_the_law_does_not_depend_on_how_it_is_reached(combination: Combination):
    """R4: no draft length, schedule or default proposer changes the law, nor is a mixture left out at undrafted positions."""
    members = [HistoryMember.random(2, seed) for seed in (1, 2)]
    wanted = brute_force(members, combination, 3)
    lengths = (1, 2, 3, 5, 8)
    reached = [speculative(length) for length in lengths] + [
        cos(a, b) for a, b in itertools.product(lengths, (1, 2, 8))
    ]
    for schedule in (standard(), parallel(), *reached):
        for proposer in (0, 1):
            law = exact_law(members, combination, schedule, 3, proposer=proposer)
            assert max(abs(law.get(tokens, 0) - mass) for tokens, mass in wanted.items()) < 1e-12


@ALL_WARPS
def test_r5_acceptance_is_one_minus_the_total_variation(warp: Warp):
    """R5: the proposer's law is really used. One proposal is accepted with probability 1 - TV(q, r), exactly."""
    members = pair()
    q, p = (warp(member.law(PROMPT).log()) for member in members)
    rate = expectation(lambda noise: observed(members, speculative(1), noise, 1, only(1), warp).row.stats.accepted)
    assert abs(rate - (1 - float((p - q).abs().sum()) / 2)) < 1e-12


@pytest.mark.statistical
def test_r5_acceptance_in_samples():
    """R5: so does the keyed generator; Hoeffding's bound at 1e-9 for 2,000 proposals is 0.073."""
    members, count = pair(), 2_000
    rate = 1 - float((members[0].law(PROMPT) - members[1].law(PROMPT)).abs().sum()) / 2
    runs = [observed(members, speculative(1), KeyedNoise(seed), 1, only(1)) for seed in range(count)]
    accepted = sum(run.row.stats.accepted for run in runs) / count
    assert 0.1 < rate < 0.9
    assert abs(accepted - rate) < math.sqrt(math.log(2e9) / (2 * count))


@ALL_SCHEDULES
def test_r6_nothing_is_proposed_behind_an_end(schedule: Schedule):
    """R6: an end token stays a proposal, but a draft goes no further; the law of the text up to the end is exact."""
    members, ends, combination = pair(2), frozenset({1}), weighted([0.7, 0.3])

    def cut(tokens: Tokens) -> Tokens:
        return tokens[: tokens.index(1) + 1] if 1 in tokens else tokens

    law = summed(outcomes(lambda noise: cut(observed(members, schedule, noise, 3, combination, ends=ends).tokens)))
    wanted = summed((cut(tokens), mass) for tokens, mass in brute_force(members, combination, 3).items())
    assert law.keys() == wanted.keys()
    assert max(abs(law[tokens] - mass) for tokens, mass in wanted.items()) < 1e-12


@ALL_SCHEDULES
def test_r6_drafts_stop_at_an_end(schedule: Schedule):
    """R6: of the open proposals only the last may be an end token of the proposer that drafted it."""
    members = pair()

    def check(row: Row) -> None:
        drafts = [
            list(group) for _, group in itertools.groupby(row.frontier.proposals, lambda proposal: proposal.proposer)
        ]
        assert not any(proposal.token == 1 for draft in drafts for proposal in draft[:-1])

    for seed in range(10):
        observed(members, schedule, KeyedNoise(seed), 20, ends=frozenset({1}), after_round=check)


@pytest.mark.parametrize("limit", range(1, 8))
@ALL_SCHEDULES
def test_r7_the_limit_is_met_exactly(schedule: Schedule, limit: int):
    """R7: never a token more than asked for, nothing scored or proposed beyond, whatever the draft length."""
    for seed in range(5):
        members = pair()
        run = observed(members, schedule, KeyedNoise(seed), limit)
        assert len(run.tokens) == run.row.stats.tokens == limit
        assert run.row.frontier.open == 0
        for (view, _), committed in zip(run.turns, itertools.accumulate(map(len, run.rounds)), strict=True):
            assert committed <= limit
            assert view.open <= limit


def test_r9_members_that_agree_accept_everything():
    """R9: a cache that goes wrong behind a bonus token shows as acceptance that falls with the draft length."""
    for schedule in schedules(2)[2:]:
        equal = [HistoryMember.random(4, 1) for _ in range(2)]
        for seed in range(5):
            stats = observed(equal, schedule, KeyedNoise(seed), 40).row.stats
            assert any(member.decided for member in stats.members) == (schedule.name != "risky:0")
            assert all(member.accepted == member.decided for member in stats.members)


def test_r14_rejections_in_several_rounds():
    """R14: the joint law of four tokens of members that hardly agree, where most rounds end with a rejection."""
    members = [table([0.9, 0.1], [0.2, 0.8]), table([0.1, 0.9], [0.7, 0.3])]
    for schedule in (speculative(3), cos(1, 1), cos(2, 2)):
        assert largest_error(members, only(1), schedule, 4) < 1e-12
        assert largest_error(members, weighted([0.5, 0.5]), schedule, 4) < 1e-12


@pytest.mark.parametrize(
    ("q", "p"),
    [
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
        ([0.5, 0.5, 0.0], [0.0, 0.0, 1.0]),
        ([0.0, 1.0, 0.0], [0.0, 1.0, 0.0]),
        ([0.3, 0.3, 0.4], [0.0, 1.0, 0.0]),
        ([0.0, 1.0, 0.0], [0.3, 0.3, 0.4]),
        ([1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3 + 1e-16, 1 / 3 - 1e-16]),
        ([0.5, 0.5, 0.0], [0.25, 0.75, 0.0]),
    ],
    ids=["equal", "disjoint", "equal one-hot", "one-hot target", "one-hot proposal", "nearly equal", "padding"],
)
def test_r15_every_residual_has_a_token(q: list[float], p: list[float]):
    """R15: an empty residual or a tail without mass never yields an impossible token or one outside the vocabulary."""
    members = [table(q), table(p)]
    for combination in (only(1), weighted([0.5, 0.5])):
        possible = {token for token in range(3) if p[token] > 0 or (combination != only(1) and q[token] > 0)}
        for schedule in schedules(2):
            assert largest_error(members, combination, schedule, 2) < 1e-12
            for seed in range(20):
                assert set(decode(members, combination, schedule, KeyedNoise(seed), 4)) <= possible


@ALL_SCHEDULES
@ALL_WARPS
def test_r16_every_sampling_parameter_acts_at_every_position(schedule: Schedule, warp: Warp):
    """R16: min-p and its like act on proposals, redrawn and drawn tokens alike, so that the law is standard's."""
    assert largest_error(pair(3), weighted([0.6, 0.4]), schedule, 2, warp=warp) < 1e-12


@ALL_SCHEDULES
def test_r19_a_seed_decides_the_text_alone(schedule: Schedule):
    """R19: the same seed gives the same text, another seed or sample another one; nobody's generator is touched."""
    members = pair(20)
    torch.manual_seed(1)
    state, python = torch.get_rng_state(), random.getstate()
    names = list(itertools.product((1, 2), (0, 1)))
    texts = {name: observed(members, schedule, KeyedNoise(*name), 20).tokens for name in names}
    assert len(set(texts.values())) == 4
    assert torch.equal(state, torch.get_rng_state())
    assert python == random.getstate()
    torch.manual_seed(2)
    for name, text in texts.items():
        assert observed(members, schedule, KeyedNoise(*name), 20).tokens == text


@ALL_SCHEDULES
def test_r20_rows_do_not_see_each_other(schedule: Schedule):
    """R20: rows that share their members and run by turns, in any order, have the text that each has alone."""
    members = pair(20)
    method = Method(weighted([0.5, 0.5]), schedule, VERIFICATIONS["token"], 0)
    prompts = [[0], [1, 2], [3] * 5, [0]]

    def rows():
        tasks = [Task(contexts(members, [prompt, prompt]), Warp(), 15) for prompt in prompts]
        return [Row(Lineup(tuple(members)), method, task, KeyedNoise(seed)) for seed, task in enumerate(tasks)]

    alone = [[commit.token for commits in rounds(row) for commit in commits] for row in rows()]
    together: list[list[int]] = [[] for _ in prompts]
    running = {index: rounds(row) for index, row in enumerate(rows())}
    order = random.Random(1)
    while running:
        index = order.choice(sorted(running))
        commits = next(running[index], None)
        if commits is None:
            del running[index]
        else:
            together[index] += [commit.token for commit in commits]
    assert together == alone
    assert len({tuple(text) for text in alone}) == 4


@ALL_SCHEDULES
def test_r23_logprobs_are_those_of_the_combination(schedule: Schedule):
    """R23: each token has its log-probability under the combined law at temperature 1, whoever proposed it."""
    members = pair(6)
    for combination in (weighted([0.6, 0.4]), contrastive(0.3), only(0)):
        run = observed(members, schedule, KeyedNoise(4), 20, combination, Warp(0.7, top_k=3), logprobs=2)
        prefix = list(PROMPT)
        for commit in run.commits:
            logits = [member.law(prefix).log().unsqueeze(0) for member in members]
            law = law_of(combination, logits, Warp())[0]
            assert commit.logprob == pytest.approx(float(law[commit.token].log()), abs=1e-9)
            prefix.append(commit.token)
        assert len(run.commits) == 20


def test_r27_speculation_may_pause():
    """R27: a schedule that stops and starts again, so that caches lag behind by many tokens, keeps law and acceptance."""
    always, never = cos(2, 1).turn, standard().turn

    def mixed(until: int, start: int) -> Schedule:
        asked = itertools.count()
        return Schedule("mixed", lambda view: (never if until <= next(asked) < start else always)(view))

    members, combination = pair(2), weighted([0.5, 0.5])
    law = summed(outcomes(lambda noise: decode(members, combination, mixed(2, 5), noise, 4)))
    wanted = brute_force(members, combination, 4)
    assert max(abs(law[tokens] - mass) for tokens, mass in wanted.items()) < 1e-12
    equal = [HistoryMember.random(4, 1) for _ in range(2)]
    assert observed(equal, mixed(5, 30), KeyedNoise(1), 60).row.stats.acceptance == 1


def test_r27_a_member_that_is_not_needed_catches_up():
    """R27: a proposer that was left out for many tokens reads all of them when it is asked again."""
    members = [HistoryMember.random(4, 1), HistoryMember.random(4, 1)]
    asked = itertools.count()
    rest = Schedule("rest", lambda view: Turn((1,)) if 2 <= next(asked) < 12 else speculative(3).turn(view))
    run = observed(members, rest, KeyedNoise(2), 40, only(1))
    assert run.row.stats.acceptance == 1
    assert max(read for read, _ in members[0].calls) >= 10


@ALL_SCHEDULES
def test_r29_counters_agree(schedule: Schedule):
    """R29: tokens = accepted + redrawn + drawn; verified = accepted + redrawn; nothing is counted twice or by block."""
    for seed in range(5):
        members = pair()
        run = observed(members, schedule, KeyedNoise(seed), 30)
        stats = run.row.stats
        assert [member.forwards for member in stats.members] == [len(member.calls) for member in members]
        origins = [commit.origin for commit in run.commits]
        assert stats.tokens == len(origins) == 30
        assert stats.rounds == len(run.rounds)
        assert stats.accepted == origins.count("accepted")
        assert stats.verified == stats.accepted + origins.count("redrawn")
        assert stats.verified <= sum(source.proposed for source in (*stats.members, stats.lookup))
        for index, member in enumerate(stats.members):
            assert member.accepted == sum(c.origin == "accepted" and c.member == index for c in run.commits)
            assert member.accepted <= member.proposed
        nobody = sum(commit.member is None for commit in run.commits)
        assert nobody == origins.count("drawn") + stats.lookup.decided


def test_r31_golden_laws_of_both_orders():
    """R31: the order of warping and combining is part of a combination; its laws, worked out by hand."""
    a, b = torch.tensor([[0.6, 0.4, 0.0]]).double().log(), torch.tensor([[0.1, 0.3, 0.6]]).double().log()
    first, second = weighted([0.5, 0.5]), weighted([0.5, 0.5], order="combine-first")
    cases = [
        (first, Warp(top_k=1), [0.5, 0, 0.5]),
        (second, Warp(top_k=2), [0.5, 0.5, 0]),
        (first, Warp(0.5), [(9 / 13 + 1 / 46) / 2, (4 / 13 + 9 / 46) / 2, 36 / 46 / 2]),
        (second, Warp(0.5), [49 / 134, 49 / 134, 36 / 134]),
        (first, Warp(min_p=0.5), [0.3, 0.2 + 1 / 6, 1 / 3]),
        (second, Warp(min_p=0.9), [0.5, 0.5, 0]),
        (contrastive(1.0), Warp(), [6 / (6 + 4 / 3), (4 / 3) / (6 + 4 / 3), 0]),
    ]
    for combination, warp, wanted in cases:
        found = law_of(combination, [a, b], warp)[0]
        assert torch.allclose(found, torch.tensor(wanted).double(), atol=1e-12), (combination, warp)


@ALL_SCHEDULES
def test_r32_earlier_requests_leave_nothing_behind(schedule: Schedule):
    """R32: a request has the same text and cost first, later, and after one that was abandoned half-way."""
    members = pair(10)

    def request() -> Run:
        return observed(members, schedule, KeyedNoise(7), 20)

    first = request()
    method = Method(contrastive(0.2), cos(3, 3), VERIFICATIONS["token"], 1)
    task = Task(contexts(members, [[1], [2, 3]]), Warp(0.5), 50)
    abandoned: Any = rounds(Row(Lineup(tuple(members)), method, task, KeyedNoise(1)))
    for _ in range(3):
        next(abandoned)
    between = request()
    abandoned.close()
    last = request()
    assert first.tokens == between.tokens == last.tokens
    costs = [[(m.forwards, m.proposed, m.accepted) for m in run.row.stats.members] for run in (first, between, last)]
    assert costs[0] == costs[1] == costs[2]
    assert [member._slots for member in members] == [{}, {}]
