"""What a worker repeats whatever its flushes are doing: it extends the held locks.

And it leaves signs of life: that it runs and what stops it, for those who look at the queues.
"""

import os
import secrets
import socket
import threading
from collections.abc import Sequence

from shared.clock import Clock
from shared.errors import QueueError
from shared.logs import get_logger
from shared.queue import HeldLocks, WorkerSign, WorkerSigns
from shared.queue.worker_signs import SIGN_EVERY_S
from shared.supervision import Supervisor
from worker.outages import Breaker

log = get_logger("worker.heartbeat")
signs_log = get_logger("worker.signs")

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


class Signaller:
    """A supervised thread that leaves a sign every 2 s; the worker works without it, too."""

    def __init__(
        self,
        signs: WorkerSigns,
        queue_names: Sequence[str],
        held: HeldLocks,
        breaker: Breaker,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._signs = signs
        self._queue_names = tuple(queue_names)
        self._held = held
        self._breaker = breaker
        self._clock = clock
        self._supervisor = supervisor
        self._started_s = clock.monotonic_s()
        # Containers share a process id, and one machine's workers its name.
        self.worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the first sign comes at once."""
        self._thread = self._supervisor.start(
            "signaller", self._step, self._stopped, is_essential=False
        )

    def stop(self) -> None:
        """End, and take the sign away; a sign under way is waited for, 0.5 s at most."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=0.5)

    def signal(self) -> None:
        """Leave a sign.

        Raises:
            QueueUnavailable: Redis cannot serve; the next one says as much.
        """
        reason = self._breaker.reason
        sign = WorkerSign(
            worker_id=self.worker_id,
            queues=self._queue_names,
            held_jobs=len(self._held),
            up_s=round(self._clock.monotonic_s() - self._started_s, 1),
            breaker_reason=reason,
            breaker_open_s=round(self._breaker.open_for_s(), 1) if reason is not None else 0.0,
            failing_threads=tuple(map(str, self._supervisor.failing())),
        )
        self._signs.leave(sign)

    def _step(self) -> float:
        try:
            self.signal()
            self._clock.wait(self._stopped, SIGN_EVERY_S)
            if self._stopped.is_set():
                # Here, not in stop(): a Redis that hangs must not hold up the exit.
                self._signs.take_away(self.worker_id)
        except QueueError as exc:
            # The consumer logs that Redis is away; one warning for that is enough.
            signs_log.debug("sign_failed", error=str(exc))
            return SIGN_EVERY_S
        return 0.0
