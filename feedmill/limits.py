"""What limits a whole queue, over all its workers, Node's too."""

from feedmill.base import QueueBase
from shared.queue import GroupLimit, RateLimit, limits


class Limits(QueueBase):
    """The part of a queue that limits how many of its jobs run, and how often."""

    def set_global_concurrency(self, concurrency: int) -> None:
        """Let at most so many jobs run at a time, over all workers; those that run go on.

        Raises:
            InvalidJobOptions: fewer than one.
        """
        limits.set_concurrency(self.core, concurrency)

    def get_global_concurrency(self) -> int | None:
        """Return how many jobs may run at a time over all workers; None for no limit."""
        return limits.read_concurrency(self.core)

    def remove_global_concurrency(self) -> None:
        """Leave it to each worker how many jobs run at a time."""
        limits.remove_concurrency(self.core)

    def set_global_rate_limit(self, max_jobs: int, duration: int) -> None:
        """Let at most ``max_jobs`` be started in ``duration`` ms, over all workers.

        It holds instead of the ``limiter`` of a worker.

        Raises:
            InvalidJobOptions: no job at all, or no time.
        """
        limits.set_rate(self.core, RateLimit(max_jobs, duration))

    def get_global_rate_limit(self) -> RateLimit | None:
        """Return the queue's own rate limit, if it has one."""
        return limits.read_rate(self.core)

    def remove_global_rate_limit(self) -> None:
        """Lift the queue's own rate limit; a worker with a ``limiter`` obeys that."""
        limits.remove_rate(self.core)

    def set_group_limit(self, group: str, max_jobs: int, duration: int) -> None:
        """Let at most ``max_jobs`` of each group be started in ``duration`` ms.

        ``group`` is the field of the jobs' data that names the group of each, a text or a number;
        jobs without one are not limited. A group that has used its limit up costs the others
        nothing, and its jobs keep their order: meanwhile they stand among the prioritized ones,
        behind all priorities. Node's workers do not know of it: they take them last, unlimited.

        Raises:
            InvalidJobOptions: no job at all, no time, or no field.
        """
        limits.limit_groups(
            self.core, limits.check_group_limit(GroupLimit(max_jobs, duration, group))
        )

    def get_group_limit(self) -> GroupLimit | None:
        """Return how often jobs of one group may start, if that is limited."""
        return limits.read_group_limit(self.core)

    def remove_group_limit(self) -> None:
        """Let jobs of each group be started at any rate; those that wait keep their order."""
        limits.limit_groups(self.core, None)

    def rate_limit(self, duration: int) -> None:
        """Let no job be started for ``duration`` ms, as after a 429 of somebody else.

        Only where there is a rate limit, of the queue or of the worker: others do not ask, in
        BullMQ either.

        Raises:
            InvalidJobOptions: no time.
        """
        limits.stop_claims(self.core, duration)

    def get_rate_limit_ttl(self, max_jobs: int | None = None) -> int:
        """Return for how many ms no job is started because of the rate limit; 0 if one may be.

        ``max_jobs`` is that of a worker's ``limiter``; without it the queue's own counts. Where it
        has none it is how long the open window lasts, -2 if none is open.
        """
        return limits.read_rate_ttl_ms(self.core, max_jobs)

    def remove_rate_limit_key(self) -> bool:
        """End the window of the rate limit: jobs are started again. False if none was open."""
        return limits.end_window(self.core)
