"""Runs the handler on one claimed job and settles what comes of it."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from shared.clock import Clock
from shared.errors import DoomedJob, JobStateError, Postponed, UnencodableJob
from shared.queue.job import ClaimedJob, Completion, Failure, Postponement, Retry
from shared.queue.job_queue import JobQueue
from shared.queue.reports import Reports
from shared.queue.runs import (
    EndedRun,
    Outcome,
    PutBack,
    RunRules,
    check_may_run,
    outcome_of,
    retry_after,
)
from shared.queue.schedule_keeper import ScheduleKeeper
from shared.queue.settling import Settler
from shared.queue.wire import to_json
from shared.queue.worker_options import WorkerOptions
from shared.reasons import shown

Handler = Callable[[ClaimedJob], object]

_HOOK_RETRY_MS = 5_000


class JobRunner:
    """Works claimed jobs of one queue, each on the thread that asks for it.

    Once ``abandoned`` is set, what is not settled stays so: the locks are handed back.
    """

    def __init__(
        self,
        queue: JobQueue,
        handler: Handler,
        options: WorkerOptions,
        clock: Clock,
        reports: Reports,
        abandoned: threading.Event,
    ) -> None:
        self._handler, self._options, self._reports = handler, options, reports
        self._settler = Settler(queue, options, clock=clock, reports=reports, abandoned=abandoned)
        self._schedules = ScheduleKeeper(queue, clock=clock, reports=reports, abandoned=abandoned)

    def run(self, job: ClaimedJob) -> None:
        """Call the handler for a job, and settle what it comes to.

        Where ``around_job`` fails, the job's run ends with its error. Raises nothing but Ctrl-C.
        """
        with ExitStack() as around:
            error = self._enter(around, job)
            try:
                if not self.begin(job):
                    return
            except Postponed as exc:
                error = exc
            ended = self._run_handler(job) if error is None else self.ended_by(job, error)
            self.end_all([ended])

    def begin(self, job: ClaimedJob) -> bool:
        """Report that a job's run begins, and make the next job of its scheduler.

        False when that could not be done before all was abandoned: it is not to run.

        Raises:
            Postponed: it is to be left to others, as if its handler had raised that.
        """
        may_run = self._schedules.keep(job)
        if may_run:
            self._reports.report("job_started", job, attempt=job.attempts_made + 1)
        return may_run

    def fail_all(self, jobs: Sequence[ClaimedJob], error: BaseException) -> None:
        """Settle jobs as if their handlers had raised ``error``, each by its own attempts."""
        with ExitStack() as around:
            for job in jobs:
                self._enter(around, job)
            self.end_all([self.ended_by(job, error) for job in jobs])

    def end_all(self, runs: Sequence[EndedRun]) -> None:
        """Settle runs that have ended, those that ended alike in one call. Raises nothing."""
        for run in runs:
            self._report_to_breaker(run)
        refused = self._settler.settle(runs)
        if refused:
            self.end_all([self.ended_by(job, error) for job, error in refused])

    def ended(self, job: ClaimedJob, outcome: object) -> EndedRun:
        """Return what a job's run comes to: an error, or a result; nothing is settled yet."""
        if isinstance(outcome, BaseException):
            return self.ended_by(job, outcome)
        try:
            # A result that cannot be written is the handler's failure, not the queue's.
            to_json(job.id, outcome)
        except UnencodableJob as exc:
            return self.ended_by(job, exc)
        return EndedRun(job, Completion(job.id, job.token, outcome))

    def ended_by(self, job: ClaimedJob, error: BaseException) -> EndedRun:
        """Return what a job's run comes to that ended with ``error``; nothing is settled yet."""
        return EndedRun(job, self._outcome_after(job, error), error)

    def _enter(self, around: ExitStack, job: ClaimedJob) -> BaseException | None:
        """Enter what is around a job; return why that failed. A failing end is only logged."""
        try:
            with ExitStack() as entered:
                entered.enter_context(self._options.around_job(job))
                leave = entered.pop_all().close
        except BaseException as exc:
            if is_ctrl_c(exc):
                raise
            self._reports.report_trouble("around_job_failed", exc, job=job.id)
            return exc
        around.callback(self._reports.call, "around_job_failed", leave, job=job.id)
        return None

    def _run_handler(self, job: ClaimedJob) -> EndedRun:
        try:
            check_may_run(job, self._options.rules)
            return self.ended(job, self._handler(job))
        except BaseException as exc:
            # The loop outlives even who calls sys.exit.
            if is_ctrl_c(exc):
                raise
            return self.ended_by(job, exc)

    def _report_to_breaker(self, run: EndedRun) -> None:
        breaker = self._options.breaker
        if breaker is None:
            return
        if isinstance(run.outcome, Completion):
            breaker.note_success(run.job.lock)
        breaker.leave(run.job.lock)

    def _outcome_after(self, job: ClaimedJob, error: BaseException) -> Outcome:
        try:
            outcome = outcome_of(job, error, self._options.rules)
            outcome = self._spared(job, error, outcome) or outcome
        except Exception as exc:  # noqa: BLE001 - as for the handler: the rules are the user's
            self._reports.report_trouble("retry_rule_failed", exc, job=job.id)
            outcome = outcome_of(job, error, RunRules())
        if isinstance(outcome, Failure):
            return self._announced(job, error, outcome)
        return outcome

    def _spared(
        self, job: ClaimedJob, error: BaseException, outcome: Outcome
    ) -> PutBack | Postponement | None:
        """Return where a job goes that failed by what it needs, with the breaker open."""
        breaker = self._options.breaker
        is_failed = isinstance(outcome, Retry | Failure)
        if breaker is None or not is_failed or isinstance(error, DoomedJob | JobStateError):
            return None
        again_s = breaker.note_failure(job.lock, error)
        if again_s is None:
            return None
        if again_s == 0:
            return PutBack(job.lock)
        return Postponement(job.id, job.token, int(again_s * 1000))

    def _announced(self, job: ClaimedJob, error: BaseException, failure: Failure) -> Outcome:
        """Return the failure, or another attempt if nobody could be told of it."""
        if self._options.on_final_failure is None:
            return failure
        try:
            self._options.on_final_failure(job, error)
        except Exception as exc:  # noqa: BLE001 - as for the handler
            self._reports.report("failure_hook_failed", job, error=shown(exc))
            return retry_after(job, error, _HOOK_RETRY_MS)
        return failure


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether an error ends the program: Ctrl-C comes to the main thread alone."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and isinstance(error, KeyboardInterrupt)
