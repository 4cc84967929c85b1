"""The engine under random arrivals and cancellations: no slot lost or shared, nothing changes what is committed."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.core.helpers import watch
from unisono import RequestError, combine
from unisono.decoding import cos, parallel, speculative, standard
from unisono.decoding.engine import Engine
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.lineup import Lineup
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import contexts, unequal_members
from unisono.types import Commit

SCHEDULES = (standard(), parallel(), speculative(2), cos(2, 1), cos(1, 3))
COMBINATION = combine.weighted([0.6, 0.4])


def make_row(members, schedule, seed, limit, emit=lambda commits: None, prompts=None):
    method = Method(COMBINATION, schedule, VERIFICATIONS["token"], 0)
    task = Task(contexts(members, prompts or [[0], [1, 0]]), Warp(), limit)
    return Row(Lineup(tuple(members)), method, task, KeyedNoise(seed), emit)


class EngineMachine(RuleBasedStateMachine):
    """Rows arrive, step and are cancelled at random; afterwards each equals the same row alone."""

    def __init__(self) -> None:
        super().__init__()
        self.members = unequal_members(2, vocabulary=5)
        self.engine = Engine(Lineup(tuple(self.members)), rows=3)
        self.rows: list[Row] = []
        self.tokens: dict[Row, list[int]] = {}
        self.made: dict[Row, tuple[int, int, int]] = {}
        watch(self.members, self.rows)

    @rule(schedule=st.integers(0, len(SCHEDULES) - 1), seed=st.integers(0, 99), limit=st.integers(1, 12))
    def arrive(self, schedule, seed, limit):
        tokens: list[int] = []

        def take(commits):
            tokens.extend(commit.token for commit in commits)

        row = make_row(self.members, SCHEDULES[schedule], seed, limit, take)
        self.rows.append(row)
        self.tokens[row], self.made[row] = tokens, (schedule, seed, limit)
        self.engine.submit(row)

    @precondition(lambda self: self.rows)
    @rule(steps=st.integers(1, 5))
    def step(self, steps):
        before = {row: list(tokens) for row, tokens in self.tokens.items()}
        for _ in range(steps):
            self.engine.step()
        assert all(self.tokens[row][: len(tokens)] == tokens for row, tokens in before.items())

    @precondition(lambda self: self.rows)
    @rule(index=st.integers(0, 20))
    def cancel(self, index):
        self.engine.cancel(self.rows[index % len(self.rows)])

    @invariant()
    def slots_are_neither_lost_nor_shared(self):
        running = [row for row in self.rows if row.slots]
        assert len(running) <= 3
        for index, member in enumerate(self.members):
            slots = [row.slots._slots[index] for row in running]
            assert sorted(slots) == sorted(member._slots)
            assert len(set(slots)) == len(slots)

    def teardown(self):
        for row in self.rows:
            self.engine.run(row)
            schedule, seed, limit = self.made[row]
            alone: list[Commit] = []
            twin = make_row(self.members, SCHEDULES[schedule], seed, limit, lambda found, to=alone: to.extend(found))
            engine = Engine(Lineup(tuple(self.members)))
            engine.submit(twin)
            engine.run(twin)
            assert [commit.token for commit in alone][: len(self.tokens[row])] == self.tokens[row]
        assert all(not member._slots for member in self.members)


EngineMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestEngine = EngineMachine.TestCase


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: each.name)
def test_every_step_makes_progress(schedule):
    """From any state a row needs at most one step per member to commit something."""
    members, done = unequal_members(2), []
    engine, row = (
        Engine(Lineup(tuple(members))),
        make_row(members, schedule, 1, 30, lambda commits: done.extend(commits)),
    )
    engine.submit(row)
    while not row.finished:
        before = len(done)
        for _ in range(3):
            engine.step()
        assert len(done) > before


def test_a_schedule_that_does_nothing_is_an_error():
    """It would loop for ever; its row ends with its name, the others go on."""
    from unisono.decoding import Schedule, Turn

    members = unequal_members(2)
    lazy = make_row(members, Schedule("lazy", lambda view: Turn((0,))), 1, 5)
    fine = make_row(members, standard(), 1, 5)
    engine = Engine(Lineup(tuple(members)))
    engine.submit(lazy)
    engine.submit(fine)
    engine.run(fine)
    with pytest.raises(ValueError, match="schedule lazy makes no progress"):
        engine.run(lazy)


def test_rows_over_the_budget_wait_and_those_that_never_fit_are_refused():
    """Memory is counted for all rows at the length of the longest; the refusal names the numbers."""
    members = unequal_members(2)  # 8 bytes per slot and token in each of two members
    engine = Engine(Lineup(tuple(members)), memory=8 * 2 * 2 * 24)
    small = [make_row(members, standard(), seed, 20) for seed in range(4)]
    large = make_row(members, standard(), 9, 100)
    with pytest.raises(RequestError, match=r"102 tokens .* MiB"):
        engine.check(large.task.contexts, 100)
    for row in small:
        engine.submit(row)
    engine.step()
    assert [bool(row.slots) for row in small] == [True, True, False, False]
    for row in small:
        engine.run(row)
    assert all(row.finished and row.error is None for row in small)


def test_first_come_first_served():
    """A row that fits does not overtake one in front of it that does not fit yet."""
    members = unequal_members(2)
    engine = Engine(Lineup(tuple(members)), memory=8 * (30 + 31) * 2)
    first, long, short = (make_row(members, standard(), seed, limit) for seed, limit in ((1, 10), (2, 29), (3, 1)))
    for row in (first, long, short):
        engine.submit(row)
    engine.run(first)
    assert not short.finished
    engine.run(short)
    assert long.finished or long.slots


def test_samples_of_one_prompt_read_it_once():
    """The others copy the first one's cache: the prompt is scored once per member."""
    members = unequal_members(2)
    prompts = [[0, 1, 2, 1, 0] * 10, [1, 2] * 10]
    read = read_tokens(members)
    engine = Engine(Lineup(tuple(members)))
    rows = [make_row(members, standard(), 1, 5, prompts=prompts) for _ in range(4)]
    for row in rows:
        row.siblings = rows
        engine.submit(row)
    for row in rows:
        engine.run(row)
    # the prompt once, then per row its generated tokens but the last, and the prompt's last token again
    assert read == [len(prompt) + 4 * 4 + 3 for prompt in prompts]


def test_counters_agree_with_the_tokens():
    """R29: emitted = accepted + redrawn + drawn, per row, whatever ran beside it."""
    members, made = unequal_members(2), {}
    engine = Engine(Lineup(tuple(members)))
    for seed, schedule in enumerate(SCHEDULES):
        commits: list = []
        row = make_row(members, schedule, seed, 15, lambda found, to=commits: to.extend(found))
        made[row] = commits
        engine.submit(row)
    for row, commits in made.items():
        engine.run(row)
        origins = [commit.origin for commit in commits]
        assert row.stats.tokens == len(commits) == 15
        assert row.stats.accepted == origins.count("accepted")
        assert row.stats.verified == origins.count("accepted") + origins.count("redrawn")
        assert sum(member.proposed for member in row.stats.members) >= row.stats.verified


def read_tokens(members) -> list[int]:
    """How many tokens each member reads from now on."""
    read = [0] * len(members)
    for index, member in enumerate(members):
        original = member._scored

        def counted(item, index=index, original=original):
            read[index] += len(item.tokens)
            return original(item)

        member._scored = counted
    return read


@pytest.mark.parametrize("limit", [1, 5])
def test_samples_that_start_after_the_first_has_ended_read_no_prompt(limit):
    """One row at a time, or a first sample of one token: the next takes over its slots, and has the text of a fresh row."""
    members = unequal_members(2)
    prompts = [[0, 1, 2, 1, 0] * 10, [1, 2] * 10]
    texts: dict[int, list[Commit]] = {}
    alone = []
    for seed in range(4):
        row = make_row(members, cos(2, 1), seed, limit, texts.setdefault(seed, []).extend, prompts)
        engine = Engine(Lineup(tuple(members)))
        engine.submit(row)
        engine.run(row)
        alone.append([commit.token for commit in texts[seed]])
    read = read_tokens(members)
    engine = Engine(Lineup(tuple(members)), rows=1)
    found: list[list[Commit]] = [[] for _ in range(4)]
    rows = [make_row(members, cos(2, 1), seed, limit, found[seed].extend, prompts) for seed in range(4)]
    for row in rows:
        row.siblings = rows
        engine.submit(row)
    for row in reversed(rows):
        engine.run(row)
    assert [[commit.token for commit in commits] for commits in found] == alone
    assert all(count < len(prompt) + 4 * (2 * limit + 4) for count, prompt in zip(read, prompts, strict=True))
    assert [member._slots for member in members] == [{}, {}]


def test_a_cancelled_sample_leaves_its_slots_to_the_next():
    """Also in the middle of the prompt; the last one to go closes them."""
    members = unequal_members(2)
    engine = Engine(Lineup(tuple(members)), rows=1)
    rows = [make_row(members, standard(), seed, 5) for seed in range(3)]
    for row in rows:
        row.siblings = rows
        engine.submit(row)
    engine.step()
    slots = list(rows[0].slots._slots)
    engine.cancel(rows[0])
    assert rows[1].slots._slots == slots
    assert not rows[0].slots
    engine.cancel(rows[2])
    engine.run(rows[1])
    assert [member._slots for member in members] == [{}, {}]


def test_rows_of_equal_members_alternate_in_step():
    """After a rejection the other of two equal members starts, so that every step serves every row."""
    members = unequal_members(2, vocabulary=5)
    engine = Engine(Lineup(tuple(members)))
    method = Method(COMBINATION, cos(1, 1), VERIFICATIONS["token"], 0, peers=(0, 1))
    task = Task(contexts(members, [[0], [1]]), Warp(), 30)
    rows = [Row(Lineup(tuple(members)), method, task, KeyedNoise(seed)) for seed in range(6)]
    for row in rows:
        engine.submit(row)
    for _ in range(12):
        engine.step()
    assert len({tuple(member.forwards for member in row.stats.members) for row in rows}) == 1
    assert sum(row.stats.verified - row.stats.accepted for row in rows) > 6, "no rejections seen"
