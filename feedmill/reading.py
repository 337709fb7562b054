"""Looking at a queue: nothing here changes a job."""

from typing import Any

from feedmill.base import QueueBase
from feedmill.jobs import Job
from shared.errors import InvalidJobOptions
from shared.queue import JobState

_NOT_STARTED = (
    JobState.WAITING,
    JobState.DELAYED,
    JobState.PRIORITIZED,
    JobState.WAITING_CHILDREN,
)


class Reading(QueueBase):
    """The part of a queue that only looks."""

    def get_job(self, job_id: str) -> Job[Any] | None:
        """Return a job as it lies in Redis now, or None."""
        view = self.core.get_job(job_id)
        return None if view is None else Job.of(self.core, view)

    def get_job_counts(self, *states: str) -> dict[str, int]:
        """Return how many jobs are in these states; without any in all of them.

        Raises:
            InvalidJobOptions: BullMQ has no such state.
        """
        counts = self.core.counts()
        wanted = [_state(name) for name in states] or list(counts)
        return {state.value: counts[state] for state in wanted}

    def count(self) -> int:
        """Return how many jobs have yet to be run."""
        counts = self.core.counts()
        return sum(counts[state] for state in _NOT_STARTED)

    def is_paused(self) -> bool:
        """Tell whether workers find nothing because somebody paused the queue."""
        return self.core.is_paused()


def _state(name: str) -> JobState:
    try:
        return JobState(name)
    except ValueError as exc:
        raise InvalidJobOptions("state", name, ", ".join(JobState)) from exc
