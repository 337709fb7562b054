"""Keeps the locks of running jobs, and takes back the places of runs that take too long."""

import threading
from itertools import groupby
from operator import itemgetter

from shared.errors import QueueError, RunOverdue
from shared.queue.held_locks import HeldLocks
from shared.queue.job import ClaimedJob, Lock
from shared.queue.job_queue import JobQueue
from shared.queue.job_runner import JobRunner
from shared.queue.reports import Reports
from shared.queue.worker_options import WorkerOptions


class Heartbeat:
    """Extends the locks of what is ``running``, each for ``run_limit_s`` at most."""

    def __init__(
        self,
        queue: JobQueue,
        running: HeldLocks,
        runner: JobRunner,
        options: WorkerOptions,
        reports: Reports,
    ) -> None:
        self._queue, self._running, self._runner = queue, running, runner
        self._options, self._reports = options, reports
        self._overdue = HeldLocks(queue.clock)
        self._not_ended: set[Lock] = set()

    @property
    def not_ended_count(self) -> int:
        """How many runs were given up whose threads have not ended; each job of a batch counts."""
        return len(self._not_ended)

    def beat(self) -> float:
        """Do one round; return for how many seconds to rest before the next one."""
        self._give_up_overdue()
        try:
            for queue, locks in (*self._running.by_queue(), *self._overdue.by_queue()):
                queue.extend_many(locks, lock_ms=self._options.lock_ms)
        except QueueError as exc:
            self._reports.report_trouble("heartbeat_failed", exc)
        # Three times a lock time; oftener where runs are given up much earlier than that.
        return min(self._options.lock_ms / 3000, max(self._options.run_limit_s / 4, 0.1))

    def drop(self, *jobs: ClaimedJob) -> None:
        """Keep the locks of a run no longer: its thread has ended."""
        locks = [job.lock for job in jobs]
        self._running.remove(self._queue, locks)
        self._not_ended.difference_update(locks)

    def _give_up_overdue(self) -> None:
        """Take back the places of runs past their limit, and charge their jobs."""
        overdue = self._running.held_longer_than(self._options.run_limit_s)
        # The jobs of one batch are held since the same moment.
        for held_s, run in groupby(overdue, key=itemgetter(1)):
            jobs = [job for job, _ in run if self._abandon(job)]
            for job in jobs:
                self._report(job, held_s)
            if not jobs:
                continue
            # On a thread of its own: a hook may take its time, and locks have to be kept meanwhile.
            name = f"{self._queue.name}-overdue"
            threading.Thread(target=self._charge, args=(jobs,), name=name, daemon=True).start()

    def _report(self, job: ClaimedJob, held_s: float) -> None:
        self._reports.report(
            "run_abandoned",
            job,
            attempt=job.attempts_made + 1,
            after_s=round(held_s, 1),
            limit_s=self._options.run_limit_s,
            not_ended=self.not_ended_count,
        )

    def _abandon(self, job: ClaimedJob) -> bool:
        """Free the place of a run but keep its lock; False when it has just ended by itself."""
        self._overdue.add(self._queue, [job])
        # Before the place is free: the thread's own end takes it out again.
        self._not_ended.add(job.lock)
        if self._running.remove(self._queue, [job.lock]):
            return True
        self._not_ended.discard(job.lock)
        self._overdue.remove(self._queue, [job.lock])
        return False

    def _charge(self, jobs: list[ClaimedJob]) -> None:
        """Settle the jobs of a run that was given up; its own thread can settle nothing then."""
        limit_s = self._options.run_limit_s
        error = RunOverdue(f"the run took longer than {limit_s:g} s and was given up")
        try:
            # Should that fail, their locks run out; they are reclaimed, and charged with that.
            self._runner.fail_all(jobs, error)
        finally:
            self._overdue.remove(self._queue, [job.lock for job in jobs])
