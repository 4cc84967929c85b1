"""A row's slots: contexts are read once and in steps, and what became void is taken back."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.core.helpers import HistoryMember, watch
from unisono.combine import only
from unisono.decoding import Schedule, Turn
from unisono.decoding.frontier import Frontier, joined
from unisono.decoding.proposals import Proposal
from unisono.decoding.row import Row
from unisono.decoding.slots import CHUNK, Slots
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.lineup import Lineup
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import contexts, rounds

PROMPT = (7, 8)
LAW = torch.tensor([0.5, 0.5])


def frontier(committed: Sequence[int] = (), proposed: Sequence[int] = ()) -> Frontier:
    """Of one member, which has scored nothing."""
    made = Frontier(1)
    for token in (*committed, *proposed):
        made.propose(Proposal(token, LAW, 0))
    made.accept(len(committed))
    return made


class Alone:
    """One member, the open slots of one row in it, and the work that is done in them."""

    def __init__(self, prompt: Sequence[int] = PROMPT, sibling: "Alone | None" = None) -> None:
        self.member: HistoryMember = HistoryMember.random(5, 1) if sibling is None else sibling.member
        self.slots = Slots(Lineup((self.member,)), contexts([self.member], [prompt]))
        self.slots.open(None if sibling is None else sibling.slots)

    @property
    def slot(self) -> int:
        return self.slots._slots[0]

    @property
    def held(self) -> list[int]:
        return self.member._slots[self.slot]

    def score(self, made: Frontier, positions: int) -> Tensor:
        """Do the work until positions are scored; their logits [positions, V]."""
        while (work := self.slots.work(0, made, positions)) is not None:
            made.add_scores(0, self.member.score([work])[0])
        return joined([said.logits for said in made.said[0][:positions]])


def laws(member: HistoryMember, prompt: Sequence[int], text: Sequence[int], first: int) -> Tensor:
    """What a member says behind `first` tokens of a text, and behind each further one."""
    return torch.stack([member._row([*prompt, *text[:end]]) for end in range(first, len(text) + 1)])


@pytest.mark.parametrize("proposed", [[], [1, 2, 3], [1] * 300], ids=len)
def test_a_long_context_is_read_in_steps_that_do_not_depend_on_the_text(proposed: list[int]):
    """So a row's forwards are the same whatever is asked about what follows; nothing is scored before the last step."""
    prompt = [0, 1, 2] * 200
    alone, made = Alone(prompt), frontier(proposed=proposed)
    found = alone.score(made, len(proposed) + 1)
    assert alone.member.calls == [(CHUNK, 0), (CHUNK, 0), (600 - 2 * CHUNK + len(proposed), len(proposed) + 1)]
    assert torch.equal(found, laws(alone.member, prompt, proposed, 0))


@pytest.mark.parametrize(
    ("held", "positions", "wanted"),
    [
        (0, 1, [7, 8, 4, 5]),
        (0, 3, [7, 8, 4, 5, 1, 2]),
        (1, 2, [8, 4, 5, 1]),
        (2, 1, [4, 5]),
        (3, 1, [5]),
        (3, 4, [5, 1, 2, 3]),
    ],
)
def test_a_member_reads_what_it_lacks(held: int, positions: int, wanted: list[int]):
    """Of its context, committed units and proposals, and nothing twice."""
    alone, made = Alone(), frontier([4, 5], [1, 2, 3])
    alone.held.extend([*PROMPT, 4, 5][:held])
    found = alone.score(made, positions)
    assert alone.held == [*PROMPT, 4, 5][:held] + wanted
    assert alone.member.calls == [(len(wanted), positions)]
    assert torch.equal(found, laws(alone.member, PROMPT, [4, 5, 1, 2, 3][: 1 + positions], 2))


def test_a_slot_that_is_longer_than_what_is_valid_is_rewound_before_its_next_work():
    """A draft was cut behind its first unit: the scores of the position behind it are those of what stands there now."""
    alone, made = Alone(), frontier(proposed=[1, 2, 3])
    alone.score(made, 4)
    made.replace(1)
    assert alone.held == [*PROMPT, 1, 2, 3]
    found = alone.score(made, 1)
    assert alone.held == [*PROMPT, 1]
    assert torch.equal(found, laws(alone.member, PROMPT, [1], 1))


def test_what_another_unit_replaced_is_taken_back_also_when_more_is_committed_before_the_next_work():
    """The slot is then as long as the text without its last unit, yet it holds another one."""
    alone, made = Alone(), frontier(proposed=[3])
    alone.score(made, 2)
    made.replace(1)
    alone.slots.cut(made.position - 1)
    made.replace(2)
    alone.slots.cut(made.position - 1)
    found = alone.score(made, 1)
    assert alone.held == [*PROMPT, 1, 2]
    assert torch.equal(found, laws(alone.member, PROMPT, [1, 2], 2))


def test_a_row_takes_back_what_a_member_that_pauses_has_read_of_its_draft():
    """The second member drafts, the first one lets the draft fall and draws several tokens before it drafts again."""
    members, asked = [HistoryMember.random(4, seed) for seed in (1, 2)], itertools.count()
    turns = [Turn((1,), ((1, 2),)), *[Turn((0,))] * 3]
    schedule = Schedule("pausing", lambda view: turns[next(asked) % len(turns)])
    method = Method(only(0), schedule, VERIFICATIONS["token"], 0)
    row = Row(Lineup(tuple(members)), method, Task(contexts(members), Warp(), 40), KeyedNoise(1))
    watch(members, [row])
    assert sum(len(commits) for commits in rounds(row)) == 40


def test_a_fork_does_not_read_its_context_again():
    """Only its last piece, for the scores behind it; the sibling's own text is not in it."""
    prompt = [0, 1, 2] * 200
    first, made = Alone(prompt), frontier(proposed=[1, 2])
    first.score(made, 3)
    first.member.calls.clear()
    second = Alone(prompt, sibling=first)
    assert second.slot != first.slot
    found = second.score(frontier(), 1)
    assert first.member.calls == [(1, 1)]
    assert torch.equal(found, laws(first.member, prompt, [], 0))
    assert first.held == [*prompt, 1, 2]


def test_a_fork_of_a_context_that_was_read_in_part_reads_the_rest():
    """A sibling may start before the first row has read all of it."""
    prompt = [0, 1, 2] * 200
    first = Alone(prompt)
    work = first.slots.work(0, frontier(), 1)
    assert work is not None
    first.member.score([work])
    second = Alone(prompt, sibling=first)
    second.score(frontier(), 1)
    assert first.member.calls == [(CHUNK, 0), (CHUNK, 0), (600 - 2 * CHUNK, 1)]


@pytest.mark.parametrize("proposed", [[], [3], [3, 4]], ids=len)
def test_after_a_rewind_to_nothing_the_scores_behind_the_context_come_again(proposed: list[int]):
    """Whatever is read behind it at the same time."""
    alone = Alone()
    alone.score(frontier(proposed=[1, 2]), 3)
    alone.member.rewind(alone.slot, 0)
    assert (alone.member.length(alone.slot), alone.member.unread(alone.slot)) == (0, 0)
    found = alone.score(frontier(proposed=proposed), len(proposed) + 1)
    assert torch.equal(found, laws(alone.member, PROMPT, proposed, 0))
    assert alone.held == [*PROMPT, *proposed]


def test_slots_are_inherited_with_their_context():
    """The next row of a prompt goes on with the very slots of one that has ended, and reads its own text in them."""
    first, made = Alone(), frontier(proposed=[1, 2])
    first.score(made, 3)
    first.member.calls.clear()
    slot, heir = first.slot, Slots(Lineup((first.member,)), contexts([first.member], [PROMPT]))
    heir.inherit(first.slots)
    assert (bool(first.slots), heir._slots) == (False, [slot])
    first.slots.close()  # has nothing to close any more
    work = heir.work(0, frontier(proposed=[3]), 2)
    assert work is not None
    found = first.member.score([work])[0].logits
    assert first.member.calls == [(2, 2)]
    assert torch.equal(found, laws(first.member, PROMPT, [3], 0))
    heir.close()
    assert (bool(heir), first.member._slots) == (False, {})


def test_a_member_that_was_not_needed_for_long_catches_up_in_steps():
    """No step reads more than `CHUNK` units; only the last one scores."""
    text = [1, 2, 3] * 200
    alone, made = Alone(), frontier(text, [4])
    found = alone.score(made, 2)
    assert alone.member.calls == [(2 + CHUNK, 0), (CHUNK, 0), (601 - 2 * CHUNK, 2)]
    assert torch.equal(found, laws(alone.member, PROMPT, [*text, 4], 600))


def test_a_row_without_memory_for_a_slot_has_none(monkeypatch: pytest.MonkeyPatch):
    """What was opened before the failure is closed, and a sibling does not take copies of half a row's slots."""
    members = [HistoryMember.random(5, seed) for seed in (1, 2)]
    slots = Slots(Lineup(tuple(members)), contexts(members, [PROMPT, PROMPT]))

    def fail(context: object) -> int:
        raise MemoryError

    monkeypatch.setattr(members[1], "open", fail)
    with pytest.raises(MemoryError):
        slots.open()
    assert not slots
    assert not members[0]._slots
