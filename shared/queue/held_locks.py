"""Which locks a worker holds, and so has to extend, settle or hand back."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from shared.clock import Clock
from shared.queue.job import ClaimedJob, Lock
from shared.queue.job_queue import JobQueue

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A claimed job that is not settled yet; ``since_s`` is the clock's time of its claim."""

    queue: JobQueue
    job: ClaimedJob
    since_s: float


class HeldLocks:
    """The locks of the claimed jobs that are not settled yet. Safe for any number of threads.

    One job may be held twice, under the token of a lost claim and under that of the next one: each
    counts, and each goes under its own token.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._held: dict[tuple[str, Lock], HeldJob] = {}
        self._bytes = 0
        self._lost: set[Lock] = set()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size_bytes(self) -> int:
        """How many bytes of data the held jobs carry."""
        return self._bytes

    def add(self, queue: JobQueue, jobs: Iterable[ClaimedJob]) -> None:
        """Hold claimed jobs."""
        now_s = self._clock.monotonic_s()
        with self._changed:
            for job in jobs:
                if (queue.name, job.lock) not in self._held:
                    self._bytes += job.size_bytes
                self._held[queue.name, job.lock] = HeldJob(queue, job, now_s)

    def remove(self, queue: JobQueue, locks: Iterable[Lock]) -> list[ClaimedJob]:
        """Hold these no longer; return the jobs that were held until now."""
        with self._changed:
            found = [self._held.pop((queue.name, lock), None) for lock in locks]
            removed = [held.job for held in found if held is not None]
            self._bytes -= sum(job.size_bytes for job in removed)
            self._changed.notify_all()
        return removed

    def still_held(self, queue: JobQueue, locks: Iterable[Lock]) -> set[Lock]:
        """Return those of the locks that were neither settled, handed back nor lost."""
        with self._changed:
            return {lock for lock in locks if (queue.name, lock) in self._held}

    def note_lost(self, queue: JobQueue, locks: Iterable[Lock]) -> None:
        """Hold locks that ran out no longer, and keep them for :meth:`take_lost`."""
        lost = [job.lock for job in self.remove(queue, locks)]
        with self._changed:
            self._lost.update(lost)

    def take_lost(self) -> set[Lock]:
        """Return the locks lost since the last call. The same job may be held anew by now."""
        with self._changed:
            taken, self._lost = self._lost, set()
        return taken

    def by_queue(self) -> list[tuple[JobQueue, list[Lock]]]:
        """Return the held locks, oldest first; of two of one job the newer: no other is valid."""
        with self._changed:
            newest = {(held.queue.name, held.job.id): held for held in self._held.values()}
        found: dict[str, tuple[JobQueue, list[Lock]]] = {}
        for held in newest.values():
            found.setdefault(held.queue.name, (held.queue, []))[1].append(held.job.lock)
        return list(found.values())

    def held_longer_than(self, limit_s: float) -> list[tuple[ClaimedJob, float]]:
        """Return the jobs held longer than this, with how many seconds each has been."""
        now_s = self._clock.monotonic_s()
        with self._changed:
            ages = [(held.job, now_s - held.since_s) for held in self._held.values()]
        return [(job, age_s) for job, age_s in ages if age_s > limit_s]

    def wait_until_fewer(self, count: int, stopping: threading.Event) -> None:
        """Wait until fewer than ``count`` jobs are held, or ``stopping`` is set."""
        with self._changed:
            while len(self._held) >= count and not stopping.is_set():
                self._changed.wait(_LOOK_EVERY_S)

    def wait_until_fewer_of(
        self, queue: JobQueue, locks: Iterable[Lock], count: int, stopping: threading.Event
    ) -> set[Lock]:
        """Wait until fewer than ``count`` of these are held, or ``stopping`` is set.

        Return those that are.
        """
        with self._changed:
            while True:
                held = {lock for lock in locks if (queue.name, lock) in self._held}
                if len(held) < count or stopping.is_set():
                    return held
                self._changed.wait(_LOOK_EVERY_S)

    def wait_until_none(self, deadline_s: float) -> bool:
        """Wait until no job is held or the clock's ``deadline_s`` has come; return which."""
        with self._changed:
            while self._held and (left_s := deadline_s - self._clock.monotonic_s()) > 0:
                self._changed.wait(min(_LOOK_EVERY_S, max(left_s, 0.001)))
            return not self._held
