"""Adding jobs to a declared queue: now, by the clock, or in a flow."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar, Unpack

from feedmill.declared import DeclaredBase
from feedmill.jobs import Job
from feedmill.planning import Planned
from feedmill.rules import QueueRules, read_add_options
from feedmill.schedules import Schedule, ScheduleOptions, make_schedules, read_schedule
from feedmill.spans import Span
from shared.errors import InvalidJobOptions
from shared.queue.options import read_options

M = TypeVar("M")


class DeclaredAdding(DeclaredBase[M]):
    """The part of a declared queue that adds jobs."""

    def __init__(self, name: str, function: Callable[..., Any], rules: QueueRules) -> None:
        super().__init__(name, function, rules)
        self._schedules: list[Schedule] = []

    def add(
        self,
        data: M,
        *,
        id: str | None = None,
        delay: Span | None = None,
        priority: int | None = None,
        dedup: str | Mapping[str, object] | None = None,
        caller: str | None = None,
    ) -> Job[M]:
        """Add a job and return it; its name is the function's.

        ``id`` makes it unique: where it is taken, nothing is added and the job that is there is
        returned, its data as it lies there if the function takes such data no longer. Without an
        id it is not safe to repeat. ``dedup``: one job of this name waits or runs at a time; or
        BullMQ's ``deduplication`` with its ``ttl`` as a span. ``caller`` is who adds, for a queue
        with an ``add_limit``.

        Raises:
            InvalidJobOptions, InvalidJobId: data that is none of the function's, or an option that
                cannot be; nothing was added.
            AddLimitExceeded, QueueUnavailable, QueueFull: as :meth:`Queue.add`.
        """
        written = self._payload.write(data)
        options = read_add_options(id, delay, priority, dedup)
        return self._show(self.queue.add(self.job_name, written, caller=caller, **options))

    def add_many(self, data: Iterable[M], *, caller: str | None = None) -> list[Job[M]]:
        """Add a job for each, in order; all are checked before the first is added.

        500 jobs or 8 MiB a round trip, each of these whole or not at all. Otherwise as :meth:`add`.
        """
        name = self.job_name
        entries = [{"name": name, "data": self._payload.write(each)} for each in data]
        return [self._show(job) for job in self.queue.add_bulk(entries, caller=caller)]

    def every(
        self, when: Span, data: M | None = None, **options: Unpack[ScheduleOptions]
    ) -> Job[M]:
        """Have a job added each ``"15m"``, or at the times of a crontab pattern; return the next.

        At once, for all of its workers together: each time comes once, and with a span the first
        job comes now. Who calls this again with the same ``id``, as at each start, changes that
        schedule, and makes no second one.

        Raises:
            InvalidJobOptions: data that is none of the function's, or a value that cannot be;
                nothing was changed.
            JobStateError, QueueFull: as :meth:`Queue.upsert_job_scheduler`.
        """
        asked = self._read_schedule(when, data, options)
        return self._show(self.queue.upsert_job_scheduler(asked.id, asked.repeat, asked.template))

    def schedule(
        self, when: Span, data: M | None = None, **options: Unpack[ScheduleOptions]
    ) -> None:
        """Declare what :meth:`every` does at once: its workers see to it, and Redis is not asked.

        For the module that declares the queue. What is declared otherwise under the same ``id``
        replaces it, and what is declared no more ends, when the next worker starts.

        Raises:
            InvalidJobOptions: as :meth:`every`, or a second schedule of one ``id``.
        """
        asked = self._read_schedule(when, data, options)
        if asked.id in self.schedule_ids:
            raise InvalidJobOptions("id", asked.id, "one that no other schedule of it has")
        self._schedules.append(asked)

    @property
    def schedule_ids(self) -> tuple[str, ...]:
        """The ids of the schedules that it is declared with."""
        return tuple(each.id for each in self._schedules)

    def make_schedules(self, former: Collection[str] = (), *, only_missing: bool = False) -> None:
        """Let the schedules that it is declared with begin, as its workers do at their start.

        ``former`` are ids of schedules that end if they are declared no more. Safe to repeat.

        Raises:
            QueueUnavailable: some may have begun.
        """
        make_schedules(self.queue, self._schedules, former, only_missing=only_missing)

    def plan(
        self,
        data: M | None = None,
        *,
        id: str | None = None,
        delay: Span | None = None,
        priority: int | None = None,
    ) -> Planned:
        """Return a job that is to be added with those that it waits for, see :func:`flow`.

        ``delay`` and ``priority`` count from when its children are done. Without data it is empty.

        Raises:
            InvalidJobOptions: data that is none of the function's, or an option that cannot be.
        """
        written = self._write(data)
        options = read_add_options(id, delay, priority)
        read_options(self.rules.job_options, options)
        return Planned(self.name, self.job_name, written, options, self.rules.job_options)

    def _read_schedule(self, when: Span, data: M | None, options: ScheduleOptions) -> Schedule:
        template = {"name": self.job_name, "data": self._write(data)}
        return read_schedule(self.job_name, when, template, options)
