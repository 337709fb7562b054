"""Works a queue: handlers on threads, locks, retries, and what dead workers left."""

import logging
import math
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from feedmill.base import Connection, QueueBase
from feedmill.jobs import Job
from shared.clock import Clock
from shared.errors import JobNotFound
from shared.queue import ClaimedJob, JobQueue, RateLimit, Upkeep
from shared.queue import Worker as JobWorker
from shared.queue.worker import is_recoverable

Handler = Callable[[Job[Any]], object]

log = logging.getLogger("feedmill")

_COURSE = frozenset({"job_started", "job_succeeded", "job_failed", "job_postponed"})


class Worker:
    """Runs ``handler`` on the jobs of a queue, up to ``concurrency`` at a time, each on a thread.

    What the handler returns is the job's result. Whatever it raises, the job is tried again while
    attempts remain, after its backoff; ``UnrecoverableError`` fails it at once. ``may_retry`` is
    another rule. A job is run at least once: after a crash it is seen again.

    ``lock_duration`` and ``stalled_interval`` are in ms; locks are extended while a handler runs,
    for ``run_limit_s`` at most. ``max_stalled_count``: how often a job's worker may vanish before
    the job fails. ``limiter``: at most so many jobs started in so many ms, over all workers.
    ``queue`` is a name, or a queue, whose connection is then used and left open.
    """

    def __init__(
        self,
        queue: str | QueueBase,
        handler: Handler,
        connection: Connection = None,
        *,
        prefix: str = "bull",
        concurrency: int = 1,
        lock_duration: int = 30_000,
        stalled_interval: int = 30_000,
        max_stalled_count: int = 1,
        run_limit_s: float | None = None,
        limiter: tuple[int, int] | None = None,
        may_retry: Callable[[BaseException], bool] = is_recoverable,
        clock: Clock | None = None,
    ) -> None:
        self._own_queue: QueueBase | None = None
        if isinstance(queue, str):
            queue = self._own_queue = QueueBase(queue, connection, prefix=prefix, clock=clock)
        self._core = queue.core
        self._handler = handler
        self._closing = threading.Lock()
        self._closed = threading.Event()
        self._worker = JobWorker(
            self._core,
            self._run,
            concurrency=concurrency,
            lock_ms=lock_duration,
            clock=self._core.clock,
            may_retry=may_retry,
            rate_limit=None if limiter is None else RateLimit(*limiter),
            run_limit_s=math.inf if run_limit_s is None else run_limit_s,
            isolates_solo=False,
            log_event=_log_event,
        )
        self._upkeep = _make_upkeep(self._core, stalled_interval, max_stalled_count, lock_duration)

    def start(self) -> None:
        """Begin to work, on threads of its own."""
        self._upkeep.start()
        self._worker.start()

    def run(self) -> None:
        """Work until :meth:`close` is called elsewhere, or Ctrl-C comes; then hand over."""
        try:
            self.start()
            self._closed.wait()
        finally:
            self.close()

    def step(self) -> bool:
        """Work one job on this thread; False when none can be claimed. For tests."""
        return self._worker.step()

    def close(self, timeout_s: float = 30.0) -> None:
        """Claim no more, wait for running handlers, hand back what they hold after ``timeout_s``.

        Then its own connection ends. Safe to call twice.
        """
        # Whoever comes second waits until all is handed over.
        with self._closing:
            if self._closed.is_set():
                return
            with ExitStack() as rest:
                if self._own_queue is not None:
                    rest.callback(self._own_queue.close)
                rest.callback(self._closed.set)
                rest.callback(self._upkeep.stop)
                self._worker.stop(timeout_s)

    def _run(self, claimed: ClaimedJob) -> object:
        view = self._core.get_job(claimed.id)
        if view is None:
            raise JobNotFound(claimed.id)
        return self._handler(Job.of(self._core, view, claimed.token))


def _make_upkeep(core: JobQueue, every_ms: int, max_stalled: int, lock_ms: int) -> Upkeep:
    return Upkeep(
        [core],
        every_ms=every_ms,
        max_stalled=max_stalled,
        lock_ms=lock_ms,
        solo_first=False,
        clock=core.clock,
        log_event=_log_event,
    )


def _log_event(event: str, **fields: object) -> None:
    level = logging.DEBUG if event in _COURSE else logging.WARNING
    log.log(level, "%s %s", event, fields)
