"""Settles what runs came to, those that ended alike in one call, through outages."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.clock import Clock
from shared.errors import JobStateError, QueueError, QueueUnavailable, UnrecoverableError
from shared.queue.dead_letters import move_failed
from shared.queue.job import (
    ClaimedJob,
    Completion,
    Failure,
    Postponement,
    Retry,
    SettleOutcome,
)
from shared.queue.job_queue import JobQueue
from shared.queue.reports import Reports
from shared.queue.runs import EndedRun, Moved, PutBack
from shared.queue.worker_options import WorkerOptions

_OUTAGE_WAIT_S = 1.0

# What becomes of a job that its handler has done, but that may not complete.
_REFUSALS: Mapping[SettleOutcome, Callable[[ClaimedJob], QueueError]] = {
    SettleOutcome.HAS_CHILDREN: lambda job: JobStateError(
        job.id, "it cannot complete: children of it are not done; let it wait for them"
    ),
    SettleOutcome.CHILD_FAILED: lambda job: UnrecoverableError(
        f"job {job.id[:80]!r} cannot complete: a child has failed it"
    ),
}
_Refused = list[tuple[ClaimedJob, QueueError]]


class Settler:
    """Settles runs of one queue's jobs, on the thread that asks for it.

    Once ``abandoned`` is set, what is not settled stays so: the locks are handed back.
    """

    def __init__(
        self,
        queue: JobQueue,
        options: WorkerOptions,
        *,
        clock: Clock,
        reports: Reports,
        abandoned: threading.Event,
    ) -> None:
        self._queue, self._options = queue, options
        self._clock, self._reports, self._abandoned = clock, reports, abandoned
        self._calls: Mapping[type, Callable[[list[Any]], list[SettleOutcome]]] = {
            Completion: lambda ended: queue.complete_many(ended, options.completed),
            Retry: queue.retry_many,
            Postponement: queue.postpone_many,
            PutBack: lambda ended: queue.release_many([each.lock for each in ended]),
            Failure: lambda ended: queue.fail_many(ended, options.failed),
        }

    def settle(self, runs: Sequence[EndedRun]) -> _Refused:
        """Settle runs, and report it; return the jobs that may not complete, and why.

        An error of Redis about one of them does not concern the others. Raises nothing.
        """
        by_kind: dict[type, list[EndedRun]] = defaultdict(list)
        for run in runs:
            by_kind[type(run.outcome)].append(run)
        for run in by_kind.pop(Moved, ()):
            self._reports.report("job_moved", run.job, attempt=run.job.attempts_made + 1)
        return [each for kind, alike in by_kind.items() for each in self._settle(kind, alike)]

    def _settle(self, kind: type, runs: list[EndedRun]) -> _Refused:
        try:
            answers = self._call(kind, runs)
        except QueueError as exc:
            if len(runs) > 1:
                return [each for run in runs for each in self._settle(kind, [run])]
            self._reports.report_trouble("settle_failed", exc, job=runs[0].job.id)
            return []
        pairs = list(zip(runs, answers, strict=False))
        for run, answer in pairs:
            if answer not in _REFUSALS:
                self._report(run, answer)
        return [(run.job, _REFUSALS[to](run.job)) for run, to in pairs if to in _REFUSALS]

    def _call(self, kind: type, runs: list[EndedRun]) -> list[SettleOutcome]:
        """Settle runs that ended alike, through outages; nothing once all is abandoned."""
        dead_letters = self._options.dead_letters
        while not self._abandoned.is_set():
            try:
                if kind is Failure and dead_letters is not None:
                    return move_failed(self._queue, runs, dead_letters, self._options.failed)
                return self._calls[kind]([run.outcome for run in runs])
            except QueueUnavailable as exc:
                self._reports.report_trouble("settle_delayed", exc)
                self._clock.wait(self._abandoned, jittered(_OUTAGE_WAIT_S))
        return []

    def _report(self, run: EndedRun, answer: SettleOutcome) -> None:
        job = run.job
        if answer is SettleOutcome.SETTLED:
            self._report_end(run)
            hook = self._options.after_settle
            self._reports.call("after_settle_failed", hook, run, job=job.id)
        else:
            error = JobStateError(job.id, "its lock was lost; what its run came to is not settled")
            attempt = job.attempts_made + 1
            self._reports.report_trouble("lock_lost", error, job=job.id, attempt=attempt)

    def _report_end(self, run: EndedRun) -> None:
        job, attempt = run.job, run.job.attempts_made + 1
        match run.outcome:
            case Completion():
                self._reports.report("job_succeeded", job, attempt=attempt)
            case Postponement(delay_ms=delay_ms):
                self._reports.report("job_postponed", job, attempt=attempt, delay_ms=delay_ms)
            case PutBack():
                self._reports.report("job_put_back", job, attempt=attempt)
            case Retry(reason=reason) | Failure(reason=reason):
                is_last = run.is_final
                self._reports.report(
                    "job_failed", job, attempt=attempt, is_last=is_last, error=reason
                )


def jittered(wait_s: float) -> float:
    """Return a time of about ``wait_s``, so that many do not come back at once."""
    return wait_s * random.uniform(0.5, 1.5)
