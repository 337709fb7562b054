"""Settle: how the jobs of a batch are to end, as a value, and what carries it out.

A stage of its own that repeats only itself: nothing is read or stored again for it, and no attempt
is used. What was decided is carried out, or the lock is lost, and then the job is another's.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from shared.clock import Clock
from shared.dead_jobs import clear_dead_letters
from shared.errors import ItemError
from shared.logs import get_logger
from shared.models import Rank
from shared.queue import (
    Breaker,
    ClaimedJob,
    Completion,
    HeldLocks,
    JobQueue,
    Lock,
    Postponement,
    Retry,
    SettleOutcome,
    backoff_delay_ms,
)
from shared.store import DeadLetter, DeadLetterStore
from worker.dead_letters import highest_of_each_item, move_of
from worker.decisions import Outcome
from worker.epochs import EpochGuard, Judged
from worker.outages import Owner, is_outage, owner_of, pause_s

log = get_logger("worker.settle")
# The course of single jobs.
_JOB_LOG = "worker.jobs"
job_log = get_logger(_JOB_LOG)

# After an outage of MongoDB this long jobs are released, for a worker that may reach it; what is
# refused for as long is left to the stalled jobs.
GIVE_UP_AFTER_S = 300.0
# An indexer that cannot be read stays so until somebody corrects it by hand.
POSTPONED_MS = 60_000


@dataclass(frozen=True, slots=True)
class Complete:
    """The item is stored, or needs no write.

    ``clears``: item id and rank up to which its dead letters are taken back, if it has any.
    """

    job: ClaimedJob
    outcome: Outcome
    clears: tuple[str, Rank] | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The item failed by its own fault and has attempts left."""

    job: ClaimedJob
    error: ItemError


@dataclass(frozen=True, slots=True)
class RecordDeadLetter:
    """The item cannot be stored: to be recorded in MongoDB, then moved."""

    job: ClaimedJob
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class MoveDeadLetter:
    """The dead letter is on record: only the move to the dead-letter queue is left."""

    job: ClaimedJob
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Release:
    """Released to the front of the line, no attempt used."""

    job: ClaimedJob


@dataclass(frozen=True, slots=True)
class Postpone:
    """Nothing can be said of the item just now: run again after a pause, no attempt used."""

    job: ClaimedJob


JobEnd: TypeAlias = Complete | RetryLater | RecordDeadLetter | MoveDeadLetter | Release | Postpone
# How many jobs ended how: by outcome, and ``retried``, ``released``, ``postponed``, ``lock_lost``.
Counts: TypeAlias = Counter[str]
# A kind of end, and what settles all of that kind: it returns what those leave to do.
_Step: TypeAlias = tuple[type[JobEnd], Callable[[JobQueue, list[Any], Counts], Sequence[JobEnd]]]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is to be done for jobs of one queue."""

    queue: JobQueue
    ends: Sequence[JobEnd]

    @property
    def locks(self) -> list[Lock]:
        """The locks of its jobs."""
        return [end.job.lock for end in self.ends]

    def of_kind(self, kind: type[JobEnd]) -> list[JobEnd]:
        """Return the ends of one kind."""
        return [end for end in self.ends if isinstance(end, kind)]

    def without(self, kind: type[JobEnd], instead: Sequence[JobEnd] = ()) -> "Settlement":
        """Return it without the ends of a kind; ``instead`` is what those leave to do."""
        others = [end for end in self.ends if not isinstance(end, kind)]
        return replace(self, ends=[*others, *instead])

    def kept(self, locks: Collection[Lock]) -> "Settlement":
        """Return it with the jobs of these locks only."""
        return replace(self, ends=[end for end in self.ends if end.job.lock in locks])

    def halves(self) -> "list[Settlement]":
        """Return it in two parts; one job stays whole."""
        if len(self.ends) < 2:
            return [self]
        middle = len(self.ends) // 2
        return [replace(self, ends=part) for part in (self.ends[:middle], self.ends[middle:])]

    def released(self) -> "Settlement":
        """Return the settlement that only releases the jobs."""
        return replace(self, ends=[Release(end.job) for end in self.ends])


class Settler:
    """Carries settlements out, however long a store is away. Safe for threads."""

    def __init__(
        self,
        *,
        letters: DeadLetterStore,
        epochs: EpochGuard,
        dead_letter_queue: JobQueue,
        held: HeldLocks,
        breaker: Breaker,
        clock: Clock,
    ) -> None:
        self._letters = letters
        self._epochs = epochs
        self._dead_letter_queue = dead_letter_queue
        self._held = held
        self._breaker = breaker
        self._clock = clock
        # One call a kind of end, each safe to repeat.
        self._steps: Sequence[_Step] = (
            (Complete, self._complete),
            (RetryLater, self._retry),
            (RecordDeadLetter, self._record),
            (MoveDeadLetter, self._move),
            (Postpone, self._postpone),
            (Release, self._release),
        )

    def run(self, settlement: Settlement, stop: threading.Event) -> Counts | None:
        """Carry out a settlement; return what was done, None when it was stopped midway.

        The locks of jobs that are left then are still held.
        """
        started_s = self._clock.monotonic_s()
        counts: Counts = Counter()
        parts = [settlement]
        failures = 0
        while not stop.is_set():
            parts = self._run_once(parts, counts)
            if not parts:
                return counts
            failures += 1
            self._clock.wait(stop, pause_s(failures))
            if self._clock.monotonic_s() - started_s > GIVE_UP_AFTER_S:
                parts = self._without_refused(parts)
        return None

    def _run_once(self, parts: Sequence[Settlement], counts: Counts) -> list[Settlement]:
        """Try each part; return what is left, a part that is refused in halves."""
        left: list[Settlement] = []
        for position, part in enumerate(parts):
            rest, error = self._try(part, counts)
            if error is None:
                continue
            if is_outage(error):
                # The others would wait for the same store.
                return [*left, rest, *parts[position + 1 :]]
            left += rest.halves()
        return left

    def _try(self, settlement: Settlement, counts: Counts) -> tuple[Settlement, Exception | None]:
        """Do what can be done; return what is left, and the error that left it."""
        queue = settlement.queue
        left = held = settlement.kept(self._held.still_held(queue, settlement.locks))
        error = None
        try:
            for kind, settle in self._steps:
                ends = left.of_kind(kind)
                if ends:
                    left = left.without(kind, settle(queue, ends, counts))
        except Exception as exc:  # noqa: BLE001 - sorted and logged in _note; it must not be lost
            error = exc
        self._held.remove(queue, set(held.locks) - set(left.locks))
        if error is not None:
            return self._note(left, error), error
        # What is only released says nothing about MongoDB.
        if any(not isinstance(end, Release) for end in held.ends):
            self._breaker.close()
        return left, None

    def _note(self, left: Settlement, error: Exception) -> Settlement:
        """Log a failure and stop the claims in an outage; return what to try next."""
        about = {"queue": left.queue.name, "jobs": len(left.ends)}
        if not is_outage(error):
            if owner_of(error) is Owner.OURSELVES:
                log.error("settle_failed", exc_info=error, **about)
            else:
                log.warning("settle_refused", error=str(error), **about)
            return left
        log.warning("settle_waits", error=str(error), **about)
        self._breaker.trip(str(error))
        is_long = self._breaker.open_for_s() > GIVE_UP_AFTER_S
        return left.released() if is_long and owner_of(error) is Owner.STORE else left

    def _without_refused(self, parts: Sequence[Settlement]) -> list[Settlement]:
        """Let go of single jobs that cannot be settled, though a store answers: they stall then.

        A stalled job is run again, alone at last; handing it back would only repeat this.
        """
        if self._breaker.is_open:
            return list(parts)
        kept: list[Settlement] = []
        for part in parts:
            if len(part.ends) > 1:
                kept.append(part)
                continue
            self._held.remove(part.queue, part.locks)
            jobs = [end.job.id for end in part.ends]
            log.error("job_not_settled", queue=part.queue.name, jobs=jobs)
        return kept

    def _complete(self, queue: JobQueue, done: list[Complete], counts: Counts) -> Sequence[JobEnd]:
        # Before the jobs go: until then somebody comes back to it after a crash.
        cleared = dict(end.clears for end in done if end.clears is not None)
        clear_dead_letters(self._letters, self._dead_letter_queue, cleared)
        outcomes = queue.complete_many(
            [Completion(end.job.id, end.job.token, str(end.outcome), end.outcome) for end in done]
        )
        counts.update(str(end.outcome) for end in done)
        ends = ((end.job, str(end.outcome)) for end in done)
        _report("job_succeeded", queue, ends, outcomes, counts)
        return ()

    def _retry(self, queue: JobQueue, failed: list[RetryLater], counts: Counts) -> Sequence[JobEnd]:
        outcomes = queue.retry_many([_retry(end) for end in failed])
        counts["retried"] += len(failed)
        ends = ((end.job, str(end.error)) for end in failed)
        _report("job_failed", queue, ends, outcomes, counts)
        return ()

    def _record(
        self, queue: JobQueue, failed: list[RecordDeadLetter], counts: Counts
    ) -> Sequence[JobEnd]:
        unrecorded = self._end_unrecorded(failed)
        fresh = [end for end in failed if end.job.id not in unrecorded]
        self._letters.record_many(highest_of_each_item(end.letter for end in fresh))
        done = [end for end in unrecorded.values() if isinstance(end, Complete)]
        if done:
            self._complete(queue, done, counts)
        moves: list[JobEnd] = [MoveDeadLetter(end.job, end.letter) for end in fresh]
        return moves + [end for end in unrecorded.values() if isinstance(end, Postpone)]

    def _end_unrecorded(self, failed: list[RecordDeadLetter]) -> dict[str, Complete | Postpone]:
        """Return by job id how those end whose failure is not to be recorded."""
        # What was rolled back is judged afresh when it is read again.
        judged = self._epochs.judge_jobs(end.job for end in failed)
        unwritten = judged.stale | judged.unknown
        ended = {
            end.job.id: end_unwritten(end.job, judged) for end in failed if end.job.id in unwritten
        }
        # What an operator removed is not to be listed again.
        contents = {
            end.job.id: (end.letter.item_id, end.letter.content_hash)
            for end in failed
            if end.job.id not in unwritten
        }
        removed = self._letters.select_removed(contents.values())
        return ended | {
            end.job.id: Complete(end.job, Outcome.REMOVED)
            for end in failed
            if contents.get(end.job.id) in removed
        }

    def _move(
        self, queue: JobQueue, dead: list[MoveDeadLetter], counts: Counts
    ) -> Sequence[JobEnd]:
        moves = [move_of(end.job, end.letter) for end in dead]
        outcomes = queue.dead_letter_many(moves, self._dead_letter_queue)
        counts[Outcome.DEAD] += len(dead)
        ends = ((end.job, end.letter.reason) for end in dead)
        _report("job_failed", queue, ends, outcomes, counts)
        return ()

    def _postpone(
        self, queue: JobQueue, postponed: list[Postpone], counts: Counts
    ) -> Sequence[JobEnd]:
        outcomes = queue.postpone_many(
            [Postponement(end.job.id, end.job.token, POSTPONED_MS) for end in postponed]
        )
        counts["postponed"] += len(postponed)
        counts["lock_lost"] += outcomes.count(SettleOutcome.LOCK_LOST)
        return ()

    def _release(
        self, queue: JobQueue, released: list[Release], counts: Counts
    ) -> Sequence[JobEnd]:
        outcomes = queue.release_many([end.job.lock for end in released])
        counts["released"] += len(released)
        counts["lock_lost"] += outcomes.count(SettleOutcome.LOCK_LOST)
        return ()


def end_unwritten(job: ClaimedJob, judged: Judged) -> Complete | Postpone:
    """Return how a job ends that is not to be stored, by what its epoch was judged to be."""
    return Complete(job, Outcome.SUPERSEDED) if job.id in judged.stale else Postpone(job)


def _report(
    event: str,
    queue: JobQueue,
    ends: Iterable[tuple[ClaimedJob, str]],
    outcomes: Sequence[SettleOutcome],
    counts: Counts,
) -> None:
    """Count the lost locks, and log at DEBUG how each job ended.

    ``ends`` names with each job its outcome or what went wrong, in the order of ``outcomes``; it is
    read only when somebody listens.
    """
    counts["lock_lost"] += outcomes.count(SettleOutcome.LOCK_LOST)
    if not _are_jobs_logged():
        return
    for (job, detail), outcome in zip(ends, outcomes, strict=True):
        is_ours = outcome is SettleOutcome.SETTLED
        job_log.debug(event if is_ours else "job_lock_lost", **_about(queue, job), detail=detail)


def log_started(queue: JobQueue, jobs: Sequence[ClaimedJob]) -> None:
    """Log each job that was claimed, at DEBUG."""
    if _are_jobs_logged():
        for job in jobs:
            job_log.debug("job_started", **_about(queue, job))


def _are_jobs_logged() -> bool:
    return logging.getLogger(_JOB_LOG).isEnabledFor(logging.DEBUG)


def _about(queue: JobQueue, job: ClaimedJob) -> dict[str, object]:
    return {
        "queue": queue.name,
        "job": job.id,
        "import_id": job.tally,
        "attempt": job.attempts_made + 1,
    }


def _retry(end: RetryLater) -> Retry:
    return Retry(
        job_id=end.job.id,
        token=end.job.token,
        reason=str(end.error),
        stacktrace="",
        delay_ms=backoff_delay_ms(end.job.backoff, end.job.attempts_made + 1),
    )
