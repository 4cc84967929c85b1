"""The frontier: what is committed stays, what is scored belongs to the text it was scored for."""

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor

from tests.core.helpers import HistoryMember, observed, schedules
from unisono.decoding.frontier import Frontier, Proposal
from unisono.decoding.schedules import Schedule
from unisono.sampling.noise import KeyedNoise

LAW = torch.tensor([0.5, 0.5])


def proposed(*tokens: int, prompts: tuple[tuple[int, ...], ...] = ((7, 8), (9,))) -> Frontier:
    frontier = Frontier(prompts)
    for token in tokens:
        frontier.propose(Proposal(token, LAW, 0))
    return frontier


def marks(*values: int) -> Tensor:
    """Logits that can be told apart: one row [V=1] per value."""
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


def test_a_new_frontier_is_empty():
    """Nothing is committed, proposed or scored; the first position is open."""
    frontier = Frontier([[7, 8], [9]])
    assert (frontier.position, frontier.open, frontier.committed) == (0, 0, [])
    assert [frontier.scored(member) for member in (0, 1)] == [0, 0]


def test_accepted_proposals_are_committed_and_later_scores_stay():
    """Accepting moves proposals into the text; every member's scores of later positions stay where they belong."""
    frontier = proposed(1, 2, 3)
    frontier.add_scores(0, marks(10, 11, 12))
    frontier.add_scores(1, marks(20))
    accepted = frontier.accept(2)
    assert [proposal.token for proposal in accepted] == [1, 2]
    assert (frontier.committed, frontier.position, frontier.open) == ([1, 2], 2, 1)
    assert [frontier.scored(member) for member in (0, 1)] == [1, 0]
    assert torch.equal(torch.stack(frontier.scores(0, 1)), marks(12))


def test_a_replaced_token_voids_all_that_was_proposed_and_scored():
    """After a rejection nothing is left of what stood or was said at that position and later."""
    frontier = proposed(1, 2, 3)
    frontier.add_scores(0, marks(10, 11, 12, 13))
    frontier.add_scores(1, marks(20, 21, 22))
    frontier.accept(1)
    frontier.replace(5)
    assert (frontier.committed, frontier.open, frontier.proposals) == ([1, 5], 0, [])
    assert [frontier.scored(member) for member in (0, 1)] == [0, 0]


def test_the_law_behind_the_last_proposal():
    """A member proposes from what it says about the first position without a proposal."""
    frontier = proposed(1, 2)
    frontier.add_scores(1, marks(20, 21, 22))
    assert torch.equal(frontier.law_source(1), marks(22)[0])
    frontier.accept(2)
    assert torch.equal(frontier.law_source(1), marks(22)[0])


def test_scores_of_several_calls_are_joined():
    """Scores are appended position by position and read from the first open one on."""
    frontier = proposed(1, 2)
    frontier.add_scores(0, marks(10, 11))
    frontier.add_scores(0, marks(12))
    assert torch.equal(torch.stack(frontier.scores(0, 3)), marks(10, 11, 12))
    assert torch.equal(torch.stack(frontier.scores(0, 2)), marks(10, 11))


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
    assert frontier.missing(0, cached, positions) == wanted


class FrontierMachine(RuleBasedStateMachine):
    """Random rounds on three members whose caches lag behind, against a plain model of the text."""

    @initialize(data=st.data())
    def start(self, data: st.DataObject):
        token = st.integers(0, 5)
        self.prompts = [data.draw(st.lists(token, min_size=1, max_size=4)) for _ in range(3)]
        self.frontier = Frontier(self.prompts)
        self.caches: list[list[int]] = [[], [], []]
        self.committed: list[int] = []
        self.open: list[int] = []
        self.seen: list[int] = []  # committed at the last look

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
        self.caches[member] += map(int, self.frontier.missing(member, len(self.caches[member]), positions))
        assert self.caches[member] == self.text(member, positions)
        new = [self.mark(member, position) for position in range(scored, positions)]
        self.frontier.add_scores(member, torch.stack(new))

    @rule(member=st.integers(0, 2), share=st.floats(0, 1))
    def fall_behind(self, member: int, share: float):
        """A cache may be cut back at any time; only what is missing grows."""
        del self.caches[member][int(share * len(self.caches[member])) :]

    @rule(token=st.integers(0, 5), member=st.integers(0, 2))
    def propose(self, token: int, member: int):
        if self.frontier.scored(member) > self.frontier.open:
            assert torch.equal(self.frontier.law_source(member), self.mark(member, len(self.open)))
        self.frontier.propose(Proposal(token, LAW, member))
        self.open.append(token)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def accept(self, data: st.DataObject):
        count = data.draw(st.integers(0, len(self.open)))
        accepted = self.frontier.accept(count)
        assert [proposal.token for proposal in accepted] == self.open[:count]
        self.committed, self.open = self.committed + self.open[:count], self.open[count:]

    @rule(token=st.integers(0, 5))
    def replace(self, token: int):
        """As after a rejection: caches are cut to what was committed before the new token."""
        self.frontier.replace(token)
        for member, cache in enumerate(self.caches):
            del cache[len(self.prompts[member]) + len(self.committed) :]
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
                    assert torch.equal(torch.stack(self.frontier.scores(member, scored)), wanted)


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
    """After every round each cache is a prefix of prompt, committed tokens and open proposals (peers.md R13)."""
    table = [HistoryMember.random(4, seed) for seed in range(members)]
    prompts = [list(range(1 + member)) for member in range(members)]

    def check(row) -> None:
        text = row.frontier.committed + [proposal.token for proposal in row.frontier.proposals]
        for member, prompt in zip(table, prompts, strict=True):
            assert len(member._slots) == (0 if row.finished else 1)
            for held in member._slots.values():
                assert held == [*prompt, *text][: len(held)]

    observed(table, schedules(members)[index], KeyedNoise(3), 30, prompts=prompts, after_round=check)
    assert [member._slots for member in table] == [{}] * members
