"""The decode thread of an ensemble. It submits rows to the engine and steps the engine while rows are unfinished."""

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
    """Runs the jobs of one ensemble in a thread.

    The event loop's thread calls the public methods. The methods do not wait for the decode thread.

    Args:
        memory: the budget for the ensemble's caches in bytes.
        limit: the largest number of running and waiting rows together.
        timeout: the time limit of a job in seconds. Only an error message uses this value. `Job.deadline` ends the job.
    """

    def __init__(self, ensemble: Ensemble, meter: Meter, memory: int, limit: int, timeout: float) -> None:
        self.ensemble = ensemble
        self.limit = limit
        self.load = 0  # rows of submitted jobs that are not released; only the event loop's thread changes this number
        self._memory = memory
        self._meter = meter
        self._timeout = timeout
        self._taken: set[Job | Lonely] = set()  # submitted, not released; for the event loop's thread
        self._refusal: errors.APIError | None = None  # if set, the error for every new job
        self._jobs: list[Job | Lonely] = []  # begun, not ended; only the decode thread changes this list
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._open = True
        self.thread = threading.Thread(target=self._run, name=f"unisono-{meter.model}", daemon=True)

    def require_room(self, rows: int) -> None:
        """Raise an error if `rows` more rows cannot be submitted.

        Raises:
            APIError: 400 if the rows exceed the limit by themselves, 429 if they exceed the limit together with the
                present rows, 503 if the worker is stopping.
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
        """Run rows that score prompts. Return when all rows in `rows` have ended.

        If the calling task is cancelled, the rows end before the next step. If a row fails, end all rows in `rows` and
        raise the error of the first failed row.
        """
        lonely = Lonely([row for row in rows if not row.finished])
        if not lonely.rows:
            return
        self.require_room(0)
        self.submit(lonely)
        try:
            await lonely.over
        finally:
            self.release(lonely)

    def submit(self, job: Job | Lonely) -> None:
        """Hand the rows of a job to the decode thread. The rows run as soon as the caches have room."""
        self._taken.add(job)
        self.load += len(_rows(job))
        self._inbox.put(partial(self._begin, job))

    def release(self, job: Job | Lonely) -> None:
        """Remove a job. Rows of the job that still run end before the next step of the engine.

        A second call for the same job does nothing.
        """
        if job not in self._taken:
            return
        self._taken.remove(job)
        self.load -= len(_rows(job))
        self._inbox.put(partial(self._end, job, CancelledError()))

    def abort(self, error: errors.APIError) -> None:
        """End all jobs, and refuse new jobs: from now on, `require_room` raises `error`.

        The readers of all jobs receive `error` at once. The rows of the jobs end before the next step.
        """
        self._refusal = error
        for job in list(self._taken):
            job.send(error)
        self._inbox.put(partial(self._end_all, error))

    def stop(self) -> None:
        """End all jobs, and end the decode thread after its current step."""
        self.abort(errors.shutting_down())
        self._inbox.put(self._stop)

    def waiting(self) -> int:
        """Return the number of submitted rows that hold no slots in the caches yet."""
        return max(0, self.load - self.running())

    def running(self) -> int:
        """Return the number of rows that hold slots in the caches of the members."""
        return len(self._admitted())

    def cache_use(self) -> float:
        """Return the share of the cache budget that running rows hold, from 0 to 1."""
        lineup = self.ensemble.lineup
        taken = sum(lineup.memory(1, lineup.places(row.task.contexts, row.stats.tokens)) for row in self._admitted())
        return taken / max(1, self._memory)

    def _admitted(self) -> list[Row]:
        return [row for job in list(self._jobs) for row in _rows(job) if row.slots]

    def _run(self) -> None:
        while self._open:
            self._receive()
            if self._jobs:
                self._step()

    def _receive(self) -> None:
        """Run the calls in the inbox. If no job runs, wait until the inbox has a call."""
        if not self._jobs:
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _step(self) -> None:
        started = time.perf_counter()
        try:
            self.ensemble.engine.step()
        except Exception as error:  # a fault of the program, not of one row, so all jobs end
            LOG.exception("a step of %s failed", self._meter.model)
            self._end_all(error)
            return
        now = time.perf_counter()
        for job in list(self._jobs):
            if isinstance(job, Job):
                self._deliver(job, started, now)
                continue
            failed = next((row.error for row in job.rows if row.error is not None), None)
            if failed is not None or all(row.finished for row in job.rows):
                self._end(job, failed)

    def _deliver(self, job: Job, started: float, now: float) -> None:
        """Send the new tokens of the last step to the reader of the job.

        End the job if the job is complete, if its deadline has passed, or if one of its rows has failed.
        """
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

    def _begin(self, job: Job | Lonely) -> None:
        self._jobs.append(job)
        self.ensemble.engine.submit(*_rows(job))

    def _end(self, job: Job | Lonely, error: Exception | None) -> None:
        """End the rows of a job. If `error` is not None, send `error` to the reader of the job.

        A second call for the same job does nothing.
        """
        if job not in self._jobs:
            return
        self._jobs.remove(job)
        for row in _rows(job):
            self.ensemble.engine.cancel(row)
        if isinstance(job, Lonely):
            job.send(error)
            return
        self._meter.finish(job, error)
        if error is not None:
            job.send(error)

    def _end_all(self, error: Exception) -> None:
        for job in list(self._jobs):
            self._end(job, error)

    def _stop(self) -> None:
        self._open = False


def _rows(job: Job | Lonely) -> Sequence[Row]:
    return job.rows if isinstance(job, Lonely) else [row for choice in job.choices for row in choice.request.rows]
