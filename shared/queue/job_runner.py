"""Runs the handler on one claimed job and settles what comes of it, through outages."""

import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from shared.clock import Clock
from shared.errors import JobStateError, QueueError, QueueUnavailable, UnrecoverableError
from shared.queue.job import (
    ClaimedJob,
    Completion,
    Failure,
    Postponement,
    Retry,
    SettleOutcome,
)
from shared.queue.job_queue import JobQueue
from shared.queue.runs import (
    EndedRun,
    Moved,
    Outcome,
    PutBack,
    RunRules,
    Settled,
    check_may_run,
    outcome_of,
    retry_after,
)
from shared.queue.wire import to_json
from shared.queue.worker_options import WorkerOptions

Handler = Callable[[ClaimedJob], object]
LogEvent = Callable[..., None]

_OUTAGE_WAIT_S = 1.0
_HOOK_RETRY_MS = 5_000


# What becomes of a job that its handler has done, but that may not complete.
_REFUSALS: Mapping[SettleOutcome, Callable[[ClaimedJob], QueueError]] = {
    SettleOutcome.HAS_CHILDREN: lambda job: JobStateError(
        job.id, "it cannot complete: children of it are not done; let it wait for them"
    ),
    SettleOutcome.CHILD_FAILED: lambda job: UnrecoverableError(
        f"job {job.id[:80]!r} cannot complete: a child has failed it"
    ),
}


class Reports:
    """Tells of a worker's jobs and trouble: to a log, and trouble to ``on_error`` too."""

    def __init__(
        self, queue_name: str, log_event: LogEvent, on_error: Callable[[BaseException], None]
    ) -> None:
        self._queue_name, self._log_event, self._on_error = queue_name, log_event, on_error

    def tell(self, event: str, job: ClaimedJob, **fields: object) -> None:
        """Log what becomes of a job."""
        self._log_event(event, queue=self._queue_name, job=job.id, **fields)

    def tell_trouble(self, event: str, error: BaseException, **fields: object) -> None:
        """Log an error that ends nothing."""
        self._log_event(event, queue=self._queue_name, **fields, error=str(error) or repr(error))
        self.call("error_hook_failed", self._on_error, error)

    def call(
        self, event: str, hook: Callable[..., None], *arguments: Any, **fields: object
    ) -> None:
        """Call a hook; if it fails, ``event`` is logged, and all goes on."""
        try:
            hook(*arguments)
        except Exception as exc:  # noqa: BLE001 - the loop outlives whatever a hook raises
            self._log_event(event, queue=self._queue_name, **fields, error=repr(exc))


class JobRunner:
    """Works claimed jobs of one queue, each on the thread that asks for it.

    Once ``abandoned`` is set, what is not settled stays so: the locks are handed back.
    """

    def __init__(
        self,
        queue: JobQueue,
        handler: Handler,
        options: WorkerOptions,
        *,
        clock: Clock,
        reports: Reports,
        abandoned: threading.Event,
    ) -> None:
        self._queue, self._handler, self._options = queue, handler, options
        self._clock, self._reports, self._abandoned = clock, reports, abandoned

    def run(self, job: ClaimedJob) -> None:
        """Call the handler for a job, and settle what it comes to. Raises nothing."""
        with self._options.around_job(job):
            self._reports.tell("job_started", job, attempt=job.attempts_made + 1)
            self._end(self._run_handler(job))

    def fail(self, job: ClaimedJob, error: BaseException) -> None:
        """Settle a job as if its handler had raised ``error``."""
        with self._options.around_job(job):
            self._end(EndedRun(job, self._outcome_after(job, error), error))

    def _run_handler(self, job: ClaimedJob) -> EndedRun:
        try:
            check_may_run(job, self._options.rules)
            result = self._handler(job)
            # A result that cannot be written is the handler's failure, not the queue's.
            to_json(job.id, result)
            return EndedRun(job, Completion(job.id, job.token, result))
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - the loop outlives even who calls sys.exit
            return EndedRun(job, self._outcome_after(job, exc), exc)

    def _outcome_after(self, job: ClaimedJob, error: BaseException) -> Outcome:
        try:
            outcome = outcome_of(job, error, self._options.rules)
        except Exception as exc:  # noqa: BLE001 - as for the handler: the rules are the user's
            self._reports.tell_trouble("retry_rule_failed", exc, job=job.id)
            outcome = outcome_of(job, error, RunRules())
        if isinstance(outcome, Failure):
            return self._announced(job, error, outcome)
        return outcome

    def _announced(self, job: ClaimedJob, error: BaseException, failure: Failure) -> Outcome:
        """Return the failure, or another attempt if nobody could be told of it."""
        if self._options.on_final_failure is None:
            return failure
        try:
            self._options.on_final_failure(job, error)
        except Exception as exc:  # noqa: BLE001 - as for the handler
            self._reports.tell("failure_hook_failed", job, error=repr(exc))
            return retry_after(job, error, _HOOK_RETRY_MS)
        return failure

    def _end(self, run: EndedRun) -> None:
        if isinstance(run.outcome, Moved):
            self._reports.tell("job_moved", run.job, attempt=run.job.attempts_made + 1)
            return
        try:
            is_settled = self._settle(run, run.outcome)
        except QueueError as exc:
            self._reports.tell_trouble("settle_failed", exc, job=run.job.id)
            return
        if is_settled:
            hook = self._options.after_settle
            self._reports.call("after_settle_failed", hook, run, job=run.job.id)

    def _settle(self, run: EndedRun, outcome: Settled) -> bool:
        """Settle, through outages; False when it was not this that was settled."""
        while not self._abandoned.is_set():
            try:
                answer = self._settle_once(outcome)
            except QueueUnavailable as exc:
                self._reports.tell_trouble("settle_delayed", exc)
                self._clock.wait(self._abandoned, jittered(_OUTAGE_WAIT_S))
                continue
            if answer in _REFUSALS:
                error = _REFUSALS[answer](run.job)
                self._end(EndedRun(run.job, self._outcome_after(run.job, error), error))
                return False
            is_settled = answer is SettleOutcome.SETTLED
            self._tell_end(run) if is_settled else self._tell_loss(run.job)
            return is_settled
        return False

    def _settle_once(self, outcome: Settled) -> SettleOutcome:
        match outcome:
            case Completion():
                return self._queue.complete_many([outcome], self._options.completed)[0]
            case Retry():
                return self._queue.retry_many([outcome])[0]
            case Postponement():
                return self._queue.postpone_many([outcome])[0]
            case PutBack(lock=lock):
                return self._queue.release_many([lock])[0]
            case Failure():
                return self._queue.fail_many([outcome], self._options.failed)[0]

    def _tell_end(self, run: EndedRun) -> None:
        job, attempt = run.job, run.job.attempts_made + 1
        match run.outcome:
            case Completion():
                self._reports.tell("job_succeeded", job, attempt=attempt)
            case Postponement(delay_ms=delay_ms):
                self._reports.tell("job_postponed", job, attempt=attempt, delay_ms=delay_ms)
            case PutBack():
                self._reports.tell("job_put_back", job, attempt=attempt)
            case Retry(reason=reason) | Failure(reason=reason):
                is_last = run.is_final
                self._reports.tell(
                    "job_failed", job, attempt=attempt, is_last=is_last, error=reason
                )

    def _tell_loss(self, job: ClaimedJob) -> None:
        error = JobStateError(job.id, "its lock was lost; what its run came to is not settled")
        self._reports.tell_trouble("lock_lost", error, job=job.id, attempt=job.attempts_made + 1)


def jittered(wait_s: float) -> float:
    """Return a time of about ``wait_s``, so that many do not come back at once."""
    return wait_s * random.uniform(0.5, 1.5)
