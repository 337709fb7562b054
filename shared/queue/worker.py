"""Works a queue, one job per thread: claim, run the handler, settle."""

import threading
import uuid
from collections.abc import Sequence

from shared.clock import Clock
from shared.errors import QueueError
from shared.queue.heartbeat import Heartbeat
from shared.queue.held_locks import HeldLocks
from shared.queue.job import BlockedBy, Claim, ClaimedJob, Lock
from shared.queue.job_queue import JobQueue
from shared.queue.job_runner import Handler, JobRunner
from shared.queue.limits import limit_groups
from shared.queue.reports import LogEvent, Reports, no_log
from shared.queue.settling import jittered
from shared.queue.wakeup import wait_for_work
from shared.queue.worker_options import WorkerOptions
from shared.supervision import Supervisor

_IDLE_WAIT_S = 1.0
_OUTAGE_WAIT_S = 1.0
# How often is looked whether a breaker lets jobs through; Redis is not asked for that.
_BREAKER_LOOK_MS = 100


class Worker:
    """Runs ``handler`` on the jobs of ``queue``, up to ``concurrency`` at a time.

    What the handler returns is the job's result; what it raises says what becomes of the job, see
    ``outcome_of``. No error of a job, a hook or Redis ends the loop, nor does a machine that
    refuses another thread: the jobs that were claimed are handed back. ``supervisor`` runs the
    threads; without one they go on for ever, whatever they meet.

    Locks are extended while a handler runs, for ``run_limit_s`` at most. A run that takes longer is
    given up: its place is free for other jobs, its job fails with ``RunOverdue`` (which uses an
    attempt), and what the handler still does is refused. Its thread cannot be ended and may go on.

    ``log_event`` is called with a constant event and fields. Of each job: ``job_started``, then
    ``job_succeeded``, ``job_failed``, ``job_postponed``, ``job_put_back``, ``job_moved`` (by its
    handler) or ``lock_lost``. All others are trouble; ``run_abandoned`` says after how many
    seconds, and how many such runs have not ended.
    """

    def __init__(
        self,
        queue: JobQueue,
        handler: Handler,
        options: WorkerOptions,
        *,
        clock: Clock,
        log_event: LogEvent = no_log,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._queue, self._options, self._clock = queue, options, clock
        self._log_event = log_event
        self._supervisor = supervisor or Supervisor(clock, log_event)
        self._claim_token = uuid.uuid4().hex
        self._stopping, self._abandoned = threading.Event(), threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._has_had_jobs = self._has_limited_groups = False
        self._held_until_s = 0.0
        self._reports = Reports(queue.name, log_event, options.on_error)
        self._runner = JobRunner(queue, handler, options, clock, self._reports, self._abandoned)
        self._running = HeldLocks(clock)
        self._heartbeat = Heartbeat(queue, self._running, self._runner, options, self._reports)
        self._threads: list[threading.Thread] = []

    @property
    def running_count(self) -> int:
        """How many places are taken."""
        return len(self._running)

    @property
    def not_ended_count(self) -> int:
        """How many runs were given up whose threads have not ended."""
        return self._heartbeat.not_ended_count

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not stopped."""
        return bool(self._threads) and not self._stopping.is_set()

    @property
    def is_paused(self) -> bool:
        """Whether it claims nothing until :meth:`resume`."""
        return not self._going.is_set()

    def start(self) -> None:
        """Begin to claim, on threads of its own."""
        loops = (
            ("dispatch", self._dispatch, self._stopping),
            ("heartbeat", self._heartbeat.beat, self._abandoned),
        )
        for name, step, stop in loops:
            name = f"{self._queue.name}-{name}"
            self._threads.append(self._supervisor.start(name, step, stop))

    def step(self) -> bool:
        """Claim one job and work it on the calling thread; False when none can be claimed now.

        For who drives a queue without threads: its lock is not extended.

        Raises:
            QueueUnavailable: nothing may have been claimed.
        """
        jobs = self._claim(uuid.uuid4().hex, limit=min(1, self._wait_for_room())).jobs
        for job in jobs:
            self._running.add(self._queue, [job])
            self._work(job)
        return bool(jobs)

    def pause(self) -> None:
        """Claim no more until :meth:`resume`; what runs goes on, and keeps its locks."""
        self._going.clear()

    def resume(self) -> None:
        """Claim again."""
        self._going.set()

    def hold_back(self, wait_s: float) -> None:
        """Claim nothing for so long, as :meth:`pause`; a later call counts, not an earlier one."""
        self._held_until_s = self._clock.monotonic_s() + wait_s

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no handler runs; False when one still does after ``timeout_s``."""
        return self._running.wait_until_none(self._clock.monotonic_s() + timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Claim no more, wait for running handlers, hand back what they hold after ``timeout_s``.

        A handler that is still running then goes on in its thread, but can settle nothing.
        """
        deadline_s = self._clock.monotonic_s() + timeout_s
        self._stopping.set()
        self._going.set()
        if self._threads:
            self._threads[0].join(max(timeout_s, _IDLE_WAIT_S))
        self._release_unbegun()
        self._running.wait_until_none(deadline_s)
        self._abandoned.set()
        for _, locks in self._running.by_queue():
            self._running.remove(self._queue, locks)
            self._release(locks)
        for thread in self._threads:
            thread.join(_IDLE_WAIT_S)

    def _release_unbegun(self) -> None:
        """Hand back what is held but not run yet; here nothing is."""

    def _release(self, locks: list[Lock]) -> None:
        self._leave_breaker(locks)
        try:
            self._queue.release_many(locks)
        except QueueError as exc:
            # Their locks run out by themselves.
            self._reports.report_trouble("release_failed", exc)

    def _leave_breaker(self, locks: list[Lock]) -> None:
        if self._options.breaker is not None:
            for lock in locks:
                self._options.breaker.leave(lock)

    def _dispatch(self) -> float:
        if not self._going.wait(_IDLE_WAIT_S):
            return 0.0
        if (held_s := self._held_s()) > 0:
            return min(held_s, _IDLE_WAIT_S)
        try:
            claim = self._claim(self._claim_token, limit=self._wait_for_room())
            self._claim_token = uuid.uuid4().hex
            self._begin_all(claim.jobs)
            self._rest_after(claim)
        except QueueError as exc:
            # The token stays: a claim whose answer was lost is answered again. What lies in Redis
            # may be lost, too.
            self._has_limited_groups = False
            self._reports.report_trouble("claim_failed", exc)
            return jittered(_OUTAGE_WAIT_S)
        return 0.0

    def _wait_for_room(self) -> int:
        """Wait until there is room for a run; return for how many jobs."""
        self._running.wait_until_fewer(self._options.concurrency, self._stopping)
        return self._options.concurrency - len(self._running)

    def _claim(self, token: str, *, limit: int) -> Claim:
        if self._is_held_up() or limit <= 0:
            return Claim(jobs=[], blocked_by=None, retry_in_ms=None)
        breaker = self._options.breaker
        if breaker is None:
            return self._claim_some(token, limit)
        admitted = breaker.admit(limit)
        if admitted == 0:
            return Claim([], BlockedBy.BREAKER, _BREAKER_LOOK_MS)
        claimed: list[Lock] = []
        try:
            claim = self._claim_some(token, admitted)
            claimed = [job.lock for job in claim.jobs]
            return claim
        finally:
            breaker.begin(claimed)

    def _claim_some(self, token: str, limit: int) -> Claim:
        self._limit_groups()
        claim = self._queue.claim(
            limit=limit,
            lock_ms=self._options.lock_ms,
            token=token,
            rate_limit=self._options.rate_limit,
            accept_solo=not self._options.isolates_solo or len(self._running) == 0,
            reads_whole=self._options.reads_whole,
            worker_name=self._options.name,
        )
        self._note_drained(claim)
        return claim

    def _limit_groups(self) -> None:
        """Write down the limit that the worker is told to keep, unless it has done so."""
        if self._options.group_limit is not None and not self._has_limited_groups:
            limit_groups(self._queue, self._options.group_limit)
            self._has_limited_groups = True

    def _is_held_up(self) -> bool:
        return self._stopping.is_set() or self.is_paused or self._held_s() > 0

    def _held_s(self) -> float:
        return self._held_until_s - self._clock.monotonic_s()

    def _note_drained(self, claim: Claim) -> None:
        if claim.jobs:
            self._has_had_jobs = True
        elif claim.blocked_by is BlockedBy.EMPTY and self._has_had_jobs:
            self._has_had_jobs = False
            self._reports.call("drained_hook_failed", self._options.on_drained)

    def _begin_all(self, jobs: list[ClaimedJob]) -> None:
        # Stopped or paused while the claim was under way: what came is handed back untouched.
        if self._is_held_up() and jobs:
            self._release([job.lock for job in jobs])
            return
        begun = 0
        try:
            for job in jobs:
                self._begin(job)
                begun += 1
        finally:
            if begun < len(jobs):
                self._release([job.lock for job in jobs[begun:]])

    def _begin(self, *jobs: ClaimedJob) -> None:
        """Run jobs on a thread, all in one run; they are held from now."""
        self._running.add(self._queue, jobs)
        try:
            threading.Thread(
                target=self._work, args=jobs, name=f"{self._queue.name}-job", daemon=True
            ).start()
        except BaseException:
            # "can't start new thread": nobody would ever drop them.
            self._heartbeat.drop(*jobs)
            raise

    def _rest_after(self, claim: Claim) -> None:
        if any(job.is_solo for job in claim.jobs) or claim.blocked_by is BlockedBy.SOLO:
            if self._options.isolates_solo:
                self._running.wait_until_fewer(1, self._stopping)
        elif claim.blocked_by in (BlockedBy.EMPTY, BlockedBy.GROUP_LIMIT):
            # The next delayed job may be due before anything is added, or a group may go on.
            name = self._options.name
            wait_for_work(self._queue.client, [self._queue], _rest_s(claim), worker_name=name)
        elif claim.blocked_by is not None:
            self._clock.wait(self._stopping, _rest_s(claim))

    def _work(self, *jobs: ClaimedJob) -> None:
        try:
            self._run(jobs)
        finally:
            self._leave_breaker([job.lock for job in jobs])
            self._heartbeat.drop(*jobs)

    def _run(self, jobs: Sequence[ClaimedJob]) -> None:
        for job in jobs:
            self._runner.run(job)


def _rest_s(claim: Claim) -> float:
    rest_s = _IDLE_WAIT_S if claim.retry_in_ms is None else claim.retry_in_ms / 1000
    return min(max(rest_s, 0.01), _IDLE_WAIT_S)
