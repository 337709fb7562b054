"""Which locks a worker holds, and so has to extend, settle or hand back; who may claim more."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

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


class Admission(Enum):
    """How a consumer may claim now."""

    REFUSED = auto()
    AMONG_OTHERS = auto()
    """No job that must run alone."""
    ALONE = auto()
    """Any job: the process holds none, and nobody else claims."""


class Met(Enum):
    """What a consumer's claims met of jobs that must run alone."""

    NO_SOLO = auto()
    SOLO_WAITS = auto()
    SOLO_HELD = auto()
    UNKNOWN = auto()
    """An answer is missing, or an error came between."""


class SoloGate:
    """Admits the consumers of a process to their claims; each is named by the locks it holds.

    A consumer that meets a job that must run alone closes the gate for all others, is admitted once
    no partition holds or claims anything, and opens it when that job has ended. Until a consumer
    closes it, all claim beside one another. Safe for any number of threads.
    """

    def __init__(self, held: Sequence[HeldLocks]) -> None:
        self._held = list(held)
        self._changed = threading.Condition()
        self._claiming: set[HeldLocks] = set()
        self._owner: HeldLocks | None = None
        self._is_served = False

    def enter(self, held: HeldLocks) -> Admission:
        """Return how a consumer may claim; unless it is refused, it has to :meth:`leave`."""
        with self._changed:
            if self._owner is held and self._is_served and len(held) == 0:
                self._open()
            admission = self._admit(held)
            if admission is not Admission.REFUSED:
                self._claiming.add(held)
        return admission

    def leave(self, held: HeldLocks, met: Met) -> None:
        """Note that a consumer's claims are over, and that what they brought is held."""
        with self._changed:
            self._claiming.discard(held)
            if self._owner is None and met in (Met.SOLO_WAITS, Met.SOLO_HELD):
                self._owner = held
            if self._owner is not held:
                return
            self._is_served = met is Met.SOLO_HELD
            # With an answer missing the job may be claimed: nobody else may begin beside it.
            if met is Met.NO_SOLO:
                self._open()

    def wait_until_open(self, timeout_s: float) -> None:
        """Wait until any consumer may claim, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._owner is None, timeout_s)

    def _admit(self, held: HeldLocks) -> Admission:
        is_empty = not self._claiming and not any(map(len, self._held))
        # A consumer without others may claim alone without closing the gate first.
        is_only = len(self._held) == 1
        if self._owner is None:
            return Admission.ALONE if is_only and is_empty else Admission.AMONG_OTHERS
        return Admission.ALONE if self._owner is held and is_empty else Admission.REFUSED

    def _open(self) -> None:
        self._owner = None
        self._is_served = False
        self._changed.notify_all()
