"""The worker's loop: claim what there is room for, buffer it, flush what is due."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from shared.clock import Clock
from shared.errors import QueueError, StoreError
from shared.logs import get_logger
from shared.queue import (
    Admission,
    BlockedBy,
    Breaker,
    HeldLocks,
    JobQueue,
    Lock,
    Met,
    Postponement,
    RedisConnection,
    SoloGate,
    wait_for_work,
)
from shared.store import Stores
from shared.supervision import Supervisor
from worker.buffer import Buffer
from worker.claiming import Claimer, Taken
from worker.decoding import DecodedItem
from worker.flush_pool import FlushPool
from worker.outages import pause_s
from worker.settling import RecordDeadLetter, Settlement, Settler
from worker.storing import BatchRunner

log = get_logger("worker.consumer")

# Longest sleep: how late a stop, or work without a marker, may be noticed.
MAX_REST_S = 1.0
# While a flush is under way its end may make room, and new jobs may come: look often.
BUSY_REST_S = 0.05
STOP_FLUSH_S = 3.0
# How long a job rests whose flush failed by an error of ours.
PUT_OFF_MS = 60_000
# Together with MAX_CLAIM_BYTES of a claim this bounds a worker's memory.
MAX_HELD_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """How many jobs one worker may hold, and from how many bytes of them it claims no more."""

    batch_size: int
    concurrency: int
    held_bytes: int = MAX_HELD_BYTES

    @property
    def max_held(self) -> int:
        """Most jobs held."""
        return self.batch_size * self.concurrency


@dataclass(frozen=True, slots=True)
class ConsumerParts:
    """What the consumer drives."""

    claimer: Claimer
    buffer: Buffer
    pool: FlushPool
    batches: BatchRunner
    settler: Settler
    held: HeldLocks
    gate: SoloGate
    breaker: Breaker
    stores: Stores


class Consumer:
    """Drives claims, buffers and flushes on one thread; the flushes run on the pool's."""

    def __init__(
        self,
        *,
        queues: Sequence[JobQueue],
        wake_connection: RedisConnection,
        parts: ConsumerParts,
        limits: ConsumerLimits,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._queues = list(queues)
        self._wake_connection = wake_connection
        self._parts = parts
        self._limits = limits
        self._clock = clock
        self._supervisor = supervisor
        self._abandon = threading.Event()
        self._is_draining = False
        self._solo_queue: JobQueue | None = None
        self._failures = 0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then hand over; returns within about 4 s of it.

        Returns also when the supervisor gave the loop up, after the same hand-over.
        """
        self._supervisor.loop("consumer", partial(self._turn, stop), stop).run()
        self.hand_over()

    def _turn(self, stop: threading.Event) -> float:
        """Do one step and rest until there may be work; an outage of a store is waited for."""
        try:
            seen_finished = self._parts.pool.finished
            taken = self.step()
            self._rest(taken, seen_finished, stop)
            # Not before: what waiting for jobs meets has to back off as well.
            self._failures = 0
        except QueueError as exc:
            self._failures += 1
            log.warning("queue_unavailable", error=str(exc), failures=self._failures)
            return pause_s(self._failures)
        except StoreError as exc:
            self._parts.breaker.trip(str(exc))
        return 0.0

    def step(self) -> list[Taken]:
        """Claim once from each queue, buffer, and give what is due to the pool."""
        parts = self._parts
        lost = parts.held.take_lost()
        if lost:
            parts.buffer.discard(lost)
        parts.claimer.release_unread()
        taken = self._take_all()
        self._submit_due(everything=self._nothing_else_waits(taken))
        return taken

    def hand_over(self) -> None:
        """Flush what is held, 3 s at most; release the rest in one call a queue."""
        parts = self._parts
        if not parts.breaker.is_open:
            self._submit_due(everything=True)
            parts.pool.wait_until_idle(STOP_FLUSH_S)
        self._abandon.set()
        parts.pool.close()
        for queue, locks in parts.held.by_queue():
            try:
                queue.release_many(locks)
            except QueueError as exc:
                log.warning("release_failed", queue=queue.name, jobs=len(locks), error=str(exc))
            else:
                parts.held.remove(queue, locks)
                log.info("jobs_released", queue=queue.name, jobs=len(locks))

    def _take_all(self) -> list[Taken]:
        parts = self._parts
        if parts.breaker.is_open:
            return []
        admission = parts.gate.enter(parts.held)
        if admission is Admission.REFUSED:
            self._is_draining = True
            return []
        met = Met.UNKNOWN
        try:
            taken = self._take_in_turn(is_alone=admission is Admission.ALONE)
            met = _solo_met(taken)
        finally:
            parts.gate.leave(parts.held, met)
        self._is_draining = met is not Met.NO_SOLO
        return taken

    def _take_in_turn(self, *, is_alone: bool) -> list[Taken]:
        taken: list[Taken] = []
        for queue in self._in_turn():
            room = self._room()
            if room < min(self._limits.batch_size, self._limits.max_held):
                break
            accept_solo = is_alone and len(self._parts.held) == 0
            one = self._take(queue, room, accept_solo=accept_solo)
            self._keep_or_release(queue, one)
            taken.append(one)
            # A job that stalled too often runs alone: nothing else may be held with it.
            if _solo_met([one]) is not Met.NO_SOLO:
                self._solo_queue = queue
                break
        return taken

    def _in_turn(self) -> list[JobQueue]:
        """Return the queues in the order of their claims.

        First where a lost reply may have left something claimed, then where a job is to run alone:
        behind a queue that is never empty neither would get its turn.
        """
        is_answered = self._parts.claimer.is_answered
        return sorted(self._queues, key=lambda q: (is_answered(q), q is not self._solo_queue))

    def _keep_or_release(self, queue: JobQueue, taken: Taken) -> None:
        try:
            self._keep(queue, taken)
        except Exception:
            # Nobody would flush what is neither buffered nor submitted, and its lock would live on.
            jobs = [item.job for item in taken.items] + [one.job for one in taken.failed]
            locks = [job.lock for job in jobs]
            self._parts.buffer.discard(set(locks))
            self._parts.held.remove(queue, locks)
            queue.release_many(locks)
            raise

    def _keep(self, queue: JobQueue, taken: Taken) -> None:
        # At once: the claim on the next queue may fail, and nobody would hold these.
        parts = self._parts
        for item in taken.items:
            parts.buffer.add(item)
        if taken.failed:
            self._submit_failed(queue, taken.failed)

    def _submit_failed(self, queue: JobQueue, failed: Sequence[RecordDeadLetter]) -> None:
        act = partial(self._dead_letter, queue, failed)
        locks = [one.job.lock for one in failed]
        alone = [partial(self._submit_failed, queue, [one]) for one in failed]
        self._parts.pool.submit(partial(self._run_act, act, queue, locks, alone))

    def _dead_letter(self, queue: JobQueue, failed: Sequence[RecordDeadLetter]) -> None:
        """Record and move jobs that cannot be read; stopped midway, they stay held."""
        if self._parts.settler.run(Settlement(queue, failed), self._abandon) is not None:
            log.warning("jobs_dead_lettered", queue=queue.name, jobs=len(failed))

    def _submit_batch(self, batch: Sequence[DecodedItem]) -> None:
        act = partial(self._parts.batches.run, batch, self._abandon)
        locks = [item.lock for item in batch]
        alone = [partial(self._submit_batch, [item]) for item in batch]
        self._parts.pool.submit(partial(self._run_act, act, batch[0].queue, locks, alone))

    def _run_act(
        self,
        act: Callable[[], None],
        queue: JobQueue,
        locks: Sequence[Lock],
        alone: Sequence[Callable[[], None]],
    ) -> None:
        """Run a flush; should it raise what nobody foresaw, find the job that is at fault.

        Each of several jobs is tried once more, alone. The one that fails alone is put off, no
        attempt counted: its cause is ours, and it must neither be lost nor tried without a pause.
        """
        try:
            act()
        except Exception:
            left = self._parts.held.still_held(queue, locks)
            if len(locks) == 1:
                self._put_off(queue, left)
            else:
                for lock, again in zip(locks, alone, strict=True):
                    if lock in left:
                        again()
            raise

    def _put_off(self, queue: JobQueue, locks: Collection[Lock]) -> None:
        queue.postpone_many([Postponement(one.job_id, one.token, PUT_OFF_MS) for one in locks])
        self._parts.held.remove(queue, locks)
        log.error("jobs_put_off", queue=queue.name, jobs=[one.job_id for one in locks])

    def _take(self, queue: JobQueue, room: int, *, accept_solo: bool) -> Taken:
        # Of several queues the later ones leave room, so that a big import delays no small one.
        is_last_of_many = len(self._queues) > 1 and queue is self._queues[-1]
        limit = max(1, room // 2) if is_last_of_many else room
        return self._parts.claimer.take(queue, limit, accept_solo=accept_solo)

    def _room(self) -> int:
        if self._parts.held.size_bytes >= self._limits.held_bytes:
            return 0
        return self._limits.max_held - len(self._parts.held)

    def _nothing_else_waits(self, taken: Sequence[Taken]) -> bool:
        """Return whether waiting for a fuller batch is in vain."""
        if self._is_draining:
            return True
        could_claim_more = any(one.blocked_by is None for one in taken) or not taken
        return not could_claim_more and self._parts.pool.is_idle

    def _submit_due(self, *, everything: bool) -> None:
        while batch := self._parts.buffer.drain_due(everything=everything):
            self._submit_batch(batch)

    def _rest(self, taken: Sequence[Taken], seen_finished: int, stop: threading.Event) -> None:
        """Wait for what can bring work: a finished flush, an item's age, a new job, the time."""
        parts = self._parts
        # What must run alone and was not accepted may be now, without a new job or any other sign.
        may_claim_more = any(one.blocked_by in (None, BlockedBy.SOLO) for one in taken)
        if may_claim_more and self._room() > 0:
            return
        if len(parts.held) > 0:
            due_in_s = parts.buffer.next_due_in_s()
            rest_s = BUSY_REST_S if due_in_s is None else min(BUSY_REST_S, due_in_s)
            parts.pool.wait_for_change(seen_finished, rest_s)
        elif parts.breaker.is_open:
            self._clock.wait(stop, MAX_REST_S)
            parts.stores.probe_write(self._clock.now())
            parts.breaker.close()
        elif self._is_draining:
            parts.gate.wait_until_open(BUSY_REST_S)
        else:
            self._wait_for_jobs(taken, stop)

    def _wait_for_jobs(self, taken: Sequence[Taken], stop: threading.Event) -> None:
        retries_ms = [one.retry_in_ms for one in taken if one.retry_in_ms is not None]
        rest_s = min([MAX_REST_S, *(retry_ms / 1000 for retry_ms in retries_ms)])
        if any(one.blocked_by is BlockedBy.RATE_LIMIT for one in taken):
            self._clock.wait(stop, rest_s)
        else:
            wait_for_work(self._wake_connection, self._queues, rest_s)


def _solo_met(taken: Sequence[Taken]) -> Met:
    if any(one.has_solo for one in taken):
        return Met.SOLO_HELD
    if any(one.blocked_by is BlockedBy.SOLO for one in taken):
        return Met.SOLO_WAITS
    return Met.NO_SOLO
