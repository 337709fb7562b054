"""Schedulers of a queue: jobs that come again and again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from feedmill.base import QueueBase
from feedmill.jobs import Job
from shared.errors import InvalidJobOptions
from shared.queue import schedulers
from shared.queue.reading import json_or_text
from shared.queue.repeats import Repeat, read_repeat
from shared.queue.schedulers import Scheduler, read_template

_TEMPLATE = ("name", "data", "opts")
_NO_TEMPLATE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class JobScheduler:
    """A scheduler as it lay in Redis when it was read; times are ms since 1970.

    ``next`` is when its next job is due, ``iteration_count`` how many it has made, ``repeat`` what
    it was asked for. ``data`` and ``opts`` are those of its jobs, ``opts`` in BullMQ's words.
    """

    id: str
    name: str
    next: int
    iteration_count: int
    repeat: Repeat
    data: Any
    opts: dict[str, object]

    @classmethod
    def of(cls, scheduler: Scheduler) -> Self:
        """Return the scheduler that a look into Redis has shown."""
        return cls(
            id=scheduler.id,
            name=scheduler.name,
            next=scheduler.next_ms,
            iteration_count=scheduler.iterations,
            repeat=scheduler.repeat,
            data=json_or_text(scheduler.data),
            opts=dict(scheduler.opts),
        )


class Scheduling(QueueBase):
    """The part of a queue that makes jobs by the clock."""

    def upsert_job_scheduler(
        self,
        scheduler_id: str,
        repeat: Mapping[str, Any],
        template: Mapping[str, Any] | None = None,
    ) -> Job[Any]:
        """Make a scheduler, or change the one with this id; return its next job. Safe to repeat.

        ``repeat`` is a mapping of ``pattern`` (crontab) or ``every`` (ms) and, where wanted, ``tz``
        (zone of the pattern; UTC without one), ``limit`` (jobs from this call on), ``start_date``
        and ``end_date`` (aware datetime or ms), ``immediately`` (a pattern's first job at once),
        ``offset`` (ms behind each whole ``every``). With ``every`` the first job comes at once.
        ``template`` is a mapping of ``name`` (else the id), ``data`` and ``opts`` of all its jobs.

        The next job is made when a worker claims the one before. A next job that nobody has claimed
        is replaced by a change, and with the same ``every`` keeps its time.

        Raises:
            InvalidJobOptions, UnencodableJob: nothing was changed.
            JobStateError: a job is there that has the next one's id; nothing was changed.
            QueueFull: Redis has no room; nothing was changed.
        """
        asked = read_repeat(repeat, self.core.clock.now_ms())
        name, data, opts = _read_template(scheduler_id, template or _NO_TEMPLATE)
        jobs = read_template(name, data, self.default_job_options, opts)
        view = schedulers.schedule(self.core, scheduler_id, asked, jobs)
        return Job.of(self.core, view)

    def get_job_scheduler(self, scheduler_id: str) -> JobScheduler | None:
        """Return a scheduler as it lies in Redis now, or None."""
        found = schedulers.read_scheduler(self.core, scheduler_id)
        return None if found is None else JobScheduler.of(found)

    def get_job_schedulers(
        self, start: int = 0, end: int = -1, asc: bool = False
    ) -> list[JobScheduler]:
        """Return schedulers from rank ``start`` to ``end``, both included.

        The one that is due last first; with ``asc`` the one that is due first.
        """
        found = schedulers.list_schedulers(self.core, start, end, is_ascending=asc)
        return [JobScheduler.of(scheduler) for scheduler in found]

    def get_job_schedulers_count(self) -> int:
        """Return how many schedulers there are."""
        return schedulers.count_schedulers(self.core)

    def remove_job_scheduler(self, scheduler_id: str) -> bool:
        """Remove a scheduler and its delayed next job; False if there is none. Safe to repeat.

        A job of it that is already in line is still run.
        """
        return schedulers.unschedule(self.core, scheduler_id)


def _read_template(
    scheduler_id: str, template: Mapping[str, Any]
) -> tuple[str, object, Mapping[str, object]]:
    name = template.get("name", scheduler_id)
    if not set(template) <= set(_TEMPLATE) or not isinstance(name, str):
        raise InvalidJobOptions("template", dict(template), "a mapping of name, data and opts")
    return name, template.get("data", {}), template.get("opts") or {}
