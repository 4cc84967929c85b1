"""Laziness: laws that are known before everybody has scored, proposals that nobody can have rejected, and who is spared."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, Run, observed
from tests.laws import fixed, law_of
from unisono.combine import Combination, Positions, cascade, cosd, gate, nudge, weighted
from unisono.combine.cosd import Cosd
from unisono.combine.mixtures import Weighted
from unisono.decoding import Schedule, cos, parallel, risky, speculative, standard
from unisono.decoding.required import Needs
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.table import TableMember
from unisono.sampling.logits_edits import Edits
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import PROMPT, decode, largest_error

named = functools.partial(pytest.mark.parametrize, ids=lambda value: getattr(value, "name", None))
RULES = list(VERIFICATIONS.values())
LAZY = [cosd(0.4, 0.5), nudge(0.6), gate([0.5, 0.5], 0.6), gate([0.3, 0.7], 0.9, "entropy"), cascade("chow", 0.5)]
COMBINATIONS = [*LAZY, weighted([0.8, 0.2]), cascade("opt", 0.5), cascade("tokenv3", 0.5)]


@functools.cache
def members(count: int, vocabulary: int) -> list[HistoryMember]:
    return [HistoryMember.random(vocabulary, seed) for seed in range(1, count + 1)]


@named("rule", RULES)
@named("combination", COMBINATIONS)
@named("schedule", [cos(1, 1), cos(2, 1), speculative(2), risky(1)])
def test_the_law_by_enumeration(rule, combination: Combination, schedule: Schedule):
    """The law of the definition, in which everybody scores everything; the first member proposes, or the second."""
    for proposer, warp in ((0, Warp()), (1, Warp()), (0, Warp(0.7, top_k=2)), (1, Warp(0))):
        options = {"warp": warp, "proposer": proposer, "verification": rule}
        assert largest_error(members(2, 3), combination, schedule, 2, **options) < 1e-12


@named("combination", [cosd(0.4, 0.5), gate([0.4, 0.3, 0.3], 0.6), weighted([0.6, 0.3, 0.1])])
def test_three_members(combination: Combination):
    """Some certain after one, some after two."""
    for schedule, warp in ((cos(1, 1, 1), Warp()), (cos(2, 1, 1), Warp(0)), (speculative(2), Warp())):
        assert largest_error(members(3, 2), combination, schedule, 3, warp=warp) < 1e-12


@named("combination", LAZY)
@pytest.mark.parametrize("edits", [Edits(), Edits(repetition=1.5, bias={1: 0.7})], ids=["plain", "edits"])
def test_coupled_and_greedy_texts_are_those_of_standard(combination: Combination, edits: Edits):
    """Token for token, with penalties that change what is certain from position to position."""
    pair = [HistoryMember.random(7, 1), HistoryMember.random(7, 2, like=HistoryMember.random(7, 1))]
    for seed, warp in enumerate((Warp(), Warp(0.6, top_p=0.9), Warp(0))):
        for law in (combination, weighted([0.75, 0.25])):
            wanted = decode(pair, law, standard(), KeyedNoise(seed), 30, warp, edits=edits)
            for schedule in (cos(2, 1), cos(1, 2), speculative(3)):
                rule = VERIFICATIONS["coupled"]
                found = decode(pair, law, schedule, KeyedNoise(seed), 30, warp, verification=rule, edits=edits)
                assert found == wanted


def forwards(combination: Combination, schedule: Schedule, warp: Warp | None = None, **options: Any) -> list[int]:
    pair = [HistoryMember.random(3, seed) for seed in (1, 2)]
    run = observed(pair, schedule, KeyedNoise(1), 60, combination, warp, **options)
    return [member.forwards for member in run.row.stats.members]


@named("combination", LAZY)
def test_others_are_spared(combination: Combination):
    """Most positions are known from the base alone; the other member runs for far fewer than one forward per token."""
    base, other = forwards(combination, cos(1, 1))
    assert other < min(45, base)


def undecided(combination: Combination, base: Tensor, warp: Warp) -> bool:
    """Whether the other member could change the law, from the definitions: every sure answer it may give is tried."""
    answers = [torch.eye(3, dtype=torch.float64)[token] for token in range(3)]
    laws = [law_of(combination, [base.log(), (answer + 1e-300).log()], warp) for answer in answers]
    laws.append(law_of(combination, [base.log(), torch.full((3,), 1 / 3, dtype=torch.float64).log()], warp))
    return any(float((law - laws[0]).abs().max()) > 1e-9 for law in laws)


def counted(combination: Combination, run: Run, pair: Sequence[HistoryMember], warp: Warp) -> list[int]:
    """Forwards of both members under `speculative:1`, from the text alone.

    The base says something about every position. The other one is asked where it could change something and has not
    scored the position yet, as it has behind a proposal of the base that it left as it was. Where the rule never replaces
    the token that the base proposed, nobody is asked.
    """
    forwards, scored, prefix = [0, 0], False, list(PROMPT)
    for commit in run.commits:
        base = pair[0].law(prefix)
        forwards[0] += 1
        stood = commit.origin == "accepted"
        kept = isinstance(combination, Cosd) and not warp.greedy and float(base[commit.token]) >= combination.alpha
        asked = undecided(combination, base, warp) and not scored and not (kept and stood)
        forwards[1] += asked
        scored = asked and stood
        prefix.append(commit.token)
    return forwards


@pytest.mark.parametrize("warp", [Warp(0), Warp(), Warp(0.7, top_k=2)], ids=str)
@named("combination", [*LAZY, cosd(0.7, 0.2), weighted([0.8, 0.2])])
def test_forwards_are_those_of_the_members_that_are_needed(combination: Combination, warp: Warp):
    """Exactly: nobody is asked in vain, and nobody's answer is guessed."""
    pair = [HistoryMember.random(3, seed) for seed in (1, 2)]
    run = observed(pair, speculative(1), KeyedNoise(4), 80, combination, warp)
    found = [member.forwards for member in run.row.stats.members]
    assert found == counted(combination, run, pair, warp)
    assert [len(member.calls) for member in pair] == found
    assert 10 < found[1] < 80


def test_standard_and_log_probabilities_spare_nobody():
    """The reference runs everybody everywhere; log-probabilities need every member's scores."""
    assert forwards(nudge(0.6), standard()) == [60, 60]
    alone, asked = forwards(nudge(0.3), cos(1, 1)), forwards(nudge(0.3), cos(1, 1), logprobs=0)
    assert alone[1] < 10 < asked[1]


def test_a_certain_leader_of_a_mixture():
    """At temperature 0 a heavy member that is sure decides alone; two equal ones never do, nor a mixture warped later."""
    sure = HistoryMember(torch.tensor([[0.05, 0.95]] * 1009, dtype=torch.float64))
    unsure = HistoryMember(torch.tensor([[0.6, 0.4]] * 1009, dtype=torch.float64))

    def spared(combination: Combination, warp: Warp) -> int:
        run = observed([sure, unsure], cos(1, 1), KeyedNoise(1), 20, combination, warp)
        return 20 - run.row.stats.members[1].forwards

    assert spared(weighted([0.7, 0.3]), Warp(0)) == 20
    assert spared(weighted([0.52, 0.48]), Warp(0)) < 12  # 0.9 * 0.52 is less than 0.48
    assert spared(weighted([0.5, 0.5]), Warp(0)) < 12
    assert spared(weighted([0.7, 0.3], order="combine-first"), Warp(0)) < 12
    assert spared(weighted([0.7, 0.3]), Warp()) < 12


def test_a_lead_within_rounding_is_not_certain():
    """m(v1) - m(v2) = 1 - W exactly: the missing member may still draw level."""
    logits = torch.tensor([[0.75, 0.25]], dtype=torch.float64).log()
    for weight, wanted in ((2 / 3, False), (2 / 3 + 1e-7, False), (2 / 3 + 1e-4, True)):
        assert fixed(weighted([weight, 1 - weight]), [logits, logits], (0,), Warp(0)).tolist() == [wanted]


def test_parallel_may_be_lazy_too():
    """Whoever is not needed is not run beside the others."""
    assert largest_error(members(2, 3), nudge(0.5), parallel(), 2) < 1e-12


def leader_always_certain(patch: pytest.MonkeyPatch) -> None:
    """The best token of the members that have scored is taken for the best token of the mixture."""
    patch.setattr(
        Weighted, "fixed", lambda self, positions, warp: torch.ones(len(positions.scores[0].logits), dtype=torch.bool)
    )


def proposals_always_certain(patch: pytest.MonkeyPatch) -> None:
    """No assistant is asked about a proposal."""
    patch.setattr(
        Cosd, "certain", lambda self, positions, warp, tokens, chances: torch.ones(len(tokens), dtype=torch.bool)
    )


def kept_is_enough(patch: pytest.MonkeyPatch) -> None:
    """A proposal that the rule keeps is taken for certain, though its law gave it more mass than the draft does."""

    def certain(self: Cosd, positions: Positions, warp: Warp, tokens: Tensor, chances: Tensor) -> Tensor:
        if 0 not in positions.heard:
            return torch.zeros(len(tokens), dtype=torch.bool)
        return ~self.replaceable(positions.scores[0].raw).gather(-1, tokens.unsqueeze(-1))[:, 0]

    patch.setattr(Cosd, "certain", certain)


def never_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What was certain behind a token that was rejected stays certain."""
    patch.setattr(Needs, "forget", lambda self: None)


@pytest.mark.parametrize(
    ("mutate", "combination", "warp"),
    [
        (leader_always_certain, weighted([0.6, 0.4]), Warp(0)),
        (proposals_always_certain, cosd(0.4, 0.5), Warp()),
        (kept_is_enough, cosd(0.5, 10), Warp()),
        (never_forgotten, cosd(0.4, 0.5), Warp()),
        (never_forgotten, nudge(0.6), Warp()),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", "")),
)
def test_mutants(monkeypatch: pytest.MonkeyPatch, mutate, combination: Combination, warp: Warp):
    """Each certainty that is none gives another law."""

    tables: Sequence[TableMember] = members(2, 3)
    plans: tuple[Schedule, ...] = (cos(1, 1), speculative(2))
    if mutate is kept_is_enough:  # the third is still to be asked when the first two have scored and proposed
        laws = [torch.tensor([law, law], dtype=torch.float64) for law in ([0.6, 0.4], [0.9, 0.1], [0.5, 0.5])]
        tables, plans = [TableMember(law) for law in laws], (cos(1, 1, 1), cos(1, 2, 1))

    def error() -> float:
        cases = [(schedule, proposer) for schedule in plans for proposer in (0, 1)]
        return max(largest_error(tables, combination, s, 3, warp=warp, proposer=p) for s, p in cases)

    assert error() < 1e-12
    mutate(monkeypatch)
    with contextlib.suppress(StopIteration, IndexError):  # nobody has scored or proposed what is to be decided
        assert error() > 1e-3
