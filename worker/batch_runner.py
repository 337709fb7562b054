"""Runs a flush to its end: tries again while a store is away, finds the item that is at fault."""

import random
import threading
from collections.abc import Sequence

from shared.clock import Clock
from shared.errors import QueueError, StoreError, StoreUnavailable
from shared.logs import get_logger
from shared.store import Stores
from worker.breaker import Breaker
from worker.decoding import HeldItem
from worker.flusher import Flusher, FlushReport
from worker.holdings import Holdings
from worker.observing import Observer, Unobserved

log = get_logger("worker.flush")

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
# After as many failures in a row while the store takes other writes, a batch is bisected.
FAILURES_BEFORE_BISECTING = 3
# An outage that lasts longer hands the jobs back, for a worker that may reach the store.
RELEASE_AFTER_S = 300.0


class BatchRunner:
    """Brings batches of items to their end, whatever happens. Safe for threads."""

    def __init__(
        self,
        *,
        flusher: Flusher,
        stores: Stores,
        holdings: Holdings,
        breaker: Breaker,
        clock: Clock,
        observer: Observer | None = None,
    ) -> None:
        self._flusher = flusher
        self._stores = stores
        self._holdings = holdings
        self._breaker = breaker
        self._clock = clock
        self._observer = observer or Unobserved()

    def run(self, batch: Sequence[HeldItem], stop: threading.Event) -> None:
        """Flush a batch of one queue until it is settled, released, or ``stop`` is set.

        Stopped midway, its jobs stay in the holdings; nothing that was written is undone.
        """
        failures = 0
        while not stop.is_set():
            reason = self._try(batch)
            if reason is None:
                return
            failures += 1
            if failures >= FAILURES_BEFORE_BISECTING and self._takes_writes():
                self._bisect(batch, reason, stop)
                return
            if self._breaker.open_for_s() > RELEASE_AFTER_S:
                self._release(batch)
                return
            self._clock.wait(stop, pause_s(failures))

    def _try(self, batch: Sequence[HeldItem]) -> str | None:
        """Flush once; return None when the batch is settled, else why it is not."""
        started_s = self._clock.monotonic_s()
        try:
            report = self._flusher.flush(batch)
        except StoreUnavailable as exc:
            self._breaker.trip(str(exc))
            return str(exc)
        except StoreError as exc:
            log.warning("batch_refused", jobs=len(batch), error=str(exc))
            return str(exc)
        except QueueError as exc:
            log.warning("settle_failed", jobs=len(batch), error=str(exc))
            return str(exc)
        except Exception as exc:
            log.exception("flush_failed", jobs=len(batch))
            return f"{type(exc).__name__}: {exc}"
        self._breaker.close()
        self._finish(batch, report, self._clock.monotonic_s() - started_s)
        return None

    def _finish(self, batch: Sequence[HeldItem], report: FlushReport, duration_s: float) -> None:
        queue = batch[0].queue
        self._holdings.remove(queue, [item.lock for item in batch])
        self._observer.note_flush(
            queue.name, len(batch), duration_s=duration_s, settle_s=report.settle_s
        )
        log.info(
            "batch_flushed",
            queue=queue.name,
            jobs=len(batch),
            **{str(outcome): count for outcome, count in report.outcomes.items() if count},
            retried=report.retried,
            released=report.released,
            lock_lost=report.lock_lost,
            duration_ms=round(duration_s * 1000),
            settle_ms=round(report.settle_s * 1000),
        )

    def _bisect(self, batch: Sequence[HeldItem], reason: str, stop: threading.Event) -> None:
        """Find the items for whose sake a batch fails while the store takes other writes."""
        if len(batch) == 1:
            self._reject(batch[0], reason, stop)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            half_reason = self._try(half)
            if half_reason is None:
                continue
            if self._takes_writes():
                self._bisect(half, half_reason, stop)
            else:
                self.run(half, stop)

    def _reject(self, item: HeldItem, reason: str, stop: threading.Event) -> None:
        """Charge a failure to the item itself: a retry, or its death."""
        failures = 0
        while not stop.is_set():
            try:
                self._flusher.reject(item, reason)
            except (StoreError, QueueError) as exc:
                failures += 1
                log.warning("reject_failed", job=item.job.id, error=str(exc))
                self._clock.wait(stop, pause_s(failures))
            else:
                self._holdings.remove(item.queue, [item.lock])
                self._breaker.close()
                return

    def _release(self, batch: Sequence[HeldItem]) -> None:
        queue = batch[0].queue
        locks = [item.lock for item in batch]
        try:
            queue.release_many(locks)
        except QueueError as exc:
            log.warning("release_failed", jobs=len(batch), error=str(exc))
        self._holdings.remove(queue, locks)

    def _takes_writes(self) -> bool:
        try:
            self._stores.probe_write(self._clock.now())
        except StoreError as exc:
            # Also when it refuses: a login that is no longer accepted is no item's fault.
            self._breaker.trip(str(exc))
            return False
        return True


def pause_s(failures: int) -> float:
    """Return how long to wait before the next try: doubling to 5 s, half of it by chance."""
    longest = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)
