"""Signs of life: that a worker runs and what stops it, for those who look at the queues."""

import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence

from shared.clock import Clock
from shared.errors import QueueError
from shared.logs import get_logger
from shared.queue import Breaker, HeldLocks, WorkerSign, WorkerSigns
from shared.queue.worker_signs import SIGN_EVERY_S
from shared.supervision import Supervisor

log = get_logger("worker.signs")

# Given the process's id among all workers and how long it has run.
Describe = Callable[[str, float], Sequence[WorkerSign]]


def make_worker_id() -> str:
    """Return a name that no other worker has."""
    # Containers share a process id, and one machine's workers its name.
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Signaller:
    """A supervised thread that leaves signs every 2 s; the worker works without it, too."""

    def __init__(
        self,
        signs: WorkerSigns,
        describe: Describe,
        clock: Clock,
        supervisor: Supervisor,
        worker_id: str | None = None,
    ) -> None:
        self._signs = signs
        self._describe = describe
        self._clock = clock
        self._supervisor = supervisor
        self._started_s = clock.monotonic_s()
        self.worker_id = worker_id or make_worker_id()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the first signs come at once."""
        self._thread = self._supervisor.start(
            "signaller", self._step, self._stopped, is_essential=False
        )

    def stop(self) -> None:
        """End, and take the signs away; those under way are waited for, 0.5 s at most."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=0.5)

    def signal(self) -> list[str]:
        """Leave a sign each; return their ids.

        Raises:
            QueueUnavailable: Redis cannot serve; the next ones say as much.
        """
        up_s = round(self._clock.monotonic_s() - self._started_s, 1)
        signs = self._describe(self.worker_id, up_s)
        for sign in signs:
            self._signs.leave(sign)
        return [sign.worker_id for sign in signs]

    def _step(self) -> float:
        try:
            left = self.signal()
            self._clock.wait(self._stopped, SIGN_EVERY_S)
            if self._stopped.is_set():
                # Here, not in stop(): a Redis that hangs must not hold up the exit.
                for worker_id in left:
                    self._signs.take_away(worker_id)
        except QueueError as exc:
            # The consumer logs that Redis is away; one warning for that is enough.
            log.debug("sign_failed", error=str(exc))
            return SIGN_EVERY_S
        return 0.0


def why_stopped(breaker: Breaker | None) -> tuple[str | None, float]:
    """Return why a breaker is open, and for how many seconds; None and 0 where it is not."""
    reason = None if breaker is None else breaker.reason
    if breaker is None or reason is None:
        return None, 0.0
    return reason, round(breaker.open_for_s(), 1)


def item_signs(
    queue_names: Sequence[str], held: Sequence[HeldLocks], breaker: Breaker, supervisor: Supervisor
) -> Describe:
    """Return what describes a worker of items: one sign for all of its queues."""

    def describe(worker_id: str, up_s: float) -> Sequence[WorkerSign]:
        reason, open_s = why_stopped(breaker)
        sign = WorkerSign(
            worker_id=worker_id,
            queues=tuple(queue_names),
            held_jobs=sum(map(len, held)),
            up_s=up_s,
            breaker_reason=reason,
            breaker_open_s=open_s,
            failing_threads=tuple(map(str, supervisor.failing())),
        )
        return [sign]

    return describe
