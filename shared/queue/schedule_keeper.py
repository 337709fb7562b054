"""Keeps schedules going: what a worker does about a scheduler's job before its handler."""

import threading

from shared.clock import Clock
from shared.errors import JobStateError, QueueError, QueueUnavailable
from shared.queue.job import ClaimedJob
from shared.queue.job_queue import JobQueue
from shared.queue.reports import Reports
from shared.queue.schedulers import Continuation, continue_schedule
from shared.queue.settling import jittered

_OUTAGE_WAIT_S = 1.0


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
        makes the next one. Raises nothing.
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
            except QueueError as exc:
                # Nobody can make the next one; this one is as good as any other job.
                self._reports.report_trouble("schedule_broken", exc, job=job.id)
            return True
        return False

    def _continue(self, job: ClaimedJob) -> None:
        if continue_schedule(self._queue, job) is Continuation.BLOCKED:
            error = JobStateError(job.id, "a job has the next one's id: upsert the scheduler")
            self._reports.report_trouble("schedule_blocked", error, job=job.id)
