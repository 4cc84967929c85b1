"""The decode loop, for all rows at once: admit, ask the schedules, run a member, settle, propose.

One loop for every method. One turn runs per step, that of the member (or members, under `parallel`) that most rows
wait for; the others wait, which changes their speed but not their order of turns, hence not their text. Within a step
whatever is the same for several rows is done once: the member's forward, and the laws of rows with the same
combination and warp, their verification, and the wait for the device.
"""

import threading
import time
from collections.abc import Callable, Sequence
from enum import IntEnum

import torch

from unisono.auto.measurements import Experience
from unisono.decoding.admission import Admission
from unisono.decoding.drafting import propose
from unisono.decoding.row import Row
from unisono.decoding.settling import settle
from unisono.errors import ConfigurationError, MemberError, RequestError
from unisono.members.base import Context, Member, Scores, Work
from unisono.members.lineup import Lineup
from unisono.threads import side_by_side

ROWS = 64  # run at the same time
CLOSED = "the ensemble is closed; load it again"
PATIENCE = 8  # steps after which a waiting row is served before the majority


class Progress(IntEnum):
    """What a forward did for a row; of several members' forwards, the largest counts."""

    NOTHING = 0  # its open positions were scored before
    SCORED = 1  # they are scored now
    UNFINISHED = 2  # only a part of its prompt was read


class Engine:
    """Runs rows over members. Thread-safe: any thread may submit, step and cancel; steps are serialised.

    Args:
        lineup: whose order contexts and draft lengths follow.
        rows: the most rows that run at the same time; more wait.
        memory: bytes that the members' caches may take together.
        experience: is told what steps take; a fresh one by default.
    """

    def __init__(
        self, lineup: Lineup, rows: int = ROWS, memory: int = 2**40, experience: Experience | None = None
    ) -> None:
        self._lineup = lineup
        self._experience = experience or Experience(lineup.parameters)
        self._admission = Admission(lineup, rows, memory)
        self._running: list[Row] = []
        self._lock = threading.RLock()
        self._stepping = self._closed = False
        self._inside = 0.0  # seconds of the current step that forwards took
        self._drafted = 0  # forwards of the current step behind proposals
        self._pool = side_by_side(len(lineup.everyone))

    def check(self, contexts: Sequence[Context], units: int) -> None:
        """Raise RequestError if one row with these contexts and so many units is over the budget, or the engine is closed."""
        self.require_open()
        self._admission.check(contexts, units)

    def close(self) -> None:
        """End all rows with an error, give the caches back and take no more rows. Harmless twice."""
        with self._lock:
            self._closed = True
            for row in (*self._running, *self._admission.waiting):
                row.fail(RequestError(CLOSED))
            if not self._stepping:
                self._release()
                for member in self._lineup.members:
                    member.release()

    def submit(self, *rows: Row) -> None:
        """Let rows run as soon as there is room; those that are submitted together are in line together.

        Raises:
            RequestError: the engine is closed.
        """
        self.require_open()
        with self._lock:
            for row in rows:
                row.submitted = True
                self._admission.add(row)

    def cancel(self, row: Row) -> None:
        """End a row wherever it is and free its slots at once. Cancelling an ended row is harmless."""
        row.finished = True
        # The garbage collector may close a stream in the middle of a step, in any thread: then the step ends the row
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
        """Step until the row has ended or nobody waits for it any more. Other rows advance too."""
        while not row.finished and waiting():
            with self._lock:
                if not row.finished and waiting():  # another thread may have done it meanwhile
                    self.step()
        if row.error is not None:
            raise row.error

    @torch.inference_mode()
    def step(self) -> None:
        """Run one turn of the rows that most agree on."""
        with self._lock:
            if self._stepping:
                raise RequestError(
                    "a combination, schedule or processor must not decode with the ensemble that runs it"
                )
            self._stepping, self._inside, self._drafted, started = True, 0.0, 0, time.perf_counter()
            try:
                self._admit()
                self._experience.begin(max(1, len(self._running)))
                members, rows = self._busiest()
                if rows:
                    self._turn(members, rows)
                    self._count_time(rows, started)
            except BaseException as error:  # an interrupt: what was half done must not be gone on with
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
            try:
                row.open()
            except Exception as error:  # no memory for another slot
                row.fail(error)

    def _start(self, row: Row) -> None:
        self._running.append(row)
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

    def _count_time(self, rows: Sequence[Row], started: float) -> None:
        now = time.perf_counter()
        self._experience.costs.add_step(now - started - self._inside, self._drafted)
        for row in rows:
            row.stats.seconds = now - row.started
            row.stats.outside += (now - started - self._inside) / len(rows)

    def _busiest(self) -> tuple[tuple[int, ...], list[Row]]:
        """The members that the largest group of rows wants to run, and that group; the impatient go first."""
        groups: dict[tuple[int, ...], list[Row]] = {}
        for row in [row for row in self._running if not row.finished]:
            try:
                groups.setdefault(row.turn().members, []).append(row)
            except Exception as error:  # a user's schedule may raise anything
                row.fail(error)
            row.waited += 1
        if not groups:
            return (), []

        def urgency(members: tuple[int, ...]) -> tuple[int, int]:
            longest = max(row.waited for row in groups[members])
            return (longest if longest > PATIENCE else 0, len(groups[members]))

        members = max(groups, key=urgency)
        return members, groups[members]

    def _turn(self, members: tuple[int, ...], rows: list[Row]) -> None:
        """The members score; rows whose positions are scored then settle and propose."""
        turns = {row: row.turn() for row in rows}
        read = self._score(members, rows)
        ready = [row for row in rows if read[row] is not Progress.UNFINISHED and not row.finished]
        committed = settle(ready)
        for row in ready:
            row.end_round()
        open = {row: row.frontier.open for row in ready}
        rooms = {row: row.draft_room(members[0], turns[row].propose) for row in ready}
        propose(members[0], rooms, lambda drafting: self._draft(members[0], drafting))
        for row in ready:
            row.look_up(turns[row].lookup)
        drafts = {row: row.frontier.open - open[row] for row in ready}
        _settle_early([row for row in ready if drafts[row]])
        for row in rows:
            row.waited = 0
        for row in ready:
            if read[row] is Progress.NOTHING and not (committed.get(row) or drafts[row] or row.finished):
                problem = f"makes no progress: {turns[row]} (does it mind view.room?)"
                row.fail(ConfigurationError(f"schedule {row.method.schedule.name} {problem}"))

    def _score(self, members: Sequence[int], rows: Sequence[Row]) -> dict[Row, Progress]:
        """The members read what they have not read of the rows, several of them at the same time."""
        started = time.perf_counter()
        if not members[1:]:
            outcomes = [self._forward(members[0], rows)]
        else:
            outcomes = list(self._pool.map(lambda member: self._forward(member, rows), members))
        self._inside += time.perf_counter() - started
        return {row: max(outcome[row] for outcome in outcomes) for row in rows}

    def _draft(self, member: int, rows: Sequence[Row]) -> list[Row]:
        """The rows whose last proposal the member has scored."""
        self._drafted += 1
        return [row for row, made in self._score([member], rows).items() if made is Progress.SCORED]

    def _forward(self, index: int, rows: Sequence[Row]) -> dict[Row, Progress]:
        """One forward of a member for all rows that it has something to read of."""
        work = {row: item for row in rows if (item := row.work(index)) is not None}
        if not work:
            return dict.fromkeys(rows, Progress.NOTHING)
        started = time.perf_counter()
        member = self._lineup.members[index]
        try:
            scores = member.score(list(work.values()))
            _require_scores(member, list(work.values()), scores)
        except Exception as error:
            for row in work:
                row.fail(error)
            return dict.fromkeys(rows, Progress.NOTHING)
        seconds = time.perf_counter() - started
        width = max(max(item.keep, item.read + len(item.tokens)) for item in work.values())
        self._experience.costs.add(index, len(work), width, seconds)
        share = seconds / len(work)
        for row, said in zip(work, scores, strict=True):
            row.frontier.add_scores(index, said)
            row.stats.members[index].forwards += 1
            row.stats.members[index].seconds += share
        scored = dict.fromkeys(rows, Progress.NOTHING)
        return scored | {row: Progress.SCORED if item.keep else Progress.UNFINISHED for row, item in work.items()}


def _require_scores(member: Member, work: Sequence[Work], scores: Sequence[Scores]) -> None:
    """Raise MemberError for scores that are not those of the work: a backend of a user may return anything."""
    wanted = [(item.keep, member.vocabulary) for item in work]
    found = [tuple(each.logits.shape) for each in scores]
    if found != wanted:
        raise MemberError(f"member {member.name} must return logits of the shapes {wanted}, not: {found}")
    if any(each.logits.dtype not in (torch.float32, torch.float64) for each in scores):
        raise MemberError(f"member {member.name} must return logits in float32 or float64")


def _settle_early(rows: Sequence[Row]) -> None:
    """Decide what a member drafted that nobody else is needed for."""
    early = [row for row in rows if row.needs.may_know_early and not row.finished]
    if early:
        settle(early)
        for row in early:
            row.next_names()
