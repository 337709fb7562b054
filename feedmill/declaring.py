"""Queues that are declared by decorating the function that works them."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial, update_wrapper
from typing import Any, Generic, TypeVar, Unpack, cast, overload

from pydantic_core import to_jsonable_python

from feedmill.batching import run_batch
from feedmill.configuring import Place, current_place
from feedmill.examples import ExampleJob
from feedmill.jobs import Job
from feedmill.payloads import read_payload_type
from feedmill.planning import Planned
from feedmill.queues import Queue
from feedmill.rules import QueueOptions, QueueRules, read_add_options, read_rules
from feedmill.schedules import Schedule, ScheduleOptions, make_schedules, read_schedule
from feedmill.spans import Span, read_span_ms
from feedmill.weights import CLASSES
from feedmill.workers import Worker
from shared.clock import SystemClock
from shared.errors import InvalidJobOptions, UnrecoverableError
from shared.queue import JobQueue, connect
from shared.queue.batches import BatchResult
from shared.queue.enqueueing import Enqueued, EnqueueOutcome, payload, view_of
from shared.queue.keys import QueueKeys
from shared.queue.options import read_options

M = TypeVar("M")


class Declared(Generic[M]):
    """A queue and the function that works it; made by :func:`queue`. Safe for threads.

    Called with a job it is the function itself: so its tests need no Redis. Called with data it
    plans a job, for :func:`flow`.
    """

    def __init__(self, name: str, function: Callable[..., Any], rules: QueueRules) -> None:
        self.name = name
        self.rules = rules
        self._function = function
        self._payload = read_payload_type(name, function, in_batches=rules.batch is not None)
        self._hooks: list[tuple[str, Callable[..., object]]] = []
        self._schedules: list[Schedule] = []
        self._opening = threading.Lock()
        self._opened: tuple[Place, Queue] | None = None
        update_wrapper(self, function)

    @overload
    def __call__(self, job: Job[M], /) -> object: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, jobs: list[Job[M]], /) -> object: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(
        self,
        data: M,
        /,
        *,
        id: str | None = None,
        delay: Span | None = None,
        priority: int | None = None,
    ) -> Planned: ...

    def __call__(self, data: Job[M] | list[Job[M]] | M, /, **options: Any) -> object:
        """Run the function on a job, and nothing more; or plan a job that carries the data.

        One that works batches is run on a list of jobs.

        Redis is not asked.

        Raises:
            InvalidJobOptions: data that is none of the function's, or an option that cannot be.
        """
        if isinstance(data, Job) or (self.rules.batch is not None and _are_jobs(data)):
            return self._function(data, **options)
        return self.plan(cast(M, data), **options)

    def __repr__(self) -> str:
        return f"<queue {self.name!r} worked by {self._function.__qualname__}>"

    @property
    def queue(self) -> Queue:
        """The queue itself, for all that a queue can do.

        Raises:
            QueueError: no Redis is named.
        """
        place = current_place()
        with self._opening:
            if self._opened is None or self._opened[0] is not place:
                self._opened = (place, self._open(place))
            return self._opened[1]

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
        return self._show(
            self.queue.add(self._function.__name__, written, caller=caller, **options)
        )

    def add_many(self, data: Iterable[M], *, caller: str | None = None) -> list[Job[M]]:
        """Add a job for each, in order; all are checked before the first is added.

        500 jobs or 8 MiB a round trip, each of these whole or not at all. Otherwise as :meth:`add`.
        """
        name = self._function.__name__
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
        name = self._function.__name__
        return Planned(self.name, name, written, options, self.rules.job_options)

    def on_completed(self, hook: Callable[[Job[M], Any], object]) -> None:
        """Have ``hook`` called with each job that is completed, and with its result.

        In the workers of this queue that are made from now on, on their threads; it may be missed
        when one is killed. One that fails is logged, and the others are called all the same.
        """
        self._hooks.append(("completed", hook))

    def on_failed(self, hook: Callable[[Job[M], BaseException], object]) -> None:
        """Have ``hook`` called with each job that has failed for good, and with the error.

        Not while attempts remain. As :meth:`on_completed`.
        """
        self._hooks.append(("failed", hook))

    def example(self, data: M, *, id: str = "1") -> ExampleJob[M]:
        """Return a job as the function would get it, for its tests: it is in no queue.

        Its data has gone through JSON, as that of every job; what the function tells of it is kept
        in lists.

        Raises:
            InvalidJobOptions: data that is none of the function's.
        """
        core = JobQueue(connect("redis://"), self.name, clock=SystemClock())
        options = read_options(self.rules.job_options, {})
        added = payload(core, self._function.__name__, self._payload.write(data), options)
        job = ExampleJob[Any].of(core, view_of(added, Enqueued(id, EnqueueOutcome.ADDED)))
        return replace(job, data=self._payload.read(job.data))

    def worker(self, name: str | None = None) -> Worker:
        """Return what works the queue by the rules that it was declared with; nothing runs yet.

        ``name`` is written into the jobs that it runs, and shown to who lists workers.

        Raises:
            QueueError: no Redis is named.
        """
        rules, of_weight = self.rules, CLASSES[self.rules.weight]
        worker = Worker(
            self.queue,
            self._run if rules.batch is None else self._run_batch,
            name=name,
            batch=rules.batch,
            within_s=rules.within_s,
            concurrency=rules.concurrency,
            lock_duration=of_weight.lock_ms,
            stalled_interval=of_weight.stalled_ms,
            run_limit_s=rules.run_limit_s,
            limiter=rules.limiter,
            backoff=None if rules.backoff is None else self._compute_backoff_ms,
            breaker=rules.breaker,
        )
        for event, hook in self._hooks:
            worker.on(event, partial(self._tell_end, hook))
        return worker

    def _open(self, place: Place) -> Queue:
        return Queue(
            self.name,
            place.client,
            prefix=place.prefix,
            default_job_options=self.rules.job_options,
            add_limit=self.rules.add_limit,
            clock=place.clock,
        )

    def _compute_backoff_ms(self, made: int, _: str, error: BaseException, __: Job[Any]) -> int:
        assert self.rules.backoff is not None
        return read_span_ms("backoff", self.rules.backoff(made, error))

    def _run(self, job: Job[Any]) -> object:
        return to_jsonable_python(self._function(self._read(job)), by_alias=True)

    def _run_batch(self, jobs: list[Job[Any]]) -> BatchResult:
        return run_batch(self._function, self._read, jobs)

    def _tell_end(self, hook: Callable[..., object], job: Job[Any], outcome: object) -> None:
        # One that is to be tried again has not ended.
        if job.finished_on is not None:
            hook(self._show(job), outcome)

    def _read_schedule(self, when: Span, data: M | None, options: ScheduleOptions) -> Schedule:
        name = self._function.__name__
        return read_schedule(name, when, {"name": name, "data": self._write(data)}, options)

    def _write(self, data: M | None) -> object:
        return self._payload.write(cast(M, {}) if data is None else data)

    def _read(self, job: Job[Any]) -> Job[M]:
        return replace(job, data=self._payload.read(job.data))

    def _show(self, job: Job[Any]) -> Job[M]:
        # It may be one that was there, added by an older program.
        try:
            return self._read(job)
        except UnrecoverableError:
            return job


def _are_jobs(data: object) -> bool:
    return isinstance(data, list) and all(isinstance(each, Job) for each in data)


@overload
def queue(
    name: str, *, batch: int, **options: Unpack[QueueOptions]
) -> Callable[[Callable[[list[Job[M]]], BatchResult]], Declared[M]]: ...


@overload
def queue(
    name: str, **options: Unpack[QueueOptions]
) -> Callable[[Callable[[Job[M]], object]], Declared[M]]: ...


def queue(
    name: str, *, batch: int | None = None, **options: Unpack[QueueOptions]
) -> Callable[[Callable[..., Any]], Declared[Any]]:
    """Declare a queue: the function decorated works its jobs, and adds them.

    ::

        @queue("emails", attempts=3, backoff="2s exp", keep={"count": 100, "age": "24h"})
        def send(job: Job[Email]) -> None: ...

        send.add(Email(to="ann@example.org"), id="welcome-7", delay="7d")

        @queue("events", batch=500, within="3s")
        def store(jobs: list[Job[Event]]) -> BatchResult: ...

    ``Email`` is a pydantic model, or any other type that pydantic can check. With ``batch`` the
    function works up to so many jobs in one call, and returns None, or an outcome for each: an
    error, or else its result. What else a queue can be told is in :class:`QueueOptions`.
    ``feedmill worker --app MODULE`` works what a module declares.

    Raises:
        InvalidJobOptions: a value that cannot be.
        QueueError: a name that BullMQ refuses, or a function that does not take a job.
        TypeError: no such option.
    """
    QueueKeys("bull", name)
    rules = read_rules(options, batch)
    return lambda function: Declared(name, function, rules)
