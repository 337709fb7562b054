"""Works a queue, one job per thread: claim, run the handler, settle."""

import random
import threading
import traceback
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from shared.clock import Clock
from shared.errors import (
    DoomedJob,
    Postponed,
    QueueError,
    QueueUnavailable,
    RunOverdue,
    UnrecoverableError,
)
from shared.queue.held_locks import HeldLocks
from shared.queue.job import (
    BlockedBy,
    Claim,
    ClaimedJob,
    Completion,
    Failure,
    Lock,
    Postponement,
    RateLimit,
    Retry,
    SettleOutcome,
    backoff_delay_ms,
)
from shared.queue.job_queue import JobQueue
from shared.queue.wakeup import wait_for_work
from shared.queue.wire import to_json
from shared.supervision import Supervisor

Handler = Callable[[ClaimedJob], object]
LogEvent = Callable[..., None]
_End = Completion | Retry | Postponement | Failure

_IDLE_WAIT_S = 1.0
_OUTAGE_WAIT_S = 1.0
_HOOK_RETRY_MS = 5_000


def _no_log(event: str, **fields: object) -> None:
    """Say nothing."""


def is_recoverable(error: BaseException) -> bool:
    """Return whether another attempt may help, as BullMQ takes it: after any other error than one.

    ``UnrecoverableError`` is known by its name too, so that code need not import ours.
    """
    return not isinstance(error, UnrecoverableError) and (
        type(error).__name__ != UnrecoverableError.__name__
    )


class Worker:
    """Runs ``handler`` on the jobs of ``queue``, up to ``concurrency`` at a time.

    What the handler returns is the job's result. After an exception for which ``may_retry`` is true
    the job is tried again while attempts remain, after its backoff; ``Postponed`` puts the job back
    for its ``delay_ms`` and uses no attempt; else it fails. No error of a job, a hook or
    Redis ends the loop, nor does a machine that refuses another thread: the jobs that were claimed
    are handed back. ``supervisor`` runs the threads; without one they go on for ever, whatever they
    meet.

    Locks are extended while a handler runs, for ``run_limit_s`` at most. A run that takes longer is
    given up: its place is free for other jobs, its job fails with ``RunOverdue`` (which uses an
    attempt), and what the handler still does is refused. Its thread cannot be ended and may go on.

    A solo job has the worker for itself, unless ``isolates_solo`` is False: right where a job that
    stalls cannot harm its neighbours, and must not hold them up.

    ``after_settle(job)`` is called after a job was completed or failed, not when its lock was lost.
    ``on_final_failure(job, error)`` is called before a job is failed for good; should it raise, the
    job is tried again later, so that its failure is never settled unheard.
    ``around_job(job)`` is entered, in the job's thread, for all that is done about it.

    ``log_event`` is called with a constant event and fields. Of each job: ``job_started``, then
    ``job_succeeded``, ``job_failed``, ``job_postponed`` or ``lock_lost``. All others are trouble;
    ``run_abandoned`` says after how many seconds, and how many such runs have not ended.
    """

    def __init__(
        self,
        queue: JobQueue,
        handler: Handler,
        *,
        concurrency: int,
        lock_ms: int,
        clock: Clock,
        after_settle: Callable[[ClaimedJob], None] | None = None,
        on_final_failure: Callable[[ClaimedJob, BaseException], None] | None = None,
        around_job: Callable[[ClaimedJob], AbstractContextManager[object]] = nullcontext,
        may_retry: Callable[[BaseException], bool] = is_recoverable,
        rate_limit: RateLimit | None = None,
        run_limit_s: float = 300.0,
        isolates_solo: bool = True,
        log_event: LogEvent = _no_log,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._queue, self._handler, self._clock = queue, handler, clock
        self._concurrency, self._rate_limit = concurrency, rate_limit
        self._lock_ms, self._run_limit_s = lock_ms, run_limit_s
        self._after_settle, self._on_final_failure = after_settle, on_final_failure
        self._around_job, self._isolates_solo = around_job, isolates_solo
        self._may_retry, self._log_event = may_retry, log_event
        self._supervisor = supervisor or Supervisor(clock, log_event)
        self._claim_token = uuid.uuid4().hex
        self._stopping, self._abandoned = threading.Event(), threading.Event()
        self._running, self._overdue = HeldLocks(clock), HeldLocks(clock)
        self._not_ended: set[Lock] = set()
        self._threads: list[threading.Thread] = []

    @property
    def running_count(self) -> int:
        """How many places are taken."""
        return len(self._running)

    @property
    def not_ended_count(self) -> int:
        """How many runs were given up whose threads have not ended."""
        return len(self._not_ended)

    def start(self) -> None:
        """Begin to claim, on threads of its own."""
        loops = (
            ("dispatch", self._dispatch, self._stopping),
            ("heartbeat", self._keep_locks, self._abandoned),
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
        jobs = self._claim(uuid.uuid4().hex, limit=1).jobs
        for job in jobs:
            self._running.add(self._queue, [job])
            self._work(job)
        return bool(jobs)

    def stop(self, timeout_s: float) -> None:
        """Claim no more, wait for running handlers, hand back what they hold after ``timeout_s``.

        A handler that is still running then goes on in its thread, but can settle nothing.
        """
        deadline_s = self._clock.monotonic_s() + timeout_s
        self._stopping.set()
        if self._threads:
            self._threads[0].join(max(timeout_s, _IDLE_WAIT_S))
        self._running.wait_until_none(deadline_s)
        self._abandoned.set()
        for _, locks in self._running.by_queue():
            self._running.remove(self._queue, locks)
            self._release(locks)
        for thread in self._threads:
            thread.join(_IDLE_WAIT_S)

    def _release(self, locks: list[Lock]) -> None:
        try:
            self._queue.release_many(locks)
        except QueueError as exc:
            # Their locks run out by themselves.
            self._log_event("release_failed", queue=self._queue.name, error=str(exc))

    def _dispatch(self) -> float:
        try:
            claim = self._claim(self._claim_token, limit=self._concurrency)
            self._claim_token = uuid.uuid4().hex
            self._begin_all(claim.jobs)
            self._rest_after(claim)
        except QueueError as exc:
            # The token stays: a claim whose answer was lost is answered again.
            self._log_event("claim_failed", queue=self._queue.name, error=str(exc))
            return _jittered(_OUTAGE_WAIT_S)
        return 0.0

    def _claim(self, token: str, *, limit: int) -> Claim:
        self._running.wait_until_fewer(self._concurrency, self._stopping)
        room = min(limit, self._concurrency - len(self._running))
        if self._stopping.is_set() or room <= 0:
            return Claim(jobs=[], blocked_by=None, retry_in_ms=None)
        return self._queue.claim(
            limit=room,
            lock_ms=self._lock_ms,
            token=token,
            rate_limit=self._rate_limit,
            accept_solo=not self._isolates_solo or len(self._running) == 0,
        )

    def _begin_all(self, jobs: list[ClaimedJob]) -> None:
        # Stopped while the claim was under way: what came is handed back untouched.
        if self._stopping.is_set() and jobs:
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

    def _begin(self, job: ClaimedJob) -> None:
        self._running.add(self._queue, [job])
        try:
            threading.Thread(
                target=self._work, args=(job,), name=f"{self._queue.name}-job", daemon=True
            ).start()
        except BaseException:
            # "can't start new thread": nobody would ever drop it.
            self._drop(job)
            raise

    def _rest_after(self, claim: Claim) -> None:
        if any(job.is_solo for job in claim.jobs) or claim.blocked_by is BlockedBy.SOLO:
            if self._isolates_solo:
                self._running.wait_until_fewer(1, self._stopping)
        elif claim.blocked_by is BlockedBy.EMPTY:
            # The next delayed job may be due before anything is added.
            wait_for_work(self._queue.client, [self._queue], _rest_s(claim))
        elif claim.blocked_by is not None:
            self._clock.wait(self._stopping, _rest_s(claim))

    def _work(self, job: ClaimedJob) -> None:
        try:
            with self._around_job(job):
                self._run(job)
        finally:
            self._drop(job)

    def _drop(self, job: ClaimedJob) -> None:
        self._running.remove(self._queue, [job.lock])
        self._not_ended.discard(job.lock)

    def _run(self, job: ClaimedJob) -> None:
        self._tell("job_started", job, attempt=job.attempts_made + 1)
        try:
            end = self._run_handler(job)
            if self._settle(job, end):
                self._call_after_settle(job)
        except QueueError as exc:
            self._tell("settle_failed", job, error=str(exc))

    def _tell(self, event: str, job: ClaimedJob, **fields: object) -> None:
        self._log_event(event, queue=self._queue.name, job=job.id, **fields)

    def _run_handler(self, job: ClaimedJob) -> _End:
        if job.deferred_failure is not None:
            return self._fail(job, DoomedJob(job.deferred_failure))
        try:
            result = self._handler(job)
            # A result that cannot be written is the handler's failure, not the queue's.
            to_json(job.id, result)
            return Completion(job.id, job.token, result)
        except Postponed as exc:
            return Postponement(job.id, job.token, exc.delay_ms)
        except Exception as exc:  # noqa: BLE001 - the loop outlives whatever a handler raises
            return self._end_after(job, exc)

    def _end_after(self, job: ClaimedJob, error: BaseException) -> Retry | Failure:
        if job.attempts_made + 1 < job.max_attempts and self._may_retry(error):
            delay_ms = backoff_delay_ms(job.backoff, job.attempts_made + 1)
            return _retry(job, error, delay_ms)
        return self._fail(job, error)

    def _fail(self, job: ClaimedJob, error: BaseException) -> Retry | Failure:
        try:
            if self._on_final_failure is not None:
                self._on_final_failure(job, error)
        except Exception as exc:  # noqa: BLE001 - as for the handler
            self._tell("failure_hook_failed", job, error=repr(exc))
            return _retry(job, error, _HOOK_RETRY_MS)
        return Failure(job.id, job.token, str(error) or repr(error), _stack_of(error))

    def _settle(self, job: ClaimedJob, end: _End) -> bool:
        """Settle, through outages; answer whether the job is finished for good."""
        while not self._abandoned.is_set():
            try:
                outcome = self._settle_once(end)
            except QueueUnavailable as exc:
                self._log_event("settle_delayed", queue=self._queue.name, error=str(exc))
                self._clock.wait(self._abandoned, _jittered(_OUTAGE_WAIT_S))
                continue
            self._tell_end(job, end, outcome)
            is_final = not isinstance(end, Retry | Postponement)
            return outcome is SettleOutcome.SETTLED and is_final
        return False

    def _settle_once(self, end: _End) -> SettleOutcome:
        if isinstance(end, Completion):
            return self._queue.complete_many([end])[0]
        if isinstance(end, Retry):
            return self._queue.retry_many([end])[0]
        if isinstance(end, Postponement):
            return self._queue.postpone_many([end])[0]
        return self._queue.fail_many([end])[0]

    def _tell_end(self, job: ClaimedJob, end: _End, outcome: SettleOutcome) -> None:
        attempt = job.attempts_made + 1
        if outcome is SettleOutcome.LOCK_LOST:
            self._tell("lock_lost", job, attempt=attempt)
        elif isinstance(end, Completion):
            self._tell("job_succeeded", job, attempt=attempt)
        elif isinstance(end, Postponement):
            self._tell("job_postponed", job, attempt=attempt, delay_ms=end.delay_ms)
        else:
            is_last = isinstance(end, Failure)
            self._tell("job_failed", job, attempt=attempt, is_last=is_last, error=end.reason)

    def _call_after_settle(self, job: ClaimedJob) -> None:
        if self._after_settle is None:
            return
        try:
            self._after_settle(job)
        except Exception as exc:  # noqa: BLE001 - the job is settled; its hook cannot undo that
            self._tell("after_settle_failed", job, error=repr(exc))

    def _give_up_overdue(self) -> None:
        """Take back the places of runs past their limit, and charge their jobs."""
        for job, held_s in self._running.held_longer_than(self._run_limit_s):
            if not self._abandon(job):
                continue
            self._tell(
                "run_abandoned",
                job,
                attempt=job.attempts_made + 1,
                after_s=round(held_s, 1),
                limit_s=self._run_limit_s,
                not_ended=self.not_ended_count,
            )
            # On a thread of its own: a hook may take its time, and locks have to be kept meanwhile.
            name = f"{self._queue.name}-overdue"
            threading.Thread(target=self._charge, args=(job,), name=name, daemon=True).start()

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

    def _charge(self, job: ClaimedJob) -> None:
        """Settle the job of a run that was given up; its own thread can settle nothing then."""
        error = RunOverdue(f"the run took longer than {self._run_limit_s:g} s and was given up")
        with self._around_job(job):
            try:
                if self._settle(job, self._end_after(job, error)):
                    self._call_after_settle(job)
            except QueueError as exc:
                # Its lock runs out by itself; then it is reclaimed, and charged with that.
                self._tell("settle_failed", job, error=str(exc))
            finally:
                self._overdue.remove(self._queue, [job.lock])

    def _keep_locks(self) -> float:
        self._give_up_overdue()
        try:
            for queue, locks in (*self._running.by_queue(), *self._overdue.by_queue()):
                queue.extend_many(locks, lock_ms=self._lock_ms)
        except QueueError as exc:
            self._log_event("heartbeat_failed", queue=self._queue.name, error=str(exc))
        return self._lock_ms / 3000


def _retry(job: ClaimedJob, error: BaseException, delay_ms: int) -> Retry:
    return Retry(job.id, job.token, str(error) or repr(error), _stack_of(error), delay_ms)


def _stack_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _rest_s(claim: Claim) -> float:
    rest_s = _IDLE_WAIT_S if claim.retry_in_ms is None else claim.retry_in_ms / 1000
    return min(max(rest_s, 0.01), _IDLE_WAIT_S)


def _jittered(wait_s: float) -> float:
    return wait_s * random.uniform(0.5, 1.5)
