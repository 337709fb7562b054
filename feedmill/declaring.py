"""Queues that are declared by decorating the function that works them."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial, update_wrapper
from typing import Any, Generic, TypeVar, cast, overload

from pydantic_core import to_jsonable_python

from feedmill.configuring import Place, current_place
from feedmill.examples import ExampleJob
from feedmill.jobs import Job
from feedmill.payloads import read_payload_type
from feedmill.planning import Planned
from feedmill.queues import Queue
from feedmill.spans import Keep, Span, read_backoff, read_keep, read_rate, read_span_ms
from feedmill.weights import CLASSES, Weight, read_weight
from feedmill.workers import Worker
from shared.clock import SystemClock
from shared.errors import InvalidJobOptions, UnrecoverableError
from shared.queue import JobQueue, connect
from shared.queue.enqueueing import Enqueued, EnqueueOutcome, payload, view_of
from shared.queue.keys import QueueKeys
from shared.queue.options import read_options

M = TypeVar("M")

# One thread each.
MAX_CONCURRENCY = 1000


@dataclass(frozen=True, slots=True)
class QueueRules:
    """How a declared queue's jobs are added, and how they are worked."""

    weight: Weight
    concurrency: int
    job_options: Mapping[str, object]
    run_limit_s: float | None
    limiter: tuple[int, int] | None


class Declared(Generic[M]):
    """A queue and the function that works it; made by :func:`queue`. Safe for threads.

    Called with a job it is the function itself: so its tests need no Redis. Called with data it
    plans a job, for :func:`flow`.
    """

    def __init__(self, name: str, function: Callable[[Job[M]], object], rules: QueueRules) -> None:
        self.name = name
        self.rules = rules
        self._function = function
        self._payload = read_payload_type(name, function)
        self._hooks: list[tuple[str, Callable[..., object]]] = []
        self._opening = threading.Lock()
        self._opened: tuple[Place, Queue] | None = None
        update_wrapper(self, function)

    @overload
    def __call__(self, job: Job[M], /) -> object: ...  # type: ignore[overload-overlap]

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

    def __call__(self, data: Job[M] | M, /, **options: Any) -> object:
        """Run the function on a job, and nothing more; or plan a job that carries the data.

        Redis is not asked.

        Raises:
            InvalidJobOptions: data that is none of the function's, or an option that cannot be.
        """
        if isinstance(data, Job):
            return self._function(data, **options)
        return self.plan(data, **options)

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
        BullMQ's ``deduplication`` with its ``ttl`` as a span.

        Raises:
            InvalidJobOptions, InvalidJobId: data that is none of the function's, or an option that
                cannot be; nothing was added.
            QueueUnavailable, QueueFull: as :meth:`Queue.add`.
        """
        written = self._payload.write(data)
        options = _add_options(id, delay, priority) | {"deduplication": _read_dedup(dedup)}
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
        written = self._payload.write(cast(M, {}) if data is None else data)
        options = _add_options(id, delay, priority)
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

    def worker(self) -> Worker:
        """Return what works the queue by the rules that it was declared with; nothing runs yet.

        Raises:
            QueueError: no Redis is named.
        """
        rules, of_weight = self.rules, CLASSES[self.rules.weight]
        worker = Worker(
            self.queue,
            self._run,
            concurrency=rules.concurrency,
            lock_duration=of_weight.lock_ms,
            stalled_interval=of_weight.stalled_ms,
            run_limit_s=rules.run_limit_s,
            limiter=rules.limiter,
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
            clock=place.clock,
        )

    def _run(self, job: Job[Any]) -> object:
        return to_jsonable_python(self._function(self._read(job)), by_alias=True)

    def _tell_end(self, hook: Callable[..., object], job: Job[Any], outcome: object) -> None:
        # One that is to be tried again has not ended.
        if job.finished_on is not None:
            hook(self._show(job), outcome)

    def _read(self, job: Job[Any]) -> Job[M]:
        return replace(job, data=self._payload.read(job.data))

    def _show(self, job: Job[Any]) -> Job[M]:
        # It may be one that was there, added by an older program.
        try:
            return self._read(job)
        except UnrecoverableError:
            return job


def queue(
    name: str,
    *,
    weight: str = "light",
    concurrency: int | None = None,
    attempts: int = 1,
    backoff: Span | None = None,
    keep: Keep | None = None,
    timeout: Span | None = None,
    limit: str | None = None,
) -> Callable[[Callable[[Job[M]], object]], Declared[M]]:
    """Declare a queue: the function decorated works its jobs, and adds them.

    ::

        @queue("emails", attempts=3, backoff="2s exp", keep={"count": 100, "age": "24h"})
        def send(job: Job[Email]) -> None: ...

        send.add(Email(to="ann@example.org"), id="welcome-7", delay="7d")

    ``Email`` is a pydantic model, or any other type that pydantic can check. ``feedmill worker
    --app MODULE`` works what a module declares: ``weight`` light is 50 at a time, medium 10,
    heavy 1, unless ``concurrency`` is another number. ``attempts``, ``backoff`` ("2s", "2s exp")
    and ``keep`` are those of its jobs; without ``keep`` finished jobs are kept for ever, as in
    BullMQ. A run that takes longer than ``timeout`` is given up and uses an attempt.
    ``limit`` ("100/s"): so many jobs are started in that time, over all workers.

    Raises:
        InvalidJobOptions: a value that cannot be.
        QueueError: a name that BullMQ refuses, or a function that does not take a job.
    """
    QueueKeys("bull", name)
    chosen = read_weight(weight)
    rules = QueueRules(
        weight=chosen,
        concurrency=_read_concurrency(concurrency, chosen),
        job_options=_job_options(attempts, backoff, keep),
        run_limit_s=None if timeout is None else read_span_ms("timeout", timeout) / 1000,
        limiter=None if limit is None else read_rate("limit", limit),
    )
    return lambda function: Declared(name, function, rules)


def _job_options(attempts: int, backoff: Span | None, keep: Keep | None) -> dict[str, object]:
    options: dict[str, object] = {"attempts": attempts}
    if backoff is not None:
        options["backoff"] = read_backoff(backoff)
    if keep is not None:
        options["remove_on_complete"] = options["remove_on_fail"] = read_keep(keep)
    read_options(options, {})
    return options


def _read_concurrency(concurrency: int | None, weight: Weight) -> int:
    if concurrency is None:
        return CLASSES[weight].concurrency
    if isinstance(concurrency, bool) or not 1 <= concurrency <= MAX_CONCURRENCY:
        raise InvalidJobOptions(
            "concurrency", concurrency, f"a whole number from 1 to {MAX_CONCURRENCY}"
        )
    return concurrency


def _add_options(id: str | None, delay: Span | None, priority: int | None) -> dict[str, object]:
    delay_ms = None if delay is None else read_span_ms("delay", delay)
    return {"job_id": id, "delay": delay_ms, "priority": priority}


def _read_dedup(dedup: str | Mapping[str, object] | None) -> Mapping[str, object] | None:
    if dedup is None or isinstance(dedup, str):
        return None if dedup is None else {"id": dedup}
    ttl = dedup.get("ttl")
    return dedup if ttl is None else {**dedup, "ttl": read_span_ms("dedup ttl", ttl)}
