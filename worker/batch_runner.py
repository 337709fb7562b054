"""Runs a batch to its end: stores it however long MongoDB is away, then has it settled."""

import threading
from collections.abc import Sequence

from shared.clock import Clock
from shared.errors import StoreError
from shared.logs import get_logger
from shared.store import Stores
from worker.breaker import Breaker
from worker.decoding import HeldItem
from worker.failures import Owner, is_outage, owner_of, pause_s
from worker.flusher import Flusher
from worker.observing import Observer, Unobserved
from worker.settlement import FlushReport, Release, Settlement
from worker.settler import GIVE_UP_AFTER_S, SettlementRunner

log = get_logger("worker.flush")

# After as many failures in a row while the store takes other writes, a batch is bisected.
FAILURES_BEFORE_BISECTING = 3
# An item that fails alone as often in a row, the store taking other writes in between, is at fault.
FAILURES_BEFORE_REJECTING = 6


class BatchRunner:
    """Stores batches of items and has their jobs settled, whatever happens. Safe for threads."""

    def __init__(
        self,
        *,
        flusher: Flusher,
        settlements: SettlementRunner,
        stores: Stores,
        breaker: Breaker,
        clock: Clock,
        observer: Observer | None = None,
    ) -> None:
        self._flusher = flusher
        self._settlements = settlements
        self._stores = stores
        self._breaker = breaker
        self._clock = clock
        self._observer = observer or Unobserved()

    def run(self, batch: Sequence[HeldItem], stop: threading.Event) -> None:
        """Flush a batch of one queue until it is settled, released, or ``stop`` is set.

        Stopped midway, its jobs stay in the holdings; nothing that was written is undone.
        """
        failures = 0
        while not stop.is_set():
            if self._try(batch, stop) is None:
                return
            failures += 1
            if failures >= FAILURES_BEFORE_BISECTING and self._takes_writes():
                self._bisect(batch, stop)
                return
            if self._breaker.open_for_s() > GIVE_UP_AFTER_S:
                # For a worker that may reach the store.
                released = Settlement(batch[0].queue, [Release(item.job) for item in batch])
                self._settlements.run(released, stop)
                return
            self._clock.wait(stop, pause_s(failures))

    def _try(self, batch: Sequence[HeldItem], stop: threading.Event) -> Exception | None:
        """Store a batch and have it settled; return why it could not be stored, if so."""
        started_s = self._clock.monotonic_s()
        try:
            settlement = self._flusher.store(batch)
        except Exception as exc:  # noqa: BLE001 - sorted and logged in _note; it must not be lost
            self._note(batch, exc)
            return exc
        stored_s = self._clock.monotonic_s()
        is_done = self._settlements.run(settlement, stop)
        settled_s = self._clock.monotonic_s()
        if is_done:
            self._log_flushed(batch, settlement.report, settled_s - started_s, settled_s - stored_s)
        return None

    def _note(self, batch: Sequence[HeldItem], error: Exception) -> None:
        if is_outage(error):
            self._breaker.trip(str(error))
        elif owner_of(error) is Owner.OURSELVES:
            log.exception("flush_failed", jobs=len(batch))
        else:
            log.warning("batch_refused", jobs=len(batch), error=str(error))

    def _log_flushed(
        self, batch: Sequence[HeldItem], report: FlushReport, duration_s: float, settle_s: float
    ) -> None:
        queue = batch[0].queue
        self._observer.note_flush(queue.name, len(batch), duration_s=duration_s, settle_s=settle_s)
        log.info(
            "batch_flushed",
            queue=queue.name,
            jobs=len(batch),
            **{str(outcome): count for outcome, count in report.outcomes.items() if count},
            retried=report.retried,
            released=report.released,
            lock_lost=report.lock_lost,
            duration_ms=round(duration_s * 1000),
            settle_ms=round(settle_s * 1000),
        )

    def _bisect(self, batch: Sequence[HeldItem], stop: threading.Event) -> None:
        """Find the items for whose sake a batch fails while the store takes other writes."""
        if len(batch) == 1:
            self._run_alone(batch[0], stop)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if stop.is_set() or self._try(half, stop) is None:
                continue
            if self._takes_writes():
                self._bisect(half, stop)
            else:
                self.run(half, stop)

    def _run_alone(self, item: HeldItem, stop: threading.Event) -> None:
        """Try one item until it is stored, or found at fault: then it is charged with it.

        It is at fault only if MongoDB takes other writes before and after each of its failures: an
        outage, also one that comes and goes, is nobody's.
        """
        for failures in range(1, FAILURES_BEFORE_REJECTING + 1):
            error = None if stop.is_set() else self._try([item], stop)
            if error is None:
                return
            if not self._takes_writes():
                self.run([item], stop)
                return
            if failures == FAILURES_BEFORE_REJECTING:
                self._settlements.run(self._flusher.reject(item, error), stop)
            else:
                self._clock.wait(stop, pause_s(failures))

    def _takes_writes(self) -> bool:
        try:
            self._stores.probe_write(self._clock.now())
        except StoreError as exc:
            # Also when it refuses: a login that is no longer accepted is no item's fault.
            self._breaker.trip(str(exc))
            return False
        return True
