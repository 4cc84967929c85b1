"""The decode loop, for all rows at once: admit, ask the schedules, run a member, settle, propose.

One loop for every method. One turn runs per step, that of the member (or members, under `parallel`) that most rows
wait for; the others wait, which changes their speed but not their order of turns, hence not their text. Within a step
whatever is the same for several rows is done once: the member's forward, and the laws of rows with the same
combination and warp.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from unisono.combine.base import target_law
from unisono.errors import ConfigurationError, RequestError
from unisono.members.base import Member
from unisono.row import Row
from unisono.scheduler import Scheduler
from unisono.warp import Warp

CHUNK = 256  # the most tokens of a prompt that a row reads in one step, so that a long one does not stall the others
PATIENCE = 8  # steps after which a waiting row is served before the majority


class Engine:
    """Runs rows over members. Thread-safe: any thread may submit, step and cancel; steps are serialised.

    Args:
        members: in the order that prompts and draft lengths follow.
        rows: the most rows that run at the same time; more wait.
        memory: bytes that the members' caches may take together.
    """

    def __init__(self, members: Sequence[Member], rows: int = 64, memory: int = 2**40) -> None:
        self._members = members
        self._scheduler = Scheduler(members, rows, memory)
        self._running: list[Row] = []
        self._lock = threading.RLock()
        self._stepping = False
        self._pool = ThreadPoolExecutor(len(members))  # starts threads only when it is given work

    def check(self, row: Row) -> None:
        """Raise RequestError if the row can never run."""
        self._scheduler.check(row)

    def check_tokens(self, tokens: Sequence[int]) -> None:
        """Raise RequestError if a slot of so many tokens in each member is over the budget."""
        self._scheduler.check_tokens(tokens)

    def submit(self, row: Row) -> None:
        """Let the row run as soon as there is room."""
        with self._lock:
            self._scheduler.add(row)

    def cancel(self, row: Row) -> None:
        """End a row wherever it is and free its slots at once. Cancelling an ended row is harmless."""
        with self._lock:
            row.finished = True
            # The garbage collector may close a stream in the middle of this thread's own step, which then ends it
            if not self._stepping:
                self._scheduler.remove(row)
                self._release()

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
            self._stepping = True
            try:
                self._admit()
                members, rows = self._busiest()
                if rows:
                    self._turn(members, rows)
            finally:
                self._stepping = False
                self._release()

    def _admit(self) -> None:
        for row in self._scheduler.admit(self._running):
            self._running.append(row)
            row.started = time.perf_counter()
            try:
                row.open()
            except Exception as error:  # no memory for another slot
                row.fail(error)

    def _release(self) -> None:
        for row in [row for row in self._running if row.finished]:
            self._running.remove(row)
            row.close()

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
        scored = self._score(members, rows)
        ready = [row for row in rows if scored[row] is not False and not row.finished]
        committed = self._settle(ready)
        for row in ready:
            row.end_round()
        drafts = {row: row.draft_room(members[0], turns[row].propose) for row in ready}
        self._propose(members[0], {row: count for row, count in drafts.items() if count > 0})
        now = time.perf_counter()
        for row in rows:
            row.waited = 0
            row.stats.seconds = now - row.started
            if row in ready and scored[row] is None and not (committed.get(row) or drafts[row] or row.finished):
                problem = f"makes no progress: {turns[row]} (does it mind view.room?)"
                row.fail(ConfigurationError(f"schedule {row.method.schedule.name} {problem}"))

    def _score(self, members: Sequence[int], rows: Sequence[Row]) -> dict[Row, bool | None]:
        """Per row: true if its open positions are scored now, false if part of its prompt is, None if they were."""
        if len(members) == 1:
            outcomes = [self._forward(members[0], rows)]
        else:
            outcomes = list(self._pool.map(lambda member: self._forward(member, rows), members))
        merged: dict[Row, bool | None] = {}
        for row in rows:
            found = [outcome[row] for outcome in outcomes if outcome[row] is not None]
            merged[row] = all(found) if found else None
        return merged

    def _forward(self, index: int, rows: Sequence[Row]) -> dict[Row, bool | None]:
        """One forward of a member for all rows that it has something to read of."""
        work = {row: item for row in rows if (item := row.work(index, CHUNK)) is not None}
        if not work:
            return dict.fromkeys(rows)
        started = time.perf_counter()
        try:
            logits = self._members[index].score(list(work.values()))
        except Exception as error:
            for row in work:
                row.fail(error)
            return dict.fromkeys(rows)
        share = (time.perf_counter() - started) / len(work)
        for row, scores in zip(work, logits, strict=True):
            row.frontier.add_scores(index, scores)
            row.stats.members[index].forwards += 1
            row.stats.members[index].seconds += share
        return {row: work[row].keep > 0 if row in work else None for row in rows}

    def _settle(self, rows: Iterable[Row]) -> dict[Row, int]:
        """Decide what can be decided; how many tokens each row committed."""
        committed: dict[Row, int] = {}
        for group in _alike(rows, lambda row: (row.method.combination, row.warp_key(), row.asked())):
            known = {row: row.known() for row in group if row.known()}
            if not known:
                continue
            try:
                targets, plain = self._laws(known)
            except Exception as error:  # a user's combination or processor may raise anything
                if len(known) > 1:
                    for row in known:  # whose fault is it? alone, the others may be fine
                        committed |= self._settle([row])
                else:
                    next(iter(known)).fail(error)
                continue
            for row, target, untempered in zip(known, targets, plain, strict=True):
                try:
                    committed[row] = row.settle(target, untempered)
                except Exception as error:
                    row.fail(error)
        return committed

    def _laws(self, known: dict[Row, int]) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
        """Per row the target laws [K, V] at its known positions, and those for log-probabilities if it asked for them."""
        row, sizes = next(iter(known)), list(known.values())
        logits = self._known_logits(known)
        combination, warp = row.method.combination, row.warp(0, sizes[0])
        if row.task.logprobs is None:
            return torch.split(target_law(combination, logits, warp), sizes), [None] * len(sizes)
        # Copies, and before the targets: a user's function may change what it is given
        plain = None if row.task.processed else combination(combination.widened(logits), Warp())
        targets = target_law(combination, logits, warp)
        plain = targets if plain is None else plain
        return torch.split(targets, sizes), torch.split(plain, sizes)

    def _known_logits(self, known: dict[Row, int]) -> list[Tensor]:
        """Per member, logits [sum of known, V]; an unneeded member's place holds a needed one's, and is not read."""
        needed = next(iter(known)).needed
        stacked = {
            member: torch.stack([each for row, count in known.items() for each in row.frontier.scores(member, count)])
            for member in needed
        }
        some = stacked[needed[0]]
        return [stacked.get(member, some).to(some.device) for member in range(len(self._members))]

    def _propose(self, index: int, drafts: dict[Row, int]) -> None:
        """The member proposes: the first token from what it has scored, the rest one forward each."""
        while drafts:
            for group in _alike(drafts, lambda row: row.warp_key()):
                try:
                    laws = self._proposal_laws(index, group)
                except Exception as error:  # rows with processors of their own are groups of their own
                    for row in group:
                        row.fail(error)
                        drafts[row] = 0
                    continue
                for row, law in zip(group, laws, strict=True):
                    drafts[row] = 0 if row.propose(index, law) else drafts[row] - 1
            drafts = {row: count for row, count in drafts.items() if count > 0}
            if drafts:
                scored = self._forward(index, list(drafts))
                drafts = {row: count for row, count in drafts.items() if scored[row]}

    def _proposal_laws(self, index: int, rows: Sequence[Row]) -> Tensor:
        """The member's laws behind the open proposals of rows that are warped alike: [R, V]."""
        warp = rows[0].warp(rows[0].frontier.open, 1)
        laws = warp(torch.stack([row.frontier.law_source(index) for row in rows]))
        # Edits may leave the proposer no token; any law will do to propose from, if it is the one that is kept
        return laws.nan_to_num(1 / laws.shape[-1])


def _alike(rows: Iterable[Row], key: Callable[[Row], object]) -> Iterator[list[Row]]:
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    yield from groups.values()
