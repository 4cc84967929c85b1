"""Twins: members of the same weights, which one forward scores together wherever a row needs both."""

from collections.abc import Sequence

import pytest

from tests.core.helpers import HistoryMember
from tests.core.test_auto import erratic
from tests.toys.bayes import Bayes
from tests.toys.drawn_by_text import DrawnByFirst, DrawnByText
from tests.toys.listener import Recorder
from tests.toys.table_twins import TwinMember
from unisono.combine import Combination, drawn, only, product, weighted
from unisono.combine.parse import as_combination
from unisono.decoding import Schedule, cos, lookup, parallel, relay, risky, speculative, standard
from unisono.decoding.engine import Engine
from unisono.decoding.events import Forward
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS, Verification
from unisono.members.lineup import Lineup
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import contexts, largest_error

PAIR = TwinMember.pair(2, 1)
OTHER = HistoryMember.random(2, 4, "other", parameters=2)
LAWS = (weighted([0.7, 0.3]), product([0.6, 0.4]), Bayes(), drawn([0.7, 0.3]))
SCHEDULES = pytest.mark.parametrize(
    "schedule",
    [standard(), parallel(), cos(2, 1), cos(1, 1), speculative(2), relay(2), lookup(1), risky(1), erratic(2)],
    ids=lambda each: each.name,
)
RULES = pytest.mark.parametrize("rule", VERIFICATIONS.values(), ids=list(VERIFICATIONS))


def started(combination: object, schedule: Schedule, members: Sequence[HistoryMember], seeds: Sequence[int]):  # type: ignore[no-untyped-def]
    """An engine with rows of these members, of which the first two are twins; and a listener of the engine."""
    lineup = Lineup(tuple(members), 0, (), ((0, 1),))
    method = Method(as_combination(combination, len(members)), schedule, VERIFICATIONS["token"], 0)
    task = Task(contexts(members), Warp(), 4)
    rows = [Row(lineup, method, task, KeyedNoise(seed)) for seed in seeds]
    engine, recorder = Engine(lineup), Recorder(Forward)
    engine.listen(recorder)
    engine.submit(*rows)
    return engine, rows, recorder


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@SCHEDULES
@RULES
def test_twins_are_exact(law: Combination, schedule: Schedule, rule: Verification):
    assert largest_error(PAIR, law, schedule, 2, verification=rule, twins=[(0, 1)]) < 1e-12


@pytest.mark.parametrize("law", [DrawnByFirst(), DrawnByText(), weighted([0.7, 0.3])], ids=lambda law: law.name)
@pytest.mark.parametrize("warp", [Warp(0), Warp(0.7)], ids=["greedy", "tempered"])
@SCHEDULES
def test_twins_are_exact_at_other_temperatures(law: Combination, warp: Warp, schedule: Schedule):
    assert largest_error(PAIR, law, schedule, 2, warp=warp, twins=[(0, 1)]) < 1e-12


@pytest.mark.parametrize("schedule", [standard(), cos(1, 1, 1), cos(1, 2, 1), speculative(2), relay(2), erratic(3)],
                         ids=lambda each: each.name)  # fmt: skip
@pytest.mark.parametrize("law", ["weighted:0.5,0.3,0.2", "only:2", "only:0"])
def test_twins_beside_a_member_of_other_weights_are_exact(law: str, schedule: Schedule):
    assert largest_error([*PAIR, OTHER], law, schedule, 2, twins=[(0, 1)]) < 1e-12


@pytest.mark.long
@pytest.mark.parametrize("law", [*LAWS, DrawnByFirst()], ids=lambda law: law.name)
@SCHEDULES
@RULES
def test_three_tokens_of_twins_are_exact(law: Combination, schedule: Schedule, rule: Verification):
    assert largest_error(PAIR, law, schedule, 3, verification=rule, twins=[(0, 1)]) < 1e-12


@pytest.mark.parametrize("schedule", [standard(), cos(1, 1), speculative(2)], ids=lambda each: each.name)
def test_one_forward_scores_both(schedule: Schedule):
    """Its event names both, each row counts one forward per member, and no position waits for the second twin."""
    PAIR[0].together.clear()
    engine, rows, recorder = started("weighted:0.5,0.5", schedule, PAIR, [1, 2])
    for row in rows:
        engine.run(row)
    forwards = recorder.of(Forward)
    assert {each.members for each in forwards} == {(0, 1)}
    assert len(forwards) == len(PAIR[0].together) == 4
    assert sorted(PAIR[0].together[0]) == ["first", "first", "second", "second"]
    assert all(each.rows == 2 for each in forwards)
    for row in rows:
        assert [each.forwards for each in row.stats.members] == [4, 4]


def test_a_twin_that_is_not_needed_does_not_run():
    engine, (row,), recorder = started(only(1), standard(), PAIR, [1])
    engine.run(row)
    assert {each.members for each in recorder.of(Forward)} == {(1,)}


def test_a_twin_that_drafts_drafts_alone():
    """The other one is not scored on proposals before the first position behind them is decided."""
    engine, (row,), recorder = started("weighted:0.4,0.3,0.3", cos(3, 1, 1), [*PAIR, OTHER], [1])
    engine.run(row)
    ran = [each.members for each in recorder.of(Forward)]
    assert ran[0] == (0, 1)
    assert (0,) in ran
    assert (2,) in ran


@pytest.mark.parametrize("schedule", [standard(), cos(2, 1), relay(2)], ids=lambda each: each.name)
def test_a_twin_may_read_a_longer_prompt(schedule: Schedule):
    """It is read over several steps; the text is that of members that are no twins."""
    prompts = [[0, 1, 1], [1, 0, 0, 1] * 150]
    texts = []
    for twins in ((), ((0, 1),)):
        lineup = Lineup(tuple(PAIR), 0, (), twins)
        method = Method(weighted([0.5, 0.5]), schedule, VERIFICATIONS["coupled"], 0)
        row = Row(lineup, method, Task(contexts(PAIR, prompts), Warp(), 8), KeyedNoise(3))
        engine = Engine(lineup)
        engine.submit(row)
        engine.run(row)
        texts.append(row.frontier.committed)
    assert len(texts[0]) == 8
    assert texts[0] == texts[1]
