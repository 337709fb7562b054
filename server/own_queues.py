"""The queues that programs have of their own, as this server knows them: from Redis alone."""

import threading
from collections.abc import Collection
from dataclasses import dataclass

from shared.clock import Clock
from shared.errors import QueueError
from shared.queue import JobQueue, RedisConnection
from shared.queue.registry import QueueRecord, QueueRegistry

_MAX_AGE_S = 2.0


@dataclass(frozen=True, slots=True)
class OwnQueue:
    """A queue that some program works, and how it is worked."""

    queue: JobQueue
    record: QueueRecord


class OwnQueues:
    """Reads the register of queues, every 2 s at most. Safe for threads.

    ``ours`` are names of Feedmill's own queues, which no program's can have.
    """

    def __init__(
        self, client: RedisConnection, *, prefix: str, ours: Collection[str], clock: Clock
    ) -> None:
        self._client, self._prefix, self._clock = client, prefix, clock
        self._registry = QueueRegistry(client, prefix=prefix, clock=clock)
        self._ours = frozenset(ours)
        self._lock = threading.Lock()
        self._known: dict[str, OwnQueue] = {}
        self._read_s: float | None = None

    def read(self) -> dict[str, OwnQueue]:
        """Return the queues by name; those known before while Redis cannot serve."""
        with self._lock:
            if self._is_old():
                asked_s = self._clock.monotonic_s()
                # Behind a Redis that hangs, who waits here asks once, not each.
                self._read_s = asked_s if self._refresh() else self._clock.monotonic_s()
            return dict(self._known)

    def _is_old(self) -> bool:
        return self._read_s is None or self._clock.monotonic_s() - self._read_s >= _MAX_AGE_S

    def _refresh(self) -> bool:
        """Read the register; False where Redis cannot serve."""
        try:
            records = self._registry.read()
        except QueueError:
            # Whoever asks for the queues themselves gets the error.
            return False
        own = [each for each in records if each.name not in self._ours]
        self._known = {each.name: OwnQueue(self._open(each.name), each) for each in own}
        return True

    def _open(self, name: str) -> JobQueue:
        known = self._known.get(name)
        if known is not None:
            return known.queue
        return JobQueue(self._client, name, prefix=self._prefix, clock=self._clock)
