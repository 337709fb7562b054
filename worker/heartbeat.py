"""What a worker repeats whatever its flushes are doing: it extends the held locks."""

import threading

from shared.clock import Clock
from shared.errors import QueueError
from shared.logs import get_logger
from shared.queue import HeldLocks
from shared.supervision import Supervisor

log = get_logger("worker.heartbeat")

# Three chances within one lock time: two beats may fail before a lock runs out.
BEATS_PER_LOCK = 3
# After a failed beat: the locks may be about to run out when Redis is back.
RETRY_S = 1.0


class Heartbeat:
    """A supervised thread that beats three times a lock time."""

    def __init__(
        self, held: HeldLocks, *, lock_ms: int, clock: Clock, supervisor: Supervisor
    ) -> None:
        self._held = held
        self._lock_ms = lock_ms
        self._clock = clock
        self._supervisor = supervisor
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._thread = self._supervisor.start("heartbeat", self._step, self._stopped)

    def stop(self) -> None:
        """End; at most one beat under way is waited for."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def beat(self) -> None:
        """Extend all locks once, one call a queue; those that are lost are held no longer.

        Raises:
            QueueUnavailable: some may not be extended; the next beat tries again.
        """
        for queue, locks in self._held.by_queue():
            lost_ids = set(queue.extend_many(locks, lock_ms=self._lock_ms))
            lost = [lock for lock in locks if lock.job_id in lost_ids]
            if lost:
                self._held.note_lost(queue, lost)
                log.warning("locks_lost", queue=queue.name, jobs=len(lost))

    def _step(self) -> float:
        pause_s = self._lock_ms / 1000 / BEATS_PER_LOCK
        try:
            self.beat()
        except QueueError as exc:
            log.warning("heartbeat_failed", error=str(exc))
            return min(pause_s, RETRY_S)
        return pause_s
