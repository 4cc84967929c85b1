"""The decode loop for all rows: admit rows, ask the policies, run members, verify proposals, draft.

All methods use this one loop. Rows whose turns ask for the same members form a group. Each step runs one group, usually
the largest. The other rows wait. Waiting makes a row slower but does not change the row's turns or text. Rows of a step
share the forward pass and the wait for the device. Rows with the same combination and warp compute their laws together.
"""

import threading
import time
from collections.abc import Callable, Sequence

import torch

from unisono.decoding.admission import Admission
from unisono.decoding.drafting import propose
from unisono.decoding.events import Forward, Listener, Listeners, StepBegan, StepEnded
from unisono.decoding.forwards import Progress, forward, jobs_by_weights
from unisono.decoding.policy import Turn
from unisono.decoding.row import Row
from unisono.decoding.settling import settle
from unisono.errors import ConfigurationError, RequestError
from unisono.members.base import Context
from unisono.members.lineup import Lineup
from unisono.threads import side_by_side

ROWS = 64  # the default maximum of rows that run at the same time
CLOSED = "the ensemble is closed; load it again"
PATIENCE = 8  # a row that has waited for more steps is served before the majority


class Engine:
    """Runs rows over members. Thread-safe: any thread may submit, step and cancel; steps are serialised.

    Args:
        lineup: the members. Contexts and draft lengths are in the order of the lineup.
        rows: the maximum number of rows that run at the same time; further rows wait.
        memory: the maximum number of bytes of the members' caches together.
    """

    def __init__(self, lineup: Lineup, rows: int = ROWS, memory: int = 2**40) -> None:
        self._lineup = lineup
        self._listeners = Listeners()
        self._permanent: list[Listener] = []
        self._admission = Admission(lineup, rows, memory)
        self._running: list[Row] = []
        self._lock = threading.RLock()
        self._stepping = self._closed = False
        self._inside = 0.0  # seconds that forward passes took in the current step
        self._drafted = 0  # forward passes for drafting in the current step
        self._pool = side_by_side(len(lineup.everyone))

    def check(self, contexts: Sequence[Context], units: int) -> None:
        """Raise RequestError if the engine is closed or if a row of these contexts and `units` tokens can never fit."""
        self.require_open()
        self._admission.check(contexts, units)

    def close(self) -> None:
        """Close the engine. All rows fail, the caches are freed, new rows are refused. A second call does nothing."""
        with self._lock:
            self._closed = True
            for row in (*self._running, *self._admission.waiting):
                row.fail(RequestError(CLOSED))
            if not self._stepping:
                self._release()
                for member in self._lineup.members:
                    member.release()

    def listen(self, listener: Listener) -> None:
        """Send engine events of the kinds in `listener.hears` to the listener until `unlisten` is called."""
        with self._lock:
            self._permanent.append(listener)
            self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop sending events to the listener."""
        with self._lock:
            self._permanent = [each for each in self._permanent if each is not listener]
            self._listeners.remove(listener)

    def submit(self, *rows: Row) -> None:
        """Add rows to the end of the queue. They run as soon as there is room.

        For each row, the rows in `row.before` are submitted too. The row starts after these rows have ended.

        Raises:
            RequestError: the engine is closed.
        """
        self.require_open()
        with self._lock:
            for each in [each for row in rows for each in (*row.before, row)]:
                if not each.submitted:
                    each.submitted = True
                    self._admission.add(each)

    def cancel(self, row: Row) -> None:
        """End a waiting or running row and free its slots. Cancelling a row that has ended changes nothing.

        The rows in `row.before` end too, unless another sample of the same prompt still needs them.
        """
        row.finished = True
        needed = any(not sibling.finished for sibling in row.siblings)
        for each in (row, *(() if needed else row.before)):
            self._end(each)

    def _end(self, row: Row) -> None:
        row.finished = True
        # The garbage collector may close a stream during a step, in any thread. Then the step frees the row's slots
        while not self._lock.acquire(timeout=0.01):
            if self._stepping:
                return
        try:
            if not self._stepping:
                self._stepping = True
                self._admission.remove(row)
                self._release()
                self._stepping = False
        finally:
            self._lock.release()

    def run(self, row: Row, waiting: Callable[[], bool] = lambda: True) -> None:
        """Run steps until the row has ended or `waiting()` returns false. If the row has failed, raise its error.

        The steps also advance other rows.
        """
        while not row.finished and waiting():
            with self._lock:
                if not row.finished and waiting():  # another thread may have ended the row
                    self.step()
        if row.error is not None:
            raise row.error

    @torch.inference_mode()
    def step(self) -> None:
        """Run one step for a group of rows whose turns ask for the same members."""
        with self._lock:
            if self._stepping:
                raise RequestError(
                    "a combination, schedule or processor must not decode with the ensemble that runs it"
                )
            self._stepping, self._inside, self._drafted, started = True, 0.0, 0, time.perf_counter()
            try:
                self._admit()
                self._listeners.tell(StepBegan, max(1, len(self._running)))
                members, rows = self._busiest()
                if rows:
                    self._turn(members, rows)
                    self._count_time(rows, started)
            except BaseException as error:  # an interrupt leaves the running rows in an inconsistent state
                for row in self._running:
                    if not row.finished:
                        row.fail(RequestError(f"decoding stopped in the middle of a step: {error!r}; ask again"))
                raise
            finally:
                self._release()
                self._stepping = False

    def require_open(self) -> None:
        """Raise RequestError if the engine is closed."""
        if self._closed:
            raise RequestError(CLOSED)

    def _admit(self) -> None:
        for row in self._admission.admit(self._running):
            self._start(row)
            _attempt(row, row.open)  # fails if there is no memory for another slot

    def _start(self, row: Row) -> None:
        self._running.append(row)
        self._listeners.add(row.method.schedule)
        row.started = time.perf_counter()

    def _release(self) -> None:
        while ended := [row for row in self._running if row.finished]:
            for row in ended:
                self._running.remove(row)
                heir = row.heir()
                if heir is not None:
                    self._admission.remove(heir)
                    heir.inherit(row)
                    self._start(heir)
                row.close()
                self._forget(row.method.schedule)

    def _forget(self, schedule: Listener) -> None:
        listening = (*self._permanent, *(row.method.schedule for row in self._running))
        if schedule.hears and all(each is not schedule for each in listening):
            self._listeners.remove(schedule)

    def _count_time(self, rows: Sequence[Row], started: float) -> None:
        now = time.perf_counter()
        self._listeners.tell(StepEnded, now - started - self._inside, self._drafted)
        for row in rows:
            row.stats.seconds = now - row.started
            row.stats.outside += (now - started - self._inside) / len(rows)

    def _busiest(self) -> tuple[tuple[int, ...], list[Row]]:
        """Return the members to run, and the group of rows whose turns ask for these members.

        The largest group is chosen, except if a row of another group has waited for more than `PATIENCE` steps.
        """
        groups: dict[tuple[int, ...], list[Row]] = {}
        for row in [row for row in self._running if not row.finished]:
            try:
                groups.setdefault(row.turn().members, []).append(row)
            except Exception as error:  # a user's schedule may raise anything
                row.fail(error)
            row.waited += 1
        if len(groups) < 2:
            return next(iter(groups.items()), ((), []))

        def urgency(members: tuple[int, ...]) -> tuple[int, int]:
            longest = max(row.waited for row in groups[members])
            return (longest if longest > PATIENCE else 0, len(groups[members]))

        members = max(groups, key=urgency)
        return members, groups[members]

    def _turn(self, members: tuple[int, ...], rows: list[Row]) -> None:
        """Let the members score the rows. Then verify proposals and draft tokens for all rows without unread tokens."""
        turns = {row: row.turn() for row in rows}
        read = self._score(members, rows, twins=True)
        ready = [row for row in rows if read[row] is not Progress.UNFINISHED and not row.finished]
        committed = settle(ready)
        for row in ready:
            row.end_round()
        open = {row: row.frontier.open for row in ready}
        self._propose({row: turns[row] for row in ready})
        drafted = [row for row in ready if row.frontier.open > open[row]]
        early = [row for row in drafted if row.needs.certainty is not None and not row.finished]
        if early:  # some proposals can be decided without scores of further members
            settle(early)
            for row in early:
                row.next_names()
        for row in rows:
            row.waited = 0
        for row in ready:
            if read[row] is Progress.NOTHING and not (committed.get(row) or row in drafted or row.finished):
                problem = f"makes no progress: {turns[row]} (does it mind view.room?)"
                row.fail(ConfigurationError(f"schedule {row.method.schedule.name} {problem}"))

    def _propose(self, turns: dict[Row, Turn]) -> None:
        for place in range(max((len(turn.drafts) for turn in turns.values()), default=0)):
            drafts = {row: turn.drafts[place] for row, turn in turns.items() if len(turn.drafts) > place}
            for name in dict.fromkeys(name for name, _ in drafts.values()):
                steps = {row: count for row, (each, count) in drafts.items() if each == name}
                propose(name, steps, self._draft)

    def _draft(self, member: int, rows: Sequence[Row]) -> list[Row]:
        scored = [row for row, made in self._score([member], rows).items() if made is Progress.SCORED]
        self._drafted += bool(scored)  # rows at their limit have nothing to score
        return scored

    def _score(self, members: Sequence[int], rows: Sequence[Row], twins: bool = False) -> dict[Row, Progress]:
        """Run members on the unread tokens of the rows. Return the progress of each row.

        Members with different weights run at the same time.

        Args:
            twins: whether to run also the twins of the members, which have the same weights. A twin scores only rows
                that need the twin's scores at the first open position.
        """
        started = time.perf_counter()
        wanted = jobs_by_weights(self._lineup, members, rows, twins)
        if not wanted[1:]:
            passes = [forward(self._lineup, wanted[0])]
        else:
            passes = list(self._pool.map(lambda jobs: forward(self._lineup, jobs), wanted))
        made = dict.fromkeys(rows, Progress.NOTHING)
        for each in passes:
            if each.jobs:
                self._listeners.tell(Forward, *each.facts())
            made |= {row: max(made[row], progress) for row, progress in each.keep().items()}
        self._inside += time.perf_counter() - started
        return made


def _attempt(row: Row, action: Callable[[], None]) -> None:
    """Run an action that may call user code. If the action raises an exception, the row ends with this exception."""
    try:
        action()
    except Exception as error:
        row.fail(error)
