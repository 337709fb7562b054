"""Works a queue in batches: one call of the handler for many jobs, an outcome for each."""

import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.clock import Clock
from shared.errors import DoomedJob, Postponed, QueueError
from shared.queue.job import BlockedBy, Claim, ClaimedJob, Lock
from shared.queue.job_queue import CHUNK_BYTES, JobQueue
from shared.queue.job_runner import is_ctrl_c
from shared.queue.reports import LogEvent, no_log
from shared.queue.runs import EndedRun, check_may_run, has_moved
from shared.queue.worker import Worker
from shared.queue.worker_options import WorkerOptions
from shared.supervision import Supervisor

# One outcome for each job, in their order: an error is as if its own handler had raised it, all
# else is its result. None: all are done, without a result.
BatchResult = Sequence[object] | None
BatchHandler = Callable[[Sequence[ClaimedJob]], BatchResult]

# How often is looked for more jobs while a batch is being collected.
_COLLECT_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Batching:
    """A batch has at most ``size`` jobs and waits for them ``within_s`` at most, from its first.

    It is begun earlier when its data reaches 8 MiB. ``within_s`` is less than a run may take.
    """

    size: int
    within_s: float = 0.0


class BatchWorker(Worker):
    """Runs ``handler`` on batches of jobs, up to ``concurrency`` batches at a time.

    What it returns are its jobs' outcomes, see ``BatchResult``; what it raises counts for each of
    them: one that has attempts left is tried again, the others fail. Jobs that end alike are
    settled in one call, 500 or 8 MiB of them a script. Which jobs meet in a batch is chance.

    A job that stalled too often among others is a batch of its own while nothing else runs, so that
    one that crashes its worker takes no others with it. Locks are extended while a batch is
    collected and while it runs, ``run_limit_s`` from its begin; then each of its jobs is charged
    with the run. A stop or a pause releases what is not begun. Otherwise as :class:`Worker`.
    """

    def __init__(
        self,
        queue: JobQueue,
        handler: BatchHandler,
        options: WorkerOptions,
        batching: Batching,
        *,
        clock: Clock,
        log_event: LogEvent = no_log,
        supervisor: Supervisor | None = None,
    ) -> None:
        super().__init__(
            queue, self._run_alone, options, clock=clock, log_event=log_event, supervisor=supervisor
        )
        self._batch_handler, self._batching = handler, batching
        self._collected = _Collected(batching, clock)
        # Not while a pause or a stop takes back what was collected.
        self._collecting = threading.Lock()
        # Of each batch that runs, its first job: while it is held, a place is taken.
        self._firsts: set[Lock] = set()

    def step(self) -> bool:
        """Claim one batch, as full as the queue allows now, and work it on the calling thread.

        False when no job can be claimed. Locks are not extended.

        Raises:
            QueueUnavailable: nothing may have been claimed.
        """
        room = min(self._batching.size, self._wait_for_room())
        jobs = self._claim(uuid.uuid4().hex, limit=room).jobs
        if jobs:
            self._running.add(self._queue, jobs)
            self._work(*jobs)
        return bool(jobs)

    def pause(self) -> None:
        """Claim no more until :meth:`resume`, and hand back what is not begun."""
        super().pause()
        self._release_unbegun()

    def hold_back(self, wait_s: float) -> None:
        """Claim nothing for so long, and hand back what is not begun."""
        super().hold_back(wait_s)
        self._release_unbegun()

    def _release_unbegun(self) -> None:
        with self._collecting:
            locks = [job.lock for job in self._collected.take_all()]
        if locks:
            self._running.remove(self._queue, locks)
            self._release(locks)

    def _wait_for_room(self) -> int:
        self._wait_for_place()
        free = self._options.concurrency - len(self._firsts)
        return max(free * self._batching.size - len(self._collected), 0)

    def _wait_for_place(self) -> None:
        self._firsts = self._running.wait_until_fewer_of(
            self._queue, self._firsts, self._options.concurrency, self._stopping
        )

    def _begin_all(self, jobs: list[ClaimedJob]) -> None:
        with self._collecting:
            if is_held_up := self._is_held_up():
                self._release([job.lock for job in jobs])
            else:
                self._running.add(self._queue, jobs)
                self._collected.add(jobs)
        if not is_held_up:
            # A solo job has come alone, and has to stay so.
            self._begin_due(everything=any(job.is_solo for job in jobs))

    def _begin_due(self, *, everything: bool = False) -> None:
        while len(self._firsts) < self._options.concurrency:
            with self._collecting:
                batch = self._collected.take_due(everything=everything)
            if not batch:
                return
            self._firsts.add(batch[0].lock)
            try:
                self._begin(*batch)
            except BaseException:
                self._release([job.lock for job in batch])
                raise

    def _rest_after(self, claim: Claim) -> None:
        if claim.blocked_by is BlockedBy.SOLO:
            self._begin_due(everything=True)
        due_in_s = self._collected.due_in_s()
        if due_in_s is None:
            super()._rest_after(claim)
        elif claim.blocked_by is not None:
            self._clock.wait(self._stopping, min(due_in_s, _COLLECT_EVERY_S))

    def _run(self, jobs: Sequence[ClaimedJob]) -> None:
        if len(jobs) == 1:
            super()._run(jobs)
        else:
            self._runner.end_all(self._runs_of(jobs))

    def _run_alone(self, job: ClaimedJob) -> object:
        [outcome] = _one_each([job], self._batch_handler([job]))
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _runs_of(self, jobs: Sequence[ClaimedJob]) -> list[EndedRun]:
        runs: list[EndedRun] = []
        allowed: list[ClaimedJob] = []
        for job in jobs:
            try:
                if not self._runner.begin(job):
                    continue
                check_may_run(job, self._options.rules)
            except (DoomedJob, Postponed) as exc:
                runs.append(self._runner.ended_by(job, exc))
            else:
                allowed.append(job)
        outcomes = call_for_each(self._batch_handler, allowed) if allowed else []
        return runs + list(map(self._runner.ended, allowed, outcomes))


class _Collected:
    """Jobs that are claimed and wait for others, in order."""

    def __init__(self, batching: Batching, clock: Clock) -> None:
        self._batching, self._clock = batching, clock
        self._jobs: deque[tuple[ClaimedJob, float]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Sequence[ClaimedJob]) -> None:
        now_s = self._clock.monotonic_s()
        self._jobs.extend((job, now_s) for job in jobs)
        self._bytes += sum(job.size_bytes for job in jobs)

    def due_in_s(self) -> float | None:
        """Return in how many seconds a batch is to begin; None where no job waits."""
        if not self._jobs:
            return None
        if len(self._jobs) >= self._batching.size or self._bytes >= CHUNK_BYTES:
            return 0.0
        waited_s = self._clock.monotonic_s() - self._jobs[0][1]
        return max(self._batching.within_s - waited_s, 0.0)

    def take_due(self, *, everything: bool) -> list[ClaimedJob]:
        """Take a batch out; none if none is due, unless ``everything`` is."""
        return self._take(self._batching.size) if everything or self.due_in_s() == 0.0 else []

    def take_all(self) -> list[ClaimedJob]:
        return self._take(len(self._jobs))

    def _take(self, count: int) -> list[ClaimedJob]:
        taken = [self._jobs.popleft()[0] for _ in range(min(count, len(self._jobs)))]
        self._bytes -= sum(job.size_bytes for job in taken)
        return taken


def call_for_each(
    handler: Callable[[Sequence[Any]], BatchResult], jobs: Sequence[Any]
) -> Sequence[object]:
    """Call a handler of batches and return one outcome for each job; what it raises is of each."""
    try:
        return _one_each(jobs, handler(jobs))
    except BaseException as exc:
        # The loop outlives even who calls sys.exit.
        if is_ctrl_c(exc):
            raise
        return [_about_all(exc)] * len(jobs)


def _one_each(jobs: Sequence[object], result: BatchResult) -> Sequence[object]:
    if result is None:
        return [None] * len(jobs)
    if not isinstance(result, list | tuple) or len(result) != len(jobs):
        got = f"{len(result)}" if isinstance(result, list | tuple) else f"a {type(result).__name__}"
        raise QueueError(
            f"the handler of a batch returns None, or a list of one outcome for each of its "
            f"{len(jobs)} jobs; not {got}"
        )
    return result


def _about_all(error: BaseException) -> BaseException:
    """Return what an error means that a handler raised for all of its batch."""
    if not has_moved(error):
        return error
    text = f"{type(error).__name__} is about one job: return it in the place of that job's outcome"
    return QueueError(text)
