"""What a run of a handler comes to: done, tried again, put back, failed. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.errors import (
    DelayedError,
    DoomedJob,
    JobMoved,
    Postponed,
    RateLimitError,
    UnrecoverableError,
    WaitingChildrenError,
    WaitingError,
)
from shared.queue.job import (
    BACKOFF_TYPES,
    MAX_DELAY_MS,
    ClaimedJob,
    Completion,
    Failure,
    Lock,
    Postponement,
    Retry,
    backoff_delay_ms,
)
from shared.reasons import reason_of, stack_of


@dataclass(frozen=True, slots=True)
class PutBack:
    """A job that goes back to the front of the line; nothing was tried."""

    lock: Lock


@dataclass(frozen=True, slots=True)
class Moved:
    """A job that its handler has moved itself: nothing is to settle."""


Settled = Completion | Retry | Postponement | PutBack | Failure
Outcome = Settled | Moved

# Given the attempts made (this one, too), the type, the error and the job.
Backoff = Callable[[int, str, BaseException, ClaimedJob], float]

_MOVED = (JobMoved, DelayedError, WaitingError, WaitingChildrenError)


def is_recoverable(error: BaseException) -> bool:
    """Return whether another attempt may help, as BullMQ takes it: after any other error than one.

    ``UnrecoverableError`` is known by its name too, so that code need not import ours.
    """
    return not _is(error, UnrecoverableError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRules:
    """What a worker makes of errors. ``may_retry``: after which of them another attempt may help.

    A job is tried again only while it has attempts left. ``backoff`` is asked for the delay (ms) of
    a job whose ``backoff`` is of a type that BullMQ does not know; a negative one is no further
    attempt. A job that was started more than ``max_started_attempts`` times fails without a run, as
    one that its worker crashes on; 0 is no limit.
    """

    may_retry: Callable[[BaseException], bool] = is_recoverable
    backoff: Backoff | None = None
    max_started_attempts: int = 0


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

    ``Postponed`` puts it back for its ``delay_ms``, ``RateLimitError`` at once; with ``JobMoved``
    it is elsewhere already. Else it is tried again, after its backoff, while attempts remain and
    ``rules`` allow it; then it fails. A doomed job always fails.
    """
    if isinstance(error, Postponed):
        return Postponement(job.id, job.token, error.delay_ms)
    # Not by its name: clients of web services have errors of that name, which mean another limit.
    if isinstance(error, RateLimitError):
        return PutBack(job.lock)
    if has_moved(error):
        return Moved()
    if _may_retry(job, error, rules):
        delay_ms = _delay_after(job, error, rules)
        if delay_ms >= 0:
            return retry_after(job, error, delay_ms)
    return Failure(job.id, job.token, reason_of(error), stack_of(error))


def has_moved(error: BaseException) -> bool:
    """Return whether a handler raises it when it has moved its job itself."""
    return any(_is(error, kind) for kind in _MOVED)


def check_may_run(job: ClaimedJob, rules: RunRules) -> None:
    """Refuse to run a job that can only fail.

    Raises:
        DoomedJob: why it has to fail.
    """
    if job.deferred_failure is not None:
        raise DoomedJob(job.deferred_failure)
    if 0 < rules.max_started_attempts < job.attempts_started:
        raise DoomedJob("job started more than allowable limit")


def _may_retry(job: ClaimedJob, error: BaseException, rules: RunRules) -> bool:
    if isinstance(error, DoomedJob) or job.attempts_made + 1 >= job.max_attempts:
        return False
    is_worn_out = 0 < rules.max_started_attempts <= job.attempts_started
    return not is_worn_out and rules.may_retry(error)


def _delay_after(job: ClaimedJob, error: BaseException, rules: RunRules) -> int:
    """Return the delay in ms before the next attempt; less than 0 for none."""
    attempts_made, backoff = job.attempts_made + 1, job.backoff
    kind = backoff.get("type") if isinstance(backoff, Mapping) else "fixed"
    if rules.backoff is None or not isinstance(kind, str) or kind in BACKOFF_TYPES:
        return backoff_delay_ms(backoff, attempts_made)
    return int(min(rules.backoff(attempts_made, kind, error, job), MAX_DELAY_MS))


def retry_after(job: ClaimedJob, error: BaseException, delay_ms: int) -> Retry:
    """Return that a job is tried again in ``delay_ms``; it has used an attempt."""
    return Retry(job.id, job.token, reason_of(error), stack_of(error), delay_ms)


def _is(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether it is such an error, or one of another library's by the same name."""
    return isinstance(error, kind) or type(error).__name__ == kind.__name__
