"""Keeps schedules going: what a worker does about a scheduler's job before its handler."""

import threading

from shared.clock import Clock
from shared.errors import (
    InvalidJobOptions,
    JobStateError,
    Postponed,
    QueueError,
    QueueUnavailable,
)
from shared.queue.job import ClaimedJob
from shared.queue.job_queue import JobQueue
from shared.queue.reading import whole_number
from shared.queue.reports import Reports
from shared.queue.schedulers import Continuation, continue_schedule, is_pending
from shared.queue.settling import jittered

_OUTAGE_WAIT_S = 1.0
_MIN_LEFT_MS = 1_000
_MAX_LEFT_MS = 60_000


class ScheduleKeeper:
    """Makes the next job of each claimed job that has a scheduler."""

    def __init__(
        self, queue: JobQueue, *, clock: Clock, reports: Reports, abandoned: threading.Event
    ) -> None:
        self._queue, self._clock = queue, clock
        self._reports, self._abandoned = reports, abandoned

    def keep(self, job: ClaimedJob) -> bool:
        """Make the next job, through outages; answer whether this one may run.

        It may unless all is abandoned meanwhile: its lock is handed back then, and who claims it
        makes the next one.

        Raises:
            Postponed: its pattern or zone cannot be read here. Others may know it, as Node does
                ``H``, or a strategy of its own: the job is left to them, for without it they
                could not go on. Node leaves a job so whose pattern it cannot read.
        """
        if job.scheduler_id is None:
            return True
        while not self._abandoned.is_set():
            try:
                self._continue(job)
            except QueueUnavailable as exc:
                self._reports.report_trouble("schedule_delayed", exc, job=job.id)
                self._clock.wait(self._abandoned, jittered(_OUTAGE_WAIT_S))
                continue
            except Postponed:
                raise
            except QueueError as exc:
                # Nobody can make the next one; this one is as good as any other job.
                self._reports.report_trouble("schedule_broken", exc, job=job.id)
            return True
        return False

    def _continue(self, job: ClaimedJob) -> None:
        try:
            continuation = continue_schedule(self._queue, job)
        except InvalidJobOptions as exc:
            if is_pending(self._queue, job):
                self._reports.report_trouble("schedule_unreadable", exc, job=job.id)
                raise Postponed(self._left_ms(job), "its schedule cannot be read here") from exc
            # Another attempt, or the scheduler is gone: there is nothing to make.
            return
        if continuation is Continuation.BLOCKED:
            error = JobStateError(job.id, "a job has the next one's id: upsert the scheduler")
            self._reports.report_trouble("schedule_blocked", error, job=job.id)

    def _left_ms(self, job: ClaimedJob) -> int:
        """Return for how long a job is left to others: as long again as it is late already."""
        due_ms = whole_number(job.opts.get("prevMillis")) or job.timestamp_ms
        late_ms = self._clock.now_ms() - due_ms
        return min(max(late_ms, _MIN_LEFT_MS), _MAX_LEFT_MS)
