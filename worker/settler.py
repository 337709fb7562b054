"""Carries out a settlement: a stage of its own that repeats only itself."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from shared.clock import Clock
from shared.dead_jobs import clear_dead_letters
from shared.logs import get_logger
from shared.queue import Completion, JobQueue, Retry, SettleOutcome, backoff_delay_ms
from shared.store import Stores
from worker.breaker import Breaker
from worker.dead_letters import highest_of_each_item, move_of
from worker.decisions import Outcome
from worker.failures import Owner, is_outage, owner_of, pause_s
from worker.holdings import Holdings
from worker.job_log import log_settled
from worker.settlement import (
    Complete,
    JobEnd,
    MoveDeadLetter,
    RecordDeadLetter,
    Release,
    RetryLater,
    Settlement,
    lock_of,
)

log = get_logger("worker.settle")

# An outage of MongoDB that lasts longer hands jobs back, for a worker that may reach it; what is
# refused for as long is left to the stalled jobs.
GIVE_UP_AFTER_S = 300.0

End = TypeVar("End", Complete, RetryLater, RecordDeadLetter, MoveDeadLetter, Release)


class Settler:
    """Settles jobs, one call a kind of end. Safe for threads, and safe to repeat."""

    def __init__(self, *, stores: Stores, dead_letter_queue: JobQueue) -> None:
        self._letters = stores.dead_letters
        self._dead_letter_queue = dead_letter_queue

    def settle(self, settlement: Settlement) -> None:
        """Do what is left of a settlement, and take each part out as it is done.

        Raises:
            StoreError, QueueError: call again; only what is left is done then.
        """
        steps: tuple[Callable[[Settlement], None], ...] = (
            self._complete,
            self._retry,
            self._record,
            self._move,
            self._release,
        )
        for step in steps:
            step(settlement)

    def _complete(self, settlement: Settlement) -> None:
        done = _of_kind(settlement, Complete)
        if not done:
            return
        # Before the jobs go: until then somebody comes back to it after a crash.
        cleared = dict(end.clears for end in done if end.clears is not None)
        clear_dead_letters(self._letters, self._dead_letter_queue, cleared)
        outcomes = settlement.queue.complete_many(
            [Completion(end.job.id, end.job.token, str(end.outcome), end.outcome) for end in done]
        )
        settlement.report.outcomes.update(end.outcome for end in done)
        _finish(settlement, done, outcomes)
        ends = ((end.job, str(end.outcome)) for end in done)
        log_settled("job_succeeded", settlement.queue, ends, outcomes)

    def _retry(self, settlement: Settlement) -> None:
        failed = _of_kind(settlement, RetryLater)
        if not failed:
            return
        outcomes = settlement.queue.retry_many([_retry(end) for end in failed])
        settlement.report.retried += len(failed)
        _finish(settlement, failed, outcomes)
        ends = ((end.job, str(end.error)) for end in failed)
        log_settled("job_failed", settlement.queue, ends, outcomes)

    def _record(self, settlement: Settlement) -> None:
        failed = _of_kind(settlement, RecordDeadLetter)
        if failed:
            self._letters.record_many(highest_of_each_item(end.letter for end in failed))
            settlement.replace(failed, [MoveDeadLetter(end.job, end.letter) for end in failed])

    def _move(self, settlement: Settlement) -> None:
        dead = _of_kind(settlement, MoveDeadLetter)
        if not dead:
            return
        moves = [move_of(end.job, end.letter) for end in dead]
        outcomes = settlement.queue.dead_letter_many(moves, self._dead_letter_queue)
        settlement.report.outcomes[Outcome.DEAD] += len(dead)
        _finish(settlement, dead, outcomes)
        ends = ((end.job, end.letter.reason) for end in dead)
        log_settled("job_failed", settlement.queue, ends, outcomes)

    def _release(self, settlement: Settlement) -> None:
        released = _of_kind(settlement, Release)
        if released:
            outcomes = settlement.queue.release_many([lock_of(end.job) for end in released])
            settlement.report.released += len(released)
            _finish(settlement, released, outcomes)


class SettlementRunner:
    """Repeats settlements until they are done, however long a store is away. Safe for threads.

    Nothing is read or written again for it, and no attempt is used: what was decided is carried
    out, or the lock is lost, and then the job is another's.
    """

    def __init__(
        self, *, settler: Settler, holdings: Holdings, breaker: Breaker, clock: Clock
    ) -> None:
        self._settler = settler
        self._holdings = holdings
        self._breaker = breaker
        self._clock = clock

    def run(self, settlement: Settlement, stop: threading.Event) -> bool:
        """Carry out a settlement; answer whether it is done.

        Stopped midway, the jobs that are left stay in the holdings.
        """
        started_s = self._clock.monotonic_s()
        parts = [settlement]
        failures = 0
        while parts and not stop.is_set():
            parts = self._run_once(parts)
            if not parts:
                break
            failures += 1
            self._clock.wait(stop, pause_s(failures))
            if self._clock.monotonic_s() - started_s > GIVE_UP_AFTER_S:
                parts = self._without_refused(parts)
        return not parts

    def _run_once(self, parts: Sequence[Settlement]) -> list[Settlement]:
        """Try each part; return what is left, a part that is refused in halves."""
        left: list[Settlement] = []
        for position, part in enumerate(parts):
            error = self._try(part)
            if error is None:
                continue
            if is_outage(error):
                # The others would wait for the same store.
                return [*left, *parts[position:]]
            left += part.halves()
        return left

    def _try(self, settlement: Settlement) -> Exception | None:
        settlement.keep(lambda lock: self._holdings.holds(settlement.queue, lock))
        before = settlement.locks
        # What is only handed back says nothing about MongoDB.
        was_stored = any(not isinstance(end, Release) for end in settlement.ends)
        try:
            self._settler.settle(settlement)
        except Exception as exc:  # noqa: BLE001 - sorted and logged in _note; it must not be lost
            self._note(settlement, exc)
            return exc
        finally:
            left = set(settlement.locks)
            settled = [lock for lock in before if lock not in left]
            self._holdings.remove(settlement.queue, settled)
        if was_stored:
            self._breaker.close()
        return None

    def _note(self, settlement: Settlement, error: Exception) -> None:
        """Log a failure, stop the claims in an outage, and end a long one of MongoDB's."""
        about = {"queue": settlement.queue.name, "jobs": len(settlement.ends)}
        if not is_outage(error):
            if owner_of(error) is Owner.OURSELVES:
                log.exception("settle_failed", **about)
            else:
                log.warning("settle_refused", error=str(error), **about)
            return
        log.warning("settle_waits", error=str(error), **about)
        self._breaker.trip(str(error))
        if owner_of(error) is Owner.STORE and self._breaker.open_for_s() > GIVE_UP_AFTER_S:
            settlement.release_all()

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
            self._holdings.remove(part.queue, part.locks)
            log.error(
                "job_not_settled", queue=part.queue.name, jobs=[end.job.id for end in part.ends]
            )
        return kept


def _of_kind(settlement: Settlement, kind: type[End]) -> list[End]:
    return [end for end in settlement.ends if isinstance(end, kind)]


def _finish(
    settlement: Settlement, done: Sequence[JobEnd], outcomes: Iterable[SettleOutcome]
) -> None:
    settlement.replace(done)
    lost = sum(outcome is SettleOutcome.LOCK_LOST for outcome in outcomes)
    settlement.report.lock_lost += lost


def _retry(end: RetryLater) -> Retry:
    return Retry(
        job_id=end.job.id,
        token=end.job.token,
        reason=str(end.error),
        stacktrace="",
        delay_ms=backoff_delay_ms(end.job.backoff, end.job.attempts_made + 1),
    )
