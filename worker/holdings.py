"""What this worker holds: the locks of every claimed job that is not settled yet."""

import threading
from collections.abc import Iterable, Mapping

from shared.queue import JobQueue, Lock


class Holdings:
    """Locks in hand by queue. Safe for threads; bounded by the claims."""

    def __init__(self, queues: Iterable[JobQueue]) -> None:
        self._mutex = threading.Lock()
        self._queues = {queue.name: queue for queue in queues}
        self._locks: dict[str, dict[str, Lock]] = {name: {} for name in self._queues}
        self._bytes: dict[Lock, int] = {}
        self._lost: set[Lock] = set()

    def __len__(self) -> int:
        with self._mutex:
            return sum(len(locks) for locks in self._locks.values())

    @property
    def held_bytes(self) -> int:
        """How many bytes of data the jobs in hand carry."""
        with self._mutex:
            return sum(self._bytes.values())

    def add(self, queue: JobQueue, sizes_bytes: Mapping[Lock, int]) -> None:
        """Note claimed jobs and how many bytes of data each carries."""
        with self._mutex:
            self._locks[queue.name].update({lock.job_id: lock for lock in sizes_bytes})
            self._bytes.update(sizes_bytes)

    def holds(self, queue: JobQueue, lock: Lock) -> bool:
        """Tell whether a job is in hand under this very lock."""
        with self._mutex:
            return self._locks[queue.name].get(lock.job_id) == lock

    def remove(self, queue: JobQueue, locks: Iterable[Lock]) -> None:
        """Forget jobs that were settled or released, each under the token it was claimed with."""
        with self._mutex:
            held = self._locks[queue.name]
            for lock in locks:
                self._bytes.pop(lock, None)
                if held.get(lock.job_id) == lock:
                    del held[lock.job_id]

    def still_held(self, queue: JobQueue, locks: Iterable[Lock]) -> set[Lock]:
        """Return those of the locks that were neither settled, released nor lost."""
        with self._mutex:
            held = self._locks[queue.name]
            return {lock for lock in locks if held.get(lock.job_id) == lock}

    def mark_lost(self, queue: JobQueue, lost: Iterable[Lock]) -> None:
        """Forget jobs whose lock ran out, and remember the locks for :meth:`take_lost`."""
        lost = list(lost)
        self.remove(queue, lost)
        with self._mutex:
            self._lost.update(lost)

    def take_lost(self) -> set[Lock]:
        """Return the locks lost since the last call. The same job may be held anew by now."""
        with self._mutex:
            taken, self._lost = self._lost, set()
        return taken

    def by_queue(self) -> list[tuple[JobQueue, list[Lock]]]:
        """Return all locks in hand, a copy."""
        with self._mutex:
            return [
                (self._queues[name], list(locks.values()))
                for name, locks in self._locks.items()
                if locks
            ]
