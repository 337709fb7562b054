"""Queues that are declared by decorating the function that works them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, update_wrapper
from typing import Any, TypeVar, Unpack, cast, overload

from pydantic_core import to_jsonable_python

from feedmill.batching import run_batch
from feedmill.declared_adding import DeclaredAdding
from feedmill.examples import ExampleJob
from feedmill.jobs import Job
from feedmill.planning import Planned
from feedmill.rules import CLASSES, QueueOptions, QueueRules, read_rules
from feedmill.spans import Span, read_span_ms
from feedmill.workers import Worker
from shared.clock import SystemClock
from shared.errors import InvalidJobOptions
from shared.queue import JobQueue, connect
from shared.queue.batches import BatchResult
from shared.queue.enqueueing import Enqueued, EnqueueOutcome, payload, view_of
from shared.queue.keys import QueueKeys
from shared.queue.options import read_options

M = TypeVar("M")


class Declared(DeclaredAdding[M]):
    """A queue and the function that works it; made by :func:`queue`. Safe for threads.

    Called with a job it is the function itself: so its tests need no Redis. Called with data it
    plans a job, for :func:`flow`.
    """

    def __init__(self, name: str, function: Callable[..., Any], rules: QueueRules) -> None:
        super().__init__(name, function, rules)
        self._hooks: list[tuple[str, Callable[..., object]]] = []
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

        One that works batches is run on a list of jobs. Redis is not asked.

        Raises:
            InvalidJobOptions: data that is none of the function's, or an option that cannot be.
        """
        if isinstance(data, Job) or (self.rules.batch is not None and _are_jobs(data)):
            return self._function(data, **options)
        return self.plan(cast(M, data), **options)

    def on_completed(
        self, hook: Callable[[Job[M], Any], object]
    ) -> Callable[[Job[M], Any], object]:
        """Have ``hook`` called with each job that is completed, and with its result; return it.

        In the workers of this queue that are made from now on, on their threads; it may be missed
        when one is killed. One that fails is logged, and the others are called all the same.
        """
        self._hooks.append(("completed", hook))
        return hook

    def on_failed(
        self, hook: Callable[[Job[M], BaseException], object]
    ) -> Callable[[Job[M], BaseException], object]:
        """Have ``hook`` called with each job that has failed for good, and with the error.

        Not while attempts remain. As :meth:`on_completed`; both may decorate the hook.
        """
        self._hooks.append(("failed", hook))
        return hook

    def example(self, data: M, *, id: str = "1") -> ExampleJob[M]:
        """Return a job as the function would get it, for its tests: it is in no queue.

        Its data has gone through JSON, as that of every job; what the function reports of it is
        kept in lists.

        Raises:
            InvalidJobOptions: data that is none of the function's.
        """
        core = JobQueue(connect("redis://"), self.name, clock=SystemClock())
        options = read_options(self.rules.job_options, {})
        added = payload(core, self.job_name, self._payload.write(data), options)
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
            group=rules.group,
            group_limit=rules.group_limit,
            backoff=None if rules.backoff is None else self._compute_backoff_ms,
            breaker=rules.breaker,
            dead_letter=None if rules.dead_letter is None else self.dead_letters,
        )
        for event, hook in self._hooks:
            worker.on(event, partial(self._report_end, hook))
        return worker

    def _compute_backoff_ms(self, made: int, _: str, error: BaseException, __: Job[Any]) -> int:
        assert self.rules.backoff is not None
        return read_span_ms("backoff", self.rules.backoff(made, error))

    def _run(self, job: Job[Any]) -> object:
        return to_jsonable_python(self._function(self._read(job)), by_alias=True)

    def _run_batch(self, jobs: list[Job[Any]]) -> BatchResult:
        return run_batch(self._function, self._read, jobs)

    def _report_end(self, hook: Callable[..., object], job: Job[Any], outcome: object) -> None:
        # One that is to be tried again has not ended.
        if job.finished_on is not None:
            hook(self._show(job), outcome)


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
        QueueError: a name that BullMQ refuses, its own or that of its ``dead_letter``, or a
            function that does not take a job.
        TypeError: no such option, or no name.
    """
    if not isinstance(name, str):
        raise TypeError('@queue needs the name of a queue, as @queue("emails")')
    QueueKeys("bull", name)
    rules = read_rules(options, batch)
    if rules.dead_letter is not None:
        QueueKeys("bull", rules.dead_letter)
    if rules.dead_letter == name:
        raise InvalidJobOptions("dead_letter", name, "another queue than itself")
    return lambda function: Declared(name, function, rules)
