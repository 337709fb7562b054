"""Works a queue: handlers on threads, locks, retries, and what dead workers left."""

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

from feedmill.base import Connection, QueueBase
from feedmill.hooks import Hook, Hooks
from feedmill.jobs import Job
from feedmill.reporting import log_event
from feedmill.worker_options import (
    WorkerOptions,
    check_handler,
    check_options,
    core_options,
    read_batching,
)
from shared.clock import Clock
from shared.errors import QueueError, RateLimitError
from shared.queue import (
    BatchWorker,
    Breaker,
    ClaimedJob,
    Completion,
    EndedRun,
    Failure,
    JobQueue,
    Retry,
    Upkeep,
    limits,
)
from shared.queue import Worker as JobWorker
from shared.queue import WorkerOptions as CoreOptions
from shared.queue.batches import BatchResult
from shared.queue.dead_letters import check_dead_letters

BatchHandler = Callable[[list[Job[Any]]], BatchResult]
Handler = Callable[[Job[Any]], object] | BatchHandler


class Worker:
    """Runs ``handler`` on the jobs of a queue, up to ``concurrency`` at a time, each on a thread.

    What the handler returns is the job's result. Whatever it raises, the job is tried again while
    attempts remain, after its backoff; ``UnrecoverableError`` fails it at once. A job is run at
    least once: after a crash it is seen again.

    With ``batch`` it is given a list of jobs, and returns an outcome for each. What it raises
    counts for each of them, by its own attempts.

    It reports by hooks, see :meth:`on`. ``queue`` is a name, or a queue, whose connection is
    then used and left open. All else is told by :class:`WorkerOptions`.

    Raises:
        InvalidJobOptions: an option that cannot be.
        QueueError: a name that BullMQ refuses, no Redis is named, a connection beside a queue's,
            or the ``dead_letter`` is the queue itself, in another Redis or of another prefix.
        TypeError: no such option, or a handler that is async or no function.
    """

    def __init__(
        self,
        queue: str | QueueBase,
        handler: Handler,
        connection: Connection = None,
        *,
        prefix: str = "bull",
        clock: Clock | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        check_options(options)
        check_handler(handler)
        self._hooks = Hooks()
        self._handler: Callable[[Any], Any] = handler
        # A hook that closes the worker holds it already.
        self._closing, self._closed = threading.RLock(), threading.Event()
        self._has_begun_to_close = False
        self._options = self._with_hooks(core_options(options, self._job_of))
        self._own_queue: QueueBase | None = None
        if isinstance(queue, str):
            queue = self._own_queue = QueueBase(queue, connection, prefix=prefix, clock=clock)
        elif connection is not None:
            text = f"the worker of {queue.name!r} has its queue's connection: give none beside it"
            raise QueueError(text)
        self._core = queue.core
        with ExitStack() as after_error:
            after_error.callback(self._close_own_queue)
            self._worker, self._upkeep = self._make_worker(options), self._make_upkeep(options)
            after_error.pop_all()

    @property
    def running_count(self) -> int:
        """How many jobs are being run."""
        return self._worker.running_count

    def on(self, event: str, hook: Hook) -> None:
        """Have ``hook`` called at each ``event``; one that fails is logged, and ends nothing.

        The events and what hooks are given, on the worker's threads: ``active`` (job), before its
        handler; ``completed`` (job, result); ``failed`` (job, error) after each failed run, where
        ``job.finished_on`` is None while the job is to be tried again; ``progress`` (job, value);
        ``stalled`` (job id): its worker vanished, and it is back in line; ``drained`` (): nothing
        is ready to run any more; ``error`` (error): trouble that is not of a job's making, Redis is
        away or a lock was lost; ``closed`` ().

        Raises:
            InvalidJobOptions: there is no such event.
        """
        self._hooks.add(event, hook)

    @property
    def breaker(self) -> Breaker | None:
        """What stops it while something is away, if it was given one."""
        return self._options.breaker

    def start(self) -> None:
        """Begin to work, on threads of its own.

        Raises:
            QueueError: it was started before, or closed.
        """
        self._check_may_start()
        self._upkeep.start()
        self._worker.start()

    def run(self) -> None:
        """Work until :meth:`close` is called elsewhere, or Ctrl-C comes; then hand over.

        Raises:
            QueueError: it was started before, or closed.
        """
        self._check_may_start()
        try:
            self.start()
            self._closed.wait()
        finally:
            self.close()

    def step(self) -> bool:
        """Work one job, or one batch, on this thread; False when none can be claimed. For tests."""
        return self._worker.step()

    def is_running(self) -> bool:
        """Return whether it was started, and not closed."""
        return self._worker.is_running

    def is_paused(self) -> bool:
        """Return whether it takes no jobs until :meth:`resume`."""
        return self._worker.is_paused

    def pause(self, timeout_s: float | None = None) -> bool:
        """Take no more jobs until :meth:`resume`, here alone; wait for those that run.

        Not longer than ``timeout_s``, without end if not told: False when some still run then. Not
        for handlers, which would wait for themselves.
        """
        self._worker.pause()
        return self._worker.wait_until_idle(math.inf if timeout_s is None else timeout_s)

    def resume(self) -> None:
        """Take jobs again."""
        self._worker.resume()

    def close(self, timeout_s: float = 30.0) -> None:
        """Claim no more, wait for running handlers, hand back what they hold after ``timeout_s``.

        Then its own connection ends. Safe to call twice, and by a hook of ``closed``.
        """
        # Whoever comes second waits until all is handed over.
        with self._closing:
            if self._has_begun_to_close:
                return
            self._has_begun_to_close = True
            with ExitStack() as rest:
                rest.callback(self._close_own_queue)
                rest.callback(self._closed.set)
                rest.callback(self._hooks.call, "closed")
                rest.callback(self._upkeep.stop)
                self._worker.stop(timeout_s)

    def _close_own_queue(self) -> None:
        if self._own_queue is not None:
            self._own_queue.close()

    def _check_may_start(self) -> None:
        # Two loops would claim with one token, and both be given the same jobs.
        if self._worker.is_running or self._closed.is_set():
            state = "closed" if self._closed.is_set() else "running"
            text = f"the worker of {self._core.name!r} is {state}: a worker is started once"
            raise QueueError(f"{text}; make another one")

    def _run(self, claimed: ClaimedJob) -> object:
        return self._call(self._begun(claimed))

    def _run_batch(self, claimed: Sequence[ClaimedJob]) -> BatchResult:
        result: BatchResult = self._call([self._begun(each) for each in claimed])
        if any(isinstance(each, RateLimitError) for each in result or ()):
            self._wait_for_limit()
        return result

    def _call(self, work: Job[Any] | list[Job[Any]]) -> Any:
        try:
            return self._handler(work)
        except RateLimitError:
            self._wait_for_limit()
            raise

    def _begun(self, claimed: ClaimedJob) -> Job[Any]:
        job = self._job_of(claimed)
        self._hooks.call("active", job)
        return job

    def _wait_for_limit(self) -> None:
        # As in Node: who met a limit asks how long it lasts, also without one of its own. Before
        # its job is back in line, or it is claimed again meanwhile. Redis away is no news here.
        with suppress(QueueError):
            self._worker.hold_back(max(limits.read_rate_ttl_ms(self._core), 0) / 1000)

    def _job_of(self, claimed: ClaimedJob) -> Job[Any]:
        assert claimed.view is not None
        job: Job[Any] = Job.of(self._core, claimed.view)
        return replace(job, token=claimed.token, on_progress=self._report_progress)

    def _report_progress(self, job: Job[Any], value: object) -> None:
        self._hooks.call("progress", replace(job, last_progress=value), value)

    def _report_end(self, run: EndedRun) -> None:
        match run.outcome:
            case Completion(result=result) if self._hooks.has("completed"):
                self._hooks.call(
                    "completed", replace(self._ended(run), return_value=result), result
                )
            case Retry(reason=reason) | Failure(reason=reason) if self._hooks.has("failed"):
                job = replace(self._ended(run), failed_reason=reason)
                self._hooks.call("failed", job, run.error)

    def _ended(self, run: EndedRun) -> Job[Any]:
        """Return the job after its run, which is over: it has no token any more."""
        job = self._job_of(run.job)
        finished_on = self._core.clock.now_ms() if run.is_final else None
        return replace(
            job, attempts_made=job.attempts_made + 1, finished_on=finished_on, token=None
        )

    def _report_stalled(self, _: JobQueue, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            self._hooks.call("stalled", job_id)

    def _with_hooks(self, options: CoreOptions) -> CoreOptions:
        return replace(
            options,
            after_settle=self._report_end,
            on_error=partial(self._hooks.call, "error"),
            on_drained=partial(self._hooks.call, "drained"),
        )

    def _make_worker(self, options: WorkerOptions) -> JobWorker:
        core = self._options
        if core.dead_letters is not None:
            check_dead_letters(self._core, core.dead_letters)
        batching, queue, clock = read_batching(options), self._core, self._core.clock
        if batching is None:
            return JobWorker(queue, self._run, core, clock=clock, log_event=log_event)
        return BatchWorker(queue, self._run_batch, core, batching, clock=clock, log_event=log_event)

    def _make_upkeep(self, options: WorkerOptions) -> Upkeep:
        return Upkeep(
            [self._core],
            every_ms=options.get("stalled_interval", 30_000),
            max_stalled=options.get("max_stalled_count", 1),
            lock_ms=options.get("lock_duration", 30_000),
            solo_first=options.get("batch") is not None,
            on_stalled=self._report_stalled,
            clock=self._core.clock,
            log_event=log_event,
        )
