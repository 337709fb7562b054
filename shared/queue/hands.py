"""The jobs that a worker has in hand."""

import threading

from shared.clock import Clock
from shared.queue.job import ClaimedJob

_LOOK_EVERY_S = 0.5


class Hands:
    """Claimed jobs under way, with the time each was taken. Safe for any number of threads.

    A run past its limit is given up: it takes no place any more, and only counts as
    ``abandoned_count`` until its thread ends.
    """

    def __init__(self, clock: Clock, *, run_limit_s: float) -> None:
        self._clock = clock
        self._run_limit_s = run_limit_s
        self._taken_s: dict[tuple[str, str], tuple[ClaimedJob, float]] = {}
        self._abandoned: set[tuple[str, str]] = set()
        self._being_settled: dict[tuple[str, str], ClaimedJob] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._taken_s)

    def take(self, job: ClaimedJob) -> None:
        """Hold a job."""
        with self._changed:
            self._taken_s[job.id, job.token] = (job, self._clock.monotonic_s())

    def drop(self, job: ClaimedJob) -> None:
        """No longer hold a job; one that is not held is no error."""
        with self._changed:
            self._taken_s.pop((job.id, job.token), None)
            self._abandoned.discard((job.id, job.token))
            self._changed.notify_all()

    def drop_all(self) -> list[ClaimedJob]:
        """Hold nothing any more; return what was held, oldest first."""
        with self._changed:
            jobs = [job for job, _ in self._taken_s.values()]
            self._taken_s.clear()
            self._changed.notify_all()
            return jobs

    @property
    def abandoned_count(self) -> int:
        """Return how many runs were given up whose threads have not ended."""
        with self._changed:
            return len(self._abandoned)

    def abandon_overdue(self) -> list[tuple[ClaimedJob, float]]:
        """Give up all runs past their limit; return them, and how many seconds each took so far."""
        now_s = self._clock.monotonic_s()
        with self._changed:
            overdue = [
                (job, now_s - taken_s)
                for job, taken_s in self._taken_s.values()
                if now_s - taken_s > self._run_limit_s
            ]
            for job, _ in overdue:
                del self._taken_s[job.id, job.token]
                self._abandoned.add((job.id, job.token))
                self._being_settled[job.id, job.token] = job
            self._changed.notify_all()
        return overdue

    def note_settled(self, job: ClaimedJob) -> None:
        """Keep the lock of a job no longer whose run was given up: it is settled, or cannot be."""
        with self._changed:
            self._being_settled.pop((job.id, job.token), None)

    def locked(self) -> list[ClaimedJob]:
        """Return the jobs whose locks are to be kept: those held, and those being given up."""
        with self._changed:
            held = [job for job, _ in self._taken_s.values()]
            return [*held, *self._being_settled.values()]

    def wait_for_room(self, room_for: int, stopping: threading.Event) -> None:
        """Wait until fewer than ``room_for`` jobs are held, or ``stopping`` is set."""
        with self._changed:
            while len(self._taken_s) >= room_for and not stopping.is_set():
                self._changed.wait(_LOOK_EVERY_S)

    def wait_until_empty_or(self, stopping: threading.Event) -> None:
        """Wait until no job is held, or ``stopping`` is set."""
        self.wait_for_room(1, stopping)

    def wait_until_empty(self, deadline_s: float) -> bool:
        """Wait until no job is held or the clock's ``deadline_s`` has come; answer which."""
        with self._changed:
            while self._taken_s and self._clock.monotonic_s() < deadline_s:
                left_s = deadline_s - self._clock.monotonic_s()
                self._changed.wait(min(_LOOK_EVERY_S, max(left_s, 0.001)))
            return not self._taken_s
