"""Works a queue: handlers on threads, locks, retries, and what dead workers left."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Unpack

from feedmill.base import Connection, QueueBase
from feedmill.jobs import Job
from feedmill.worker_options import WorkerOptions, check_known, core_options
from shared.clock import Clock
from shared.queue import ClaimedJob, JobQueue, Upkeep
from shared.queue import Worker as JobWorker

Handler = Callable[[Job[Any]], object]

log = logging.getLogger("feedmill")

_COURSE = frozenset(
    {
        "job_started",
        "job_succeeded",
        "job_failed",
        "job_postponed",
        "job_put_back",
        "job_moved",
    }
)


class Worker:
    """Runs ``handler`` on the jobs of a queue, up to ``concurrency`` at a time, each on a thread.

    What the handler returns is the job's result. Whatever it raises, the job is tried again while
    attempts remain, after its backoff; ``UnrecoverableError`` fails it at once. A job is run at
    least once: after a crash it is seen again.

    ``queue`` is a name, or a queue, whose connection is then used and left open. All else is told
    by :class:`WorkerOptions`.
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
        check_known(options)
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
            core_options(options, self._job_of),
            clock=self._core.clock,
            log_event=_log_event,
        )
        self._upkeep = _make_upkeep(self._core, options)

    @property
    def running_count(self) -> int:
        """How many jobs are being run."""
        return self._worker.running_count

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
        return self._handler(self._job_of(claimed))

    def _job_of(self, claimed: ClaimedJob) -> Job[Any]:
        assert claimed.view is not None
        return Job.of(self._core, claimed.view, claimed.token)


def _make_upkeep(core: JobQueue, options: WorkerOptions) -> Upkeep:
    return Upkeep(
        [core],
        every_ms=options.get("stalled_interval", 30_000),
        max_stalled=options.get("max_stalled_count", 1),
        lock_ms=options.get("lock_duration", 30_000),
        solo_first=False,
        clock=core.clock,
        log_event=_log_event,
    )


def _log_event(event: str, **fields: object) -> None:
    level = logging.DEBUG if event in _COURSE else logging.WARNING
    log.log(level, "%s %s", event, fields)
