"""Events: their order, their positions, what they add up to, and that listeners change nothing."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests import tiny
from tests.toys.listener import ENGINE, ROW, Recorder
from unisono import SamplingParams, combine
from unisono.decoding.engine import Engine
from unisono.decoding.events import (
    Accepted,
    Drawn,
    Ended,
    Forward,
    Measured,
    Proposed,
    Replaced,
    RolledBack,
    Scored,
    StepBegan,
    StepEnded,
    commits,
)
from unisono.decoding.policy import Schedule, Turn, View
from unisono.decoding.row import Row
from unisono.decoding.schedules import cos, lookup, parallel, relay, speculative, standard
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.members.lineup import Lineup
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import contexts, unequal_members
from unisono.types import Stats

TOKENS = 40
SCHEDULES = [standard(), parallel(), speculative(3), cos(1, 1), cos(2, 1), relay(2), lookup(3)]
COMBINATIONS = {"weighted": combine.weighted([0.6, 0.4]), "only": combine.only(1), "drawn": combine.drawn([0.5, 0.5])}
by_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
by_rule = pytest.mark.parametrize("rule", list(VERIFICATIONS))


def make_row(
    schedule: Schedule, rule: str = "token", combination: str = "weighted", seed: int = 3, lineup: Lineup | None = None
) -> Row:
    lineup = lineup or Lineup(tuple(unequal_members(2, 5)))
    method = Method(COMBINATIONS[combination], schedule, VERIFICATIONS[rule], 0)
    return Row(lineup, method, Task(contexts(lineup.members), Warp(), TOKENS), KeyedNoise(seed))


def run(*rows: Row, listeners: Sequence[Any] = ()) -> None:
    """Decode the rows together, with listeners of the engine."""
    engine = Engine(rows[0].lineup)
    for listener in listeners:
        engine.listen(listener)
    engine.submit(*rows)
    for row in rows:
        engine.run(row)


def recorded(row: Row) -> Recorder:
    recorder = Recorder(*ROW)
    row.listen(recorder)
    run(row)
    return recorder


@by_schedule
@by_rule
@pytest.mark.parametrize("combination", list(COMBINATIONS))
def test_a_settling_is_told_in_order(schedule: Schedule, rule: str, combination: str):
    """Accepted, replaced or drawn, rolled back; `Ended` is the last event of the row."""
    found = recorded(make_row(schedule, rule, combination)).letters()
    assert re.fullmatch("(?:[SP]+(?:A(?:RB?|D)?|RB?|D))+E", found), found


class Measuring(Schedule):
    """Drafts two tokens each, and compares the members with the targets."""

    name = "measuring"

    def turn(self, view: View) -> Turn:
        member = view.least_scored()
        return Turn((member,), ((member, 2),))

    def measures(self, positions: int) -> bool:
        return True


def test_members_are_measured_before_anything_is_decided():
    recorder = recorded(make_row(Measuring()))
    found = recorder.letters()
    assert re.fullmatch("(?:[SP]+(?:M+(?:A(?:RB?|D)?|RB?|D)))+E", found), found
    position = 0
    for event in recorder.events:
        if isinstance(event, Measured):
            assert event.first == position
            assert len(event.overlaps) == len(event.surest) >= 1
            assert all(0 <= value <= 1 + 1e-9 for value in (*event.overlaps, *event.surest))
        elif isinstance(event, Accepted | Replaced | Drawn):
            position += len(commits(event))


class Replay:
    """Rebuilds a row from its events; every event must fit to those before."""

    def __init__(self, members: int) -> None:
        self.committed: list[int] = []
        self.open: list[Any] = []  # proposers of the open proposals
        self.scored = [0] * members  # per member, the position behind the last one that it has scored
        self.proposed: Counter[Any] = Counter()
        self.decided: Counter[tuple[Any, int]] = Counter()  # by proposer and position in the block
        self.accepted: Counter[tuple[Any, int]] = Counter()
        self._start = 0  # of the present settling

    def observe(self, event: Any) -> None:
        position = len(self.committed)
        if isinstance(event, Scored):
            self._start = position
            assert event.first == max(self.scored[event.member], position)
            self.scored[event.member] = event.first + len(event.scores.logits)
            assert self.scored[event.member] <= position + len(self.open) + 1
        elif isinstance(event, Proposed):
            self._start = position
            assert event.position == position + len(self.open)
            self.open.append(event.proposer)
            self.proposed[event.proposer] += 1
        elif isinstance(event, Accepted):
            assert (event.first, list(event.proposers)) == (position, self.open[: len(event.proposers)])
            for token, proposer in zip(event.tokens, event.proposers, strict=True):
                place = proposer, len(self.committed) - self._start
                self.decided[place] += 1
                self.accepted[place] += 1
                self._commit(token)
        elif isinstance(event, Replaced):
            assert (event.position, event.proposer) == (position, self.open[0])
            self.decided[event.proposer, position - self._start] += 1
            self._commit(event.token)
            self.scored = [min(scored, position + 1) for scored in self.scored]
        elif isinstance(event, Drawn):
            assert (event.position, self.open) == (position, [])
            self._commit(event.token)
        elif isinstance(event, RolledBack):
            assert (event.first, event.count) == (position, len(self.open))
            self.open.clear()
        elif isinstance(event, Ended):
            assert event.tokens == position

    def _commit(self, token: int) -> None:
        self.committed.append(token)
        del self.open[:1]

    def require(self, stats: Stats) -> None:
        """Assert that the statistics are those that the events tell of."""
        for proposer, counted in [*enumerate(stats.members), ("lookup", stats.lookup)]:
            assert counted.proposed == self.proposed[proposer]
            for counts, told in (
                (counted.decided_by_position, self.decided),
                (counted.accepted_by_position, self.accepted),
            ):
                found = {place: count for (each, place), count in told.items() if each == proposer}
                assert {place: count for place, count in enumerate(counts) if count} == found
        assert stats.tokens == len(self.committed)


@by_schedule
@by_rule
@pytest.mark.parametrize("combination", list(COMBINATIONS))
def test_events_rebuild_the_text_and_the_statistics(schedule: Schedule, rule: str, combination: str):
    row = make_row(schedule, rule, combination)
    recorder, replay = recorded(row), Replay(2)
    for event in recorder.events:
        replay.observe(event)
    assert replay.committed == row.frontier.committed
    assert len(replay.committed) == TOKENS
    replay.require(row.stats)


def test_a_listener_sees_the_row_before_it_changes():
    row = make_row(cos(2, 1))
    seen = []

    class Early:
        hears = (Accepted, Replaced, Drawn)

        def observe(self, event: Any) -> None:
            first = event.first if isinstance(event, Accepted) else event.position
            seen.append(first - row.frontier.position)

    row.listen(Early())
    run(row)
    assert min(seen) == 0
    assert len(seen) > 10


def test_only_kinds_that_are_heard_are_made(monkeypatch: pytest.MonkeyPatch):
    """A fixed schedule hears nothing, so without listeners no event is made."""
    made: Counter[type] = Counter()
    for kind in (*ROW, *ENGINE):

        def make(self: Any, *fields: Any, _init: Any = kind.__init__) -> None:  # type: ignore[misc]
            made[type(self)] += 1
            _init(self, *fields)

        monkeypatch.setattr(kind, "__init__", make)
    run(make_row(cos(2, 1)))
    assert not made
    row = make_row(cos(2, 1))
    row.listen(Recorder(Replaced, Ended))
    run(row, listeners=[Recorder(StepEnded)])
    assert set(made) == {Replaced, Ended, StepEnded}


class Failing(Recorder):
    """Raises at its third event."""

    def observe(self, event: Any) -> None:
        super().observe(event)
        if len(self.events) == 3:
            raise ValueError("a listener's own mistake")


@by_schedule
def test_a_listener_that_raises_is_dropped_and_changes_nothing(schedule: Schedule, caplog: pytest.LogCaptureFixture):
    """It is logged once, and other listeners still hear everything."""
    alone = make_row(schedule)
    run(alone)
    row, failing, recorder, of_engine = make_row(schedule), Failing(), Recorder(*ROW), Failing()
    row.listen(failing)
    row.listen(recorder)
    run(row, listeners=[of_engine])
    assert row.frontier.committed == alone.frontier.committed
    assert len(failing.events) == len(of_engine.events) == 3
    assert [record.name for record in caplog.records] == ["unisono.decoding.events"] * 2
    assert recorder.letters().endswith("E")


@by_schedule
def test_events_of_the_engine_add_up_to_the_statistics(schedule: Schedule):
    """Forward passes, their seconds, and the seconds outside of them; for rows in a batch."""
    lineup, recorder = Lineup(tuple(unequal_members(2, 5))), Recorder(*ENGINE)
    rows = [make_row(schedule, seed=seed, lineup=lineup) for seed in range(3)]
    run(*rows, listeners=[recorder])
    assert re.fullmatch("(?:SF+S)+", recorder.letters().replace("B", "S"))
    assert {event.rows for event in recorder.of(StepBegan)} <= {1, 2, 3}
    for member in range(2):
        counted = [row.stats.members[member] for row in rows]
        forwards = [event for event in recorder.of(Forward) if member in event.members]
        assert sum(event.rows for event in forwards) == sum(each.forwards for each in counted)
        assert sum(event.seconds for event in forwards) == pytest.approx(sum(each.seconds for each in counted))
        assert all(event.widest >= 1 for event in forwards)
    outside = sum(event.outside for event in recorder.of(StepEnded))
    assert outside == pytest.approx(sum(row.stats.outside for row in rows))


def test_forwards_behind_proposals_are_counted_apart():
    """`speculative:3` drafts two of its three tokens behind a proposal; nothing else does."""
    row, recorder = make_row(speculative(3)), Recorder(*ENGINE)
    run(row, listeners=[recorder])
    steps = [len(step) for step in re.findall("F+", recorder.letters())]
    assert [event.drafted for event in recorder.of(StepEnded)] == [forwards - 1 for forwards in steps]
    assert max(steps) == 3


def test_a_listener_of_the_engine_can_leave():
    row, recorder = make_row(cos(1, 1)), Recorder(Forward)
    engine = Engine(row.lineup)
    engine.listen(recorder)
    engine.unlisten(recorder)
    engine.submit(row)
    engine.run(row)
    assert not recorder.events


def test_a_request_is_heard_through_the_public_surface():
    """A token behind the end of the text is in no event, as it is in no commit: some of these texts end in a settling."""
    ensemble, behind = tiny.text_ensemble(), 0
    for seed in range(12):
        recorder = Recorder(*ROW)
        params = SamplingParams(max_tokens=TOKENS, seed=seed, stop=("e", "a"))
        (request,) = ensemble.start("def f", params, schedule="cos:4,1", verification="block")
        request.listen(recorder)
        result = request.run(ensemble.engine)
        told = [event for event in recorder.events if isinstance(event, Accepted | Replaced | Drawn)]
        assert [commit for event in told for commit in commits(event)] == list(result.commits)
        behind += len(request.row.frontier.committed) - len(result.commits)
    assert behind > 0
