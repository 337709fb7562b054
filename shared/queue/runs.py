"""What a run of a handler comes to: done, tried again, put back, failed. Pure."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import DoomedJob, Postponed, UnrecoverableError
from shared.queue.job import (
    ClaimedJob,
    Completion,
    Failure,
    Postponement,
    Retry,
    backoff_delay_ms,
)

Outcome = Completion | Retry | Postponement | Failure


def is_recoverable(error: BaseException) -> bool:
    """Return whether another attempt may help, as BullMQ takes it: after any other error than one.

    ``UnrecoverableError`` is known by its name too, so that code need not import ours.
    """
    return not isinstance(error, UnrecoverableError) and (
        type(error).__name__ != UnrecoverableError.__name__
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRules:
    """What a worker makes of errors. ``may_retry``: after which of them another attempt may help.

    A job is tried again only while it has attempts left.
    """

    may_retry: Callable[[BaseException], bool] = is_recoverable


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended; ``error`` is what its handler raised, or why it was not called."""

    job: ClaimedJob
    outcome: Outcome
    error: BaseException | None = None

    @property
    def is_final(self) -> bool:
        """Whether its job is completed or failed for good."""
        return isinstance(self.outcome, Completion | Failure)


def outcome_of(job: ClaimedJob, error: BaseException, rules: RunRules) -> Outcome:
    """Return what becomes of a job after its handler raised ``error``.

    ``Postponed`` puts it back for its ``delay_ms``. Else it is tried again, after its backoff,
    while attempts remain and ``rules`` allow it; then it fails. A doomed job always fails.
    """
    if isinstance(error, Postponed):
        return Postponement(job.id, job.token, error.delay_ms)
    attempts_made = job.attempts_made + 1
    is_doomed = isinstance(error, DoomedJob)
    if not is_doomed and attempts_made < job.max_attempts and rules.may_retry(error):
        return retry_after(job, error, backoff_delay_ms(job.backoff, attempts_made))
    return Failure(job.id, job.token, reason_of(error), _stack_of(error))


def retry_after(job: ClaimedJob, error: BaseException, delay_ms: int) -> Retry:
    """Return that a job is tried again in ``delay_ms``; it has used an attempt."""
    return Retry(job.id, job.token, reason_of(error), _stack_of(error), delay_ms)


def reason_of(error: BaseException) -> str:
    """Return an error's text, for people; never an empty one."""
    return str(error) or repr(error)


def _stack_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
