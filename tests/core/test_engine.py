"""The loop's edges: no possible token, runs that end early, what a member is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, observed, schedules
from unisono.combine import Combination, contrastive, custom, product, weighted
from unisono.decoding import Schedule, cos, speculative
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.errors import MemberError, RequestError, UnisonoError
from unisono.members.lineup import Lineup
from unisono.members.table import TableMember
from unisono.members.tokens import Append
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import contexts, decode, rounds

ALL_SCHEDULES = pytest.mark.parametrize("schedule", schedules(2), ids=lambda schedule: schedule.name)


def row(members: list[TableMember], schedule: Schedule, combination: Combination | None = None) -> Row:
    method = Method(combination or weighted([0.5, 0.5]), schedule, VERIFICATIONS["token"], 0)
    return Row(Lineup(tuple(members)), method, Task(contexts(members), Warp(), 20), KeyedNoise(1))


@ALL_SCHEDULES
@pytest.mark.parametrize("warp", [Warp(), Warp(0.5, top_k=1), Warp(0)], ids=str)
@pytest.mark.parametrize("combination", [product([1, 1]), contrastive(0.5)], ids=lambda combination: combination.name)
def test_no_possible_token_is_an_error(schedule: Schedule, warp: Warp, combination: Combination):
    """Where the members rule out every token between them, nothing is emitted; the error names the combination."""
    members = [
        TableMember(torch.tensor([[0.5, 0.5, 0], [1, 0, 0], [1, 0, 0]])),
        TableMember(torch.tensor([[0, 0, 1.0]] * 3)),
    ]
    with pytest.raises(RequestError, match=f"{combination.name}.*no possible token.*token 0"):
        observed(members, schedule, KeyedNoise(1), 4, combination, warp)


@ALL_SCHEDULES
def test_slots_are_freed_however_a_run_ends(schedule: Schedule):
    """Finished, abandoned half-way, never started, or ended by an error: no member keeps a cache."""
    members: list[TableMember] = [HistoryMember.random(5, seed) for seed in (1, 2)]
    list(rounds(row(members, schedule)))
    assert [member._slots for member in members] == [{}, {}]
    abandoned: Any = rounds(row(members, schedule))
    next(abandoned)
    assert all(member._slots for member in members)
    abandoned.close()
    unstarted: Any = rounds(row(members, schedule))
    unstarted.close()
    with pytest.raises(UnisonoError, match="must return"):
        list(rounds(row(members, schedule, custom(lambda logits, warp: logits[0]))))
    assert [member._slots for member in members] == [{}, {}]


@ALL_SCHEDULES
def test_members_read_every_token_once_unless_it_was_rejected(schedule: Schedule):
    """With members that agree, each reads prompt and text once, beside what was looked up in vain and what followed it."""
    members = [HistoryMember.random(5, 1) for _ in range(2)]
    stats = observed(members, schedule, KeyedNoise(2), 24, prompts=[[0] * 6] * 2).row.stats
    assert all(member.accepted == member.decided for member in stats.members)
    void = (
        sum(source.proposed for source in (*stats.members, stats.lookup)) - stats.accepted
        if stats.lookup.decided
        else 0
    )
    for member in members:
        assert sum(read for read, _ in member.calls) <= 6 + 23 + void
        assert sum(kept for _, kept in member.calls) <= 24 + void


@ALL_SCHEDULES
def test_rejected_tokens_are_read_again_and_nothing_else(schedule: Schedule):
    """What a member reads beyond prompt and text is bounded by the proposals that were void."""
    members = [HistoryMember.random(5, seed) for seed in (1, 2)]
    run = observed(members, schedule, KeyedNoise(2), 24)
    stats = run.row.stats
    void = sum(source.proposed for source in (*stats.members, stats.lookup)) - stats.accepted
    for member in members:
        assert sum(read for read, _ in member.calls) <= 1 + 23 + void


@pytest.mark.parametrize("schedule", [speculative(4), cos(4, 1)], ids=lambda schedule: schedule.name)
def test_a_draft_is_scored_in_one_forward(schedule: Schedule):
    """The other member reads a whole draft at once and says something about the position behind it too."""
    members = [HistoryMember.random(5, 1) for _ in range(2)]
    observed(members, schedule, KeyedNoise(2), 24)
    assert members[1].calls[0] == (5, 5)


def test_parallel_members_run_in_one_round():
    """Members that run at the same time give the text of those that run one after the other."""
    members = [HistoryMember.random(20, seed) for seed in (1, 2, 3)]
    standard, parallel = schedules(3)[:2]
    for seed in range(5):
        texts = [observed(members, schedule, KeyedNoise(seed), 30) for schedule in (standard, parallel)]
        assert texts[0].tokens == texts[1].tokens
        assert [len(run.rounds) for run in texts] == [90, 30]


class Talkative(TableMember):
    """Returns other scores than it was asked for."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(torch.full((3, 3), 1 / 3), "talkative")
        self._change = change

    def _scored(self, item: Append) -> Tensor:
        return self._change(super()._scored(item))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: torch.cat([logits, logits]), "shapes"),
        (lambda logits: logits[:, 1:], "shapes"),
        (lambda logits: logits.half(), "float32 or float64"),
    ],
)
def test_a_member_that_returns_other_scores_is_named(change: Callable[[Tensor], Tensor], message: str):
    """Rows, columns, type: a mistake of a backend ends the request, and gives no text."""
    with pytest.raises(MemberError, match=f"member talkative must return logits .*{message}"):
        decode([Talkative(change)], "only:0", "standard", KeyedNoise(1), 2)
