"""Listeners, policies, proposers and laws of a user: in which thread they run, and that their failures end one row only."""

import threading
from typing import Any

from torch import Tensor

from tests.toys.listener import Recorder
from unisono.combine import as_combination
from unisono.decoding import Schedule, cos, parallel, standard
from unisono.decoding.engine import Engine
from unisono.decoding.events import Accepted, Drawn, Ended, Proposed, Replaced, RolledBack
from unisono.decoding.row import Row
from unisono.decoding.spec import Method, Task
from unisono.decoding.verification import VERIFICATIONS
from unisono.errors import RequestError
from unisono.members.lineup import Lineup
from unisono.sampling.logits_edits import Edits
from unisono.sampling.noise import KeyedNoise
from unisono.sampling.warp import Warp
from unisono.testing import contexts, unequal_members

TOKENS = 12


def make_row(
    schedule: Schedule | None = None, combination: object = None, lineup: Lineup | None = None, **task: Any
) -> Row:
    lineup = lineup or Lineup(tuple(unequal_members(2, 5)))
    method = Method(as_combination(combination, 2), schedule or standard(), VERIFICATIONS["token"], 0)
    own = Task(contexts(lineup.members), Warp(), TOKENS, **task)
    return Row(lineup, method, own, KeyedNoise(3))


def run(*rows: Row) -> None:
    """Decode the rows together, as far as they get."""
    engine = Engine(rows[0].lineup)
    engine.submit(*rows)
    while not all(row.finished for row in rows):
        engine.step()


def test_events_come_in_the_thread_that_decodes():
    """Also those of members that run side by side."""

    class Threads(Recorder):
        def observe(self, event: Any) -> None:
            self.events.append(threading.current_thread())

    row, listener = make_row(parallel()), Threads()
    engine = Engine(row.lineup)
    engine.listen(listener)
    row.listen(listener)
    engine.submit(row)
    engine.run(row)
    assert set(listener.events) == {threading.current_thread()}


def test_a_row_that_is_cancelled_while_it_settles_goes_no_further():
    row = make_row()
    engine = Engine(row.lineup)

    class Cancelling:
        hears = (Drawn,)

        def observe(self, event: Drawn) -> None:
            engine.cancel(row)

    ends = Recorder(Ended)
    row.listen(Cancelling())
    row.listen(ends)
    engine.submit(row)
    while not row.frontier.committed:
        engine.step()
    assert row.finished
    assert not row.slots
    assert not ends.events


class Late:
    """A processor that changes at the last token, which the row finds at its end."""

    def __init__(self) -> None:
        self.late = False

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        self.late |= ids.shape[-1] == TOKENS
        return logits + self.late


def test_a_row_that_fails_at_its_end_does_not_tell_that_it_has_ended():
    row, ends = make_row(edits=Edits(processors=(Late(),))), Recorder(Ended)
    row.listen(ends)
    run(row)
    assert isinstance(row.error, RequestError)
    assert len(row.frontier.committed) == TOKENS
    assert not ends.events


def test_proposals_behind_an_accepted_end_are_told_as_rolled_back():
    """Those whose target is not known yet, too: a text may end at any token, as at a stop string."""
    lineup = Lineup(tuple(unequal_members(3, 5)))
    method = Method(as_combination(None, 3), cos(2, 3, 1), VERIFICATIONS["token"], 0)
    told, open_ones = 0, 0
    for seed in range(20):
        recorder = Recorder(Proposed, Accepted, Replaced, RolledBack)
        row = Row(
            lineup, method, Task(contexts(lineup.members), Warp(), 30), KeyedNoise(seed),
            lambda commits: len(commits) if commits[-1].origin == "accepted" else None,
        )  # fmt: skip
        row.listen(recorder)
        run(row)
        told += sum(event.count for event in recorder.of(RolledBack))
        open_ones += len(recorder.of(Proposed)) - sum(len(e.tokens) for e in recorder.of(Accepted))
        open_ones -= len(recorder.of(Replaced))
    assert told == open_ones > 0
