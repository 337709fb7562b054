"""Looking at a queue: nothing here changes a job."""

from collections.abc import Sequence
from typing import Any

from feedmill.base import QueueBase
from feedmill.jobs import Job
from shared.errors import InvalidJobOptions, QueueRefused
from shared.queue import JobState, getters
from shared.queue.getters import Metrics
from shared.queue.health import WorkerInfo, list_workers
from shared.queue.options import MAX_PRIORITY

_NOT_STARTED = (
    JobState.WAITING,
    JobState.DELAYED,
    JobState.PRIORITIZED,
    JobState.WAITING_CHILDREN,
)
_FINISHED = (JobState.COMPLETED.value, JobState.FAILED.value)


class Reading(QueueBase):
    """The part of a queue that only looks.

    ``start`` and ``end`` are ranks, both included; negative ones count from the end.
    """

    def get_job(self, job_id: str) -> Job[Any] | None:
        """Return a job as it lies in Redis now, or None."""
        view = self.core.get_job(job_id)
        return None if view is None else Job.of(self.core, view)

    def get_jobs(
        self,
        states: str | Sequence[str] | None = None,
        start: int = 0,
        end: int = -1,
        asc: bool = False,
    ) -> list[Job[Any]]:
        """Return the jobs from ``start`` to ``end`` of each of these states, else of all.

        Newest first; with ``asc`` the one first that came first or is next to run. A job that moves
        meanwhile may be missed, but is not listed twice.

        Raises:
            InvalidJobOptions: BullMQ has no such state.
        """
        names = [states] if isinstance(states, str) else states or sorted(JobState)
        wanted = list(dict.fromkeys(_state(name) for name in names))
        views = getters.list_range(self.core, wanted, start, end, is_ascending=asc)
        return [Job.of(self.core, view) for view in views]

    def get_waiting(self, start: int = 0, end: int = -1) -> list[Job[Any]]:
        """Return jobs that are ready to run and have no priority, next to run first."""
        return self.get_jobs("waiting", start, end, asc=True)

    def get_prioritized(self, start: int = 0, end: int = -1) -> list[Job[Any]]:
        """Return jobs that are ready to run and have a priority, next to run first."""
        return self.get_jobs("prioritized", start, end, asc=True)

    def get_delayed(self, start: int = 0, end: int = -1) -> list[Job[Any]]:
        """Return jobs whose time has not come, the one that is due first first."""
        return self.get_jobs("delayed", start, end, asc=True)

    def get_waiting_children(self, start: int = 0, end: int = -1) -> list[Job[Any]]:
        """Return parents that wait for their children, oldest first."""
        return self.get_jobs("waiting-children", start, end, asc=True)

    def get_active(self, start: int = 0, end: int = -1) -> list[Job[Any]]:
        """Return jobs that a worker has, the one that was claimed first first."""
        return self.get_jobs("active", start, end, asc=True)

    def get_completed(self, start: int = 0, end: int = -1) -> list[Job[Any]]:
        """Return completed jobs that are kept, newest first."""
        return self.get_jobs("completed", start, end)

    def get_failed(self, start: int = 0, end: int = -1) -> list[Job[Any]]:
        """Return failed jobs that are kept, newest first."""
        return self.get_jobs("failed", start, end)

    def get_job_counts(self, *states: str) -> dict[str, int]:
        """Return how many jobs are in these states, by the names given; without any in all.

        Raises:
            InvalidJobOptions: BullMQ has no such state.
        """
        counts = self.core.counts()
        wanted = {name: _state(name) for name in states or map(str, counts)}
        return {name: counts[state] for name, state in wanted.items()}

    def count(self) -> int:
        """Return how many jobs have yet to be run."""
        counts = self.core.counts()
        return sum(counts[state] for state in _NOT_STARTED)

    def get_counts_per_priority(self, priorities: Sequence[int]) -> dict[int, int]:
        """Return how many jobs wait with each of these priorities; 0 is none.

        Raises:
            InvalidJobOptions: no job can have such a priority.
        """
        for priority in priorities:
            if not 0 <= priority <= MAX_PRIORITY:
                raise InvalidJobOptions("priority", priority, f"0 to {MAX_PRIORITY}")
        return getters.count_per_priority(self.core, priorities)

    def get_job_state(self, job_id: str) -> str:
        """Return the state that a job is in; "unknown" if in none."""
        return getters.read_state(self.core, job_id) or "unknown"

    def get_deduplication_job_id(self, deduplication_id: str) -> str | None:
        """Return the id of the job that stands for others with this deduplication id, or None."""
        return getters.read_deduplication_owner(self.core, deduplication_id)

    def get_job_logs(
        self, job_id: str, start: int = 0, end: int = -1, asc: bool = True
    ) -> tuple[list[str], int]:
        """Return lines that a job's handlers logged, oldest first, and how many there are."""
        return getters.read_logs(self.core, job_id, start, end, is_ascending=asc)

    def get_metrics(self, state: str, start: int = 0, end: int = -1) -> Metrics:
        """Return what workers counted of jobs that were ``completed`` or ``failed``.

        ``start`` and ``end`` choose among the minutes, the newest is 0.

        Raises:
            InvalidJobOptions: another state.
        """
        if state not in _FINISHED:
            raise InvalidJobOptions("state", state, ", ".join(_FINISHED))
        return getters.read_metrics(self.core, JobState(state), start, end)

    def get_workers(self) -> list[WorkerInfo]:
        """Return the workers that are connected for this queue, Node's too.

        Raises:
            QueueRefused: Redis does not tell who is connected.
        """
        workers = list_workers(self.core)
        if workers is None:
            raise QueueRefused("Redis does not tell who is connected", what="CLIENT LIST")
        return workers

    def is_paused(self) -> bool:
        """Return whether workers find nothing because somebody paused the queue."""
        return self.core.is_paused()

    def is_maxed(self) -> bool:
        """Return whether workers find nothing because the queue's own concurrency is used up."""
        return getters.is_maxed(self.core)


def _state(name: str) -> JobState:
    # BullMQ's other name, that of the key.
    if name == "wait":
        return JobState.WAITING
    try:
        return JobState(name)
    except ValueError as exc:
        raise InvalidJobOptions("state", name, ", ".join(JobState)) from exc
