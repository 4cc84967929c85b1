"""The frontier: what is committed stays, what is scored belongs to the text it was scored for."""

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor

from tests.core.helpers import HistoryMember, observed, schedules, watch
from unisono.combine import weighted
from unisono.decoding import Schedule
from unisono.decoding.frontier import Frontier, joined
from unisono.decoding.proposals import Proposal
from unisono.decoding.row import Row
from unisono.decoding.slots import Slots
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.base import Scores
from unisono.members.lineup import Lineup
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import contexts, rounds

LAW = torch.tensor([0.5, 0.5])


def proposed(*tokens: int) -> Frontier:
    frontier = Frontier(2)
    for token in tokens:
        frontier.propose(Proposal(token, LAW, 0))
    return frontier


def marks(*values: int) -> Tensor:
    """Logits that can be told apart: one row [V=1] per value."""
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


def said(*values: int) -> Scores:
    return Scores(marks(*values))


def scores(frontier: Frontier, member: int, first: int, end: int) -> Tensor:
    """A member's logits [N, V] at open positions, from `first` up to `end`."""
    return joined([each.logits for each in frontier.said[member][first:end]])


def test_a_new_frontier_is_empty():
    """Nothing is committed, proposed or scored; the first position is open."""
    frontier = Frontier(2)
    assert (frontier.position, frontier.open, frontier.committed) == (0, 0, [])
    assert [frontier.scored(member) for member in (0, 1)] == [0, 0]


def test_accepted_proposals_are_committed_and_later_scores_stay():
    """Accepting moves proposals into the text; every member's scores of later positions stay where they belong."""
    frontier = proposed(1, 2, 3)
    frontier.add_scores(0, said(10, 11, 12))
    frontier.add_scores(1, said(20))
    frontier.accept(2)
    assert [proposal.token for proposal in frontier.proposals] == [3]
    assert (frontier.committed, frontier.position, frontier.open) == ([1, 2], 2, 1)
    assert [frontier.scored(member) for member in (0, 1)] == [1, 0]
    assert torch.equal(scores(frontier, 0, 0, 1), marks(12))


def test_a_replaced_token_voids_all_that_was_proposed_and_scored():
    """After a rejection nothing is left of what stood or was said at that position and later."""
    frontier = proposed(1, 2, 3)
    frontier.add_scores(0, said(10, 11, 12, 13))
    frontier.add_scores(1, said(20, 21, 22))
    frontier.accept(1)
    frontier.replace(5)
    assert (frontier.committed, frontier.open, frontier.proposals) == ([1, 5], 0, [])
    assert [frontier.scored(member) for member in (0, 1)] == [0, 0]


def test_the_law_behind_the_last_proposal():
    """A member proposes from what it says about the first position without a proposal."""
    frontier = proposed(1, 2)
    frontier.add_scores(1, said(20, 21, 22))
    assert torch.equal(scores(frontier, 1, 2, 3), marks(22))
    frontier.accept(2)
    assert torch.equal(scores(frontier, 1, 0, 1), marks(22))


def test_scores_of_several_calls_are_joined():
    """Scores are appended position by position and read from the first open one on."""
    frontier = proposed(1, 2)
    frontier.add_scores(0, said(10, 11))
    frontier.add_scores(0, said(12))
    assert torch.equal(scores(frontier, 0, 0, 3), marks(10, 11, 12))
    assert torch.equal(scores(frontier, 0, 0, 2), marks(10, 11))


@pytest.mark.parametrize(
    ("cached", "positions", "wanted"),
    [
        (0, 1, [7, 8, 4, 5]),
        (0, 3, [7, 8, 4, 5, 1, 2]),
        (1, 2, [8, 4, 5, 1]),
        (2, 1, [4, 5]),
        (3, 1, [5]),
        (3, 4, [5, 1, 2, 3]),
        (4, 2, [1]),
        (5, 2, []),
        (5, 4, [2, 3]),
        (7, 4, []),
    ],
)
def test_missing_tokens(cached: int, positions: int, wanted: list[int]):
    """A member reads what its cache lacks of prompt, committed tokens and proposals, and nothing twice."""
    frontier = proposed(4, 5, 1, 2, 3)
    frontier.accept(2)
    context = [7, 8]
    units = frontier.units(max(0, cached - len(context)), frontier.position + positions - 1)
    assert context[cached:] + units == wanted


class FrontierMachine(RuleBasedStateMachine):
    """Random rounds on three members whose caches lag behind, against a plain model of the text."""

    @initialize(data=st.data())
    def start(self, data: st.DataObject):
        token = st.integers(0, 5)
        self.prompts = [data.draw(st.lists(token, min_size=1, max_size=4)) for _ in range(3)]
        self.members = [HistoryMember.random(6, seed) for seed in range(3)]
        self.frontier, self.slots = (
            Frontier(3),
            Slots(Lineup(tuple(self.members)), contexts(self.members, self.prompts)),
        )
        self.slots.open()
        self.committed: list[int] = []
        self.open: list[int] = []
        self.seen: list[int] = []  # committed at the last look

    def cache(self, member: int) -> list[int]:
        """What a member holds."""
        return self.members[member]._slots[self.slots._slots[member]]

    def text(self, member: int, positions: int) -> list[int]:
        """What a member has to have read to score the first open positions."""
        return [*self.prompts[member], *self.committed, *self.open[: positions - 1]]

    def mark(self, member: int, position: int) -> Tensor:
        """A member's logits at an open position: a fingerprint of the text before it."""
        return torch.tensor([float(hash(tuple(self.text(member, position + 1))) % 100_003)])

    @rule(member=st.integers(0, 2), data=st.data())
    def score(self, member: int, data: st.DataObject):
        """The engine's way: read what is missing, append the scores of the positions not yet scored."""
        scored = self.frontier.scored(member)
        positions = data.draw(st.integers(scored, self.frontier.open + 1))
        if positions == scored:
            return
        work = self.slots.work(member, self.frontier, positions)
        assert work is not None
        assert work.keep == positions - scored == len(self.members[member].score([work])[0].logits)
        assert self.cache(member) == self.text(member, positions)
        new = [self.mark(member, position) for position in range(scored, positions)]
        self.frontier.add_scores(member, Scores(torch.stack(new)))

    @rule(member=st.integers(0, 2), share=st.floats(0, 1))
    def fall_behind(self, member: int, share: float):
        """A cache may be cut back at any time; only what is missing grows."""
        self.members[member]._cut(self.slots._slots[member], int(share * len(self.cache(member))))

    @rule(token=st.integers(0, 5), member=st.integers(0, 2))
    def propose(self, token: int, member: int):
        if self.frontier.scored(member) > self.frontier.open:
            found = scores(self.frontier, member, self.frontier.open, self.frontier.open + 1)
            assert torch.equal(found[0], self.mark(member, len(self.open)))
        self.frontier.propose(Proposal(token, LAW, member))
        self.open.append(token)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def accept(self, data: st.DataObject):
        count = data.draw(st.integers(0, len(self.open)))
        self.frontier.accept(count)
        self.committed, self.open = self.committed + self.open[:count], self.open[count:]

    @rule(token=st.integers(0, 5))
    def replace(self, token: int):
        """As after a rejection: caches are cut to what was committed before the new token."""
        self.frontier.replace(token)
        self.slots.cut(self.frontier.position - 1)
        self.committed, self.open = [*self.committed, token], []

    @invariant()
    def committed_text_never_changes(self):
        if hasattr(self, "frontier"):
            assert self.frontier.committed[: len(self.seen)] == self.seen
            self.seen = list(self.frontier.committed)
            assert self.frontier.committed == self.committed
            assert self.frontier.position == len(self.committed)
            assert [proposal.token for proposal in self.frontier.proposals] == self.open

    @invariant()
    def scores_belong_to_the_text_before_them(self):
        if hasattr(self, "frontier"):
            for member in range(3):
                scored = self.frontier.scored(member)
                assert scored <= self.frontier.open + 1
                if scored:
                    wanted = torch.stack([self.mark(member, position) for position in range(scored)])
                    assert torch.equal(scores(self.frontier, member, 0, scored), wanted)


TestFrontierMachine = FrontierMachine.TestCase
TestFrontierMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("index", range(8))
def test_every_round_makes_progress(members: int, index: int):
    """Something is committed at least once in as many rounds as there are members, whatever is rejected."""
    schedule: Schedule = schedules(members)[index]
    table = [HistoryMember.random(4, seed) for seed in range(members)]
    for seed in range(5):
        run = observed(table, schedule, KeyedNoise(seed), 30)
        idle = 0
        for commits in run.rounds:
            idle = 0 if commits else idle + 1
            assert idle < members
        assert len(run.commits) == 30


@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("index", range(8))
def test_caches_hold_committed_and_proposed_tokens_only(members: int, index: int):
    """After every forward a cache is a prefix of prompt, committed tokens and open proposals (peers.md R13)."""
    table = [HistoryMember.random(4, seed) for seed in range(members)]
    prompts = [list(range(1 + member)) for member in range(members)]
    method = Method(weighted([1.0] * members), schedules(members)[index], VERIFICATIONS["token"], 0)
    row = Row(Lineup(tuple(table)), method, Task(contexts(table, prompts), Warp(), 30), KeyedNoise(3))
    watch(table, [row])
    for _ in rounds(row):
        assert [len(member._slots) for member in table] == [0 if row.finished else 1] * members
    assert [member._slots for member in table] == [{}] * members
