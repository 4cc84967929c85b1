"""The thread that decodes: it submits rows to one ensemble's engine and steps it while there is work."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from unisono.decoding.row import Row
from unisono.ensemble import Ensemble
from unisono.errors import UnisonoError
from unisono.server import errors
from unisono.server.job import CancelledError, Job, Lonely
from unisono.server.metrics import Meter

LOG = logging.getLogger("unisono.server")


class Worker:
    """One thread per ensemble. Its public methods are called from the event loop's thread and return at once.

    Args:
        memory: bytes that the ensemble's caches may take.
        limit: the most rows that may run and wait.
        timeout: seconds that a job may take; its `deadline` says when they are over.
    """

    def __init__(self, ensemble: Ensemble, meter: Meter, memory: int, limit: int, timeout: float) -> None:
        self.ensemble = ensemble
        self.limit = limit
        self.load = 0  # rows of jobs that were taken and have not ended; changed in the event loop's thread only
        self._memory = memory
        self._meter = meter
        self._timeout = timeout
        self._taken: set[Job | Lonely] = set()  # as the event loop's thread knows them
        self._refusal: errors.APIError | None = None  # why nothing is taken any more
        self._jobs: list[Job] = []
        self._lonely: list[Lonely] = []
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._open = True
        self._thread = threading.Thread(target=self._run, name=f"unisono-{meter.model}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def require_room(self, rows: int) -> None:
        """Refuse a job of so many rows if too many run and wait already.

        Raises:
            APIError: 400 if they would never fit, 429 if they do not fit now, 503 if nothing is taken any more.
        """
        if self._refusal is not None:
            raise self._refusal
        if rows > self.limit:
            message = f"the request asks for {rows} choices; this server takes at most {self.limit} at a time"
            raise errors.APIError(400, message, "n")
        if self.load + rows > self.limit:
            message = f"{self.load} rows run or wait already, and the queue ends at {self.limit}; try again later"
            raise errors.APIError(429, message, code="queue_full", headers={"Retry-After": "1"})

    async def run(self, rows: Sequence[Row]) -> None:
        """Run rows to their end that are no job's: they score prompts. Being cancelled ends them before the next step.

        Raises whatever ended one of them before; then the others end too.
        """
        lonely = Lonely([row for row in rows if not row.finished])
        if not lonely.rows:
            return
        self.require_room(0)
        self._taken.add(lonely)
        self.load += len(rows)
        self._inbox.put(partial(self._welcome, lonely))
        try:
            await lonely.over
        finally:
            self._taken.discard(lonely)
            self.load -= len(rows)
            self._inbox.put(partial(self._dismiss, lonely, None))

    def submit(self, job: Job) -> None:
        """Let a job run as soon as there is room."""
        self._taken.add(job)
        self.load += len(job.choices)
        self._inbox.put(partial(self._begin, job))

    def release(self, job: Job) -> None:
        """Its answer is over, finished or not: whatever of it still runs ends before the next step. Harmless twice."""
        if job.released:
            return
        job.released = True
        self._taken.discard(job)
        self.load -= len(job.choices)
        self._inbox.put(partial(self._end, job, CancelledError()))

    def abort(self, error: errors.APIError) -> None:
        """End all jobs with an error, and refuse others with it. Their readers know at once, even in the middle of a step."""
        self._refusal = error
        for taken in list(self._taken):
            taken.send(error)
        self._inbox.put(partial(self._end_all, error))

    def stop(self) -> None:
        """End all jobs, and the thread after the step it is in."""
        self.abort(errors.shutting_down())
        self._inbox.put(self._stop)

    def join(self, seconds: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(seconds)

    def waiting(self) -> int:
        """Rows that have not been admitted yet."""
        return max(0, self.load - self.running())

    def running(self) -> int:
        """Rows that have their place in the members' caches."""
        return len(self._admitted())

    def cache_use(self) -> float:
        """Share of the cache budget that running rows hold."""
        lineup = self.ensemble.lineup
        taken = sum(lineup.memory(1, lineup.places(row.task.contexts, row.stats.tokens)) for row in self._admitted())
        return taken / max(1, self._memory)

    def _admitted(self) -> list[Row]:
        rows = [choice.request.row for job in list(self._jobs) for choice in job.choices]
        return [row for row in (*rows, *(row for each in list(self._lonely) for row in each.rows)) if row.slots]

    def _run(self) -> None:
        while self._open:
            self._receive()
            if self._jobs or self._lonely:
                self._step()

    def _receive(self) -> None:
        """Do what has been asked for; wait for it if there is nothing else to do."""
        if not (self._jobs or self._lonely):
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _step(self) -> None:
        started = time.perf_counter()
        try:
            self.ensemble.engine.step()
        except Exception as error:  # a fault of ours; no row can be blamed, so all end
            LOG.exception("a step of %s failed", self._meter.model)
            self._end_all(error)
            return
        now = time.perf_counter()
        for job in list(self._jobs):
            self._deliver(job, started, now)
        for lonely in list(self._lonely):
            failed = next((row.error for row in lonely.rows if row.error is not None), None)
            if failed is not None or all(row.finished for row in lonely.rows):
                self._dismiss(lonely, failed)

    def _deliver(self, job: Job, started: float, now: float) -> None:
        """Hand on what the step added to a job, and let go of it when it has ended."""
        try:
            updates = job.collect(started)
        except Exception as error:
            if not isinstance(error, UnisonoError):
                LOG.error("a row of %s failed", self._meter.model, exc_info=error)
            self._end(job, error)
            return
        if updates:
            self._meter.progress(job, updates, now)
            job.send(updates)
        if all(choice.result is not None for choice in job.choices):
            self._end(job, None)
        elif now > job.deadline:
            self._end(job, errors.timed_out(self._timeout))

    def _begin(self, job: Job) -> None:
        self._jobs.append(job)
        for choice in job.choices:
            self.ensemble.engine.submit(*choice.request.rows)

    def _end(self, job: Job, error: Exception | None) -> None:
        """Free what the job holds, once; an error goes to its reader."""
        if job.ended:
            return
        job.ended = True
        self._jobs.remove(job)
        for choice in job.choices:
            self.ensemble.engine.cancel(choice.request.row)
        self._meter.finish(job, error)
        if error is not None:
            job.send(error)

    def _welcome(self, lonely: Lonely) -> None:
        self._lonely.append(lonely)
        self.ensemble.engine.submit(*lonely.rows)

    def _dismiss(self, lonely: Lonely, error: Exception | None) -> None:
        """Free what the rows hold, once."""
        if lonely in self._lonely:
            self._lonely.remove(lonely)
            for row in lonely.rows:
                self.ensemble.engine.cancel(row)
            lonely.send(error)

    def _end_all(self, error: Exception) -> None:
        for job in list(self._jobs):
            self._end(job, error)
        for lonely in list(self._lonely):
            self._dismiss(lonely, error)

    def _stop(self) -> None:
        self._open = False
