"""What a queue looks like from outside: counts, rate, age, and what limits its speed."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from pydantic import BaseModel, Field

from server.api.values import show_text
from server.api.workers_wanted import Load, WorkerSpeed, count_workers_wanted
from server.own_queues import OwnQueues
from shared.clock import Clock
from shared.queue import (
    GroupLimit,
    JobQueue,
    JobState,
    QueueSample,
    RateLimit,
    WorkerSign,
    WorkerSigns,
    find_workers,
    sample_queues,
)
from shared.queue.registry import DEAD_LETTERS, QueueRecord

# A free worker claims what waits within a moment; what waits longer has none.
_NO_WORKER_AFTER_MS = 5_000
# Between two windows the limit is not used up, and yet it is what limits.
_NEAR_LIMIT = 0.9
WINDOW_S = 60.0
# Two samples closer than this make no rate.
MIN_SPAN_S = 1.0
_MOVING = (JobState.WAITING, JobState.PRIORITIZED, JobState.ACTIVE)
LimitedBy = Literal["breaker", "no_worker", "paused", "rate_limit", "workers"]
# Of several queues the one is named that needs somebody most.
_WORST_FIRST: tuple[LimitedBy, ...] = (
    "breaker",
    "no_worker",
    "paused",
    "rate_limit",
    "workers",
)


class RateLimitAnswer(BaseModel):
    """At most so many jobs are started in each window, over all workers."""

    max_jobs: int
    duration_ms: int


class PartitionAnswer(BaseModel):
    """A part of an item queue, under a prefix of its own."""

    prefix: str
    is_paused: bool
    counts: dict[JobState, int]
    oldest_waiting_ms: int | None


class QueueAnswer(BaseModel):
    """A queue."""

    name: str
    weight: str | None = Field(
        None,
        description="of your own queues: how heavy the jobs are, or that they are dead letters; "
        "null for Feedmill's queues",
    )
    is_paused: bool
    counts: dict[JobState, int] = Field(description="jobs by BullMQ's states")
    totals: dict[str, int] = Field(description="completed, failed and retried since Redis began")
    rate_per_s: float | None = Field(description="jobs completed per second, over the last minute")
    oldest_waiting_ms: int | None = Field(description="age of the oldest waiting job")
    rate_limit: RateLimitAnswer | None
    limited_by: Literal["breaker", "no_worker", "paused", "rate_limit", "workers"] | None = Field(
        description="what limits the speed right now; null when nothing waits"
    )
    limited_by_text: str = Field(description="the same in a few words")
    workers_wanted: int | None = Field(
        None,
        description="of an item queue: how many workers its backlog can use now, given their speed "
        "and the rate limit; at least 1",
    )
    partitions: list[PartitionAnswer] = Field(
        [], description="its parts, where QUEUE_PARTITIONS is more than one; above are their sums"
    )

    @property
    def is_moving(self) -> bool:
        """Whether jobs are run, or wait for somebody who runs them."""
        return self.limited_by is not None and any(self.counts[state] for state in _MOVING)


class QueueRole(Enum):
    """Who takes a queue's jobs: workers, the servers, or nobody by himself.

    Those of a program's own queue are taken by workers that have its app.
    """

    ITEMS = "items"
    FETCHES = "fetches"
    DEAD_LETTERS = "dead letters"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue at one moment. ``workers`` are those that live and take its jobs."""

    role: QueueRole
    counts: Mapping[JobState, int]
    is_paused: bool = False
    oldest_waiting_ms: int | None = None
    rate_per_s: float | None = None
    rate_limit: RateLimit | None = None
    is_rate_used_up: bool = False
    group_limit: GroupLimit | None = None
    workers: Sequence[WorkerSign] = ()

    @property
    def waiting(self) -> int:
        """How many jobs could be started now."""
        return self.counts[JobState.WAITING] + self.counts[JobState.PRIORITIZED]

    @property
    def active(self) -> int:
        """How many jobs are being run."""
        return self.counts[JobState.ACTIVE]


@dataclass(frozen=True, slots=True)
class SpeedLimit:
    """What holds waiting jobs up; ``kind`` is None when nothing does."""

    kind: LimitedBy | None
    text: str


_NOTHING_WAITS = SpeedLimit(None, "nothing waits")


class RateMeter:
    """Remembers a queue's totals over the last minute; safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def add(self, completed: int) -> float | None:
        """Add a sample; returns completed jobs a second, or None when it is too early to know."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            if self._samples and completed < self._samples[-1][1]:
                self._samples.clear()  # Redis lost its counters
            self._samples.append((now_s, completed))
            while len(self._samples) > 2 and self._samples[1][0] <= now_s - WINDOW_S:
                self._samples.popleft()
            first_s, first = self._samples[0]
        span_s = now_s - first_s
        return (completed - first) / span_s if span_s >= MIN_SPAN_S else None


class QueueStatus:
    """Shows queues, and what limits each; ``read_rate_limits`` names those with a limit now."""

    def __init__(
        self,
        roles: Mapping[QueueRole, Sequence[JobQueue]],
        read_rate_limits: Callable[[], Mapping[str, RateLimit]],
        own_queues: OwnQueues,
        signs: WorkerSigns,
        clock: Clock,
    ) -> None:
        self._queues = [queue for queues in roles.values() for queue in queues]
        self._roles = {queue.name: role for role, queues in roles.items() for queue in queues}
        self._read_rate_limits = read_rate_limits
        self._own_queues = own_queues
        self._signs = signs
        self._clock = clock
        self._meters: dict[str, RateMeter] = {}
        self._speeds: dict[str, WorkerSpeed] = {}

    def show_all(self) -> list[QueueAnswer]:
        """Return all queues. Called from time to time, so that the rates are known.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        own = [own.queue for own in self._own_queues.read().values()]
        return self._show([*self._queues, *own])

    def count_workers_wanted(self) -> dict[str, int]:
        """Return for each item queue how many workers it can use now.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        items = [each for each in self._queues if self._roles[each.name] is QueueRole.ITEMS]
        shown = self._show(items)
        return {each.name: each.workers_wanted for each in shown if each.workers_wanted is not None}

    def show(self, queue: JobQueue) -> QueueAnswer:
        """Return one queue."""
        return self._show([queue])[0]

    def _show(self, queues: Sequence[JobQueue]) -> list[QueueAnswer]:
        signs = self._signs.read()
        samples = zip(queues, sample_queues(queues), strict=True)
        return [self._answer(queue, sample, signs) for queue, sample in samples]

    def _answer(
        self, queue: JobQueue, sample: QueueSample, signs: Sequence[WorkerSign]
    ) -> QueueAnswer:
        meter = self._meters.setdefault(queue.name, RateMeter(self._clock))
        rate_per_s = meter.add(sample.totals["completed"])
        record = self._record_of(queue.name)
        view = self._view(queue, sample, signs, rate_per_s, record)
        limit = find_speed_limit(view)
        rate_limit = view.rate_limit
        return QueueAnswer(
            name=queue.name,
            weight=None if record is None else record.weight,
            is_paused=view.is_paused,
            counts=dict(view.counts),
            totals=dict(sample.totals),
            rate_per_s=round(rate_per_s, 3) if rate_per_s is not None else None,
            oldest_waiting_ms=view.oldest_waiting_ms,
            rate_limit=RateLimitAnswer(
                max_jobs=rate_limit.max_jobs, duration_ms=rate_limit.duration_ms
            )
            if rate_limit
            else None,
            limited_by=limit.kind,
            limited_by_text=limit.text,
            workers_wanted=self._count_workers_wanted(queue.name, view, limit),
            partitions=_show_partitions(queue),
        )

    def _count_workers_wanted(self, name: str, view: QueueView, limit: SpeedLimit) -> int | None:
        if view.role is not QueueRole.ITEMS:
            return None
        speed = self._speeds.setdefault(name, WorkerSpeed(self._clock))
        is_busy = limit.kind == "workers" and view.waiting > 0
        per_worker = speed.learn(view.rate_per_s, len(view.workers), is_busy=is_busy)
        return count_workers_wanted(_load_of(view, limit), per_worker)

    def _view(
        self,
        queue: JobQueue,
        sample: QueueSample,
        signs: Sequence[WorkerSign],
        rate_per_s: float | None,
        record: QueueRecord | None,
    ) -> QueueView:
        limit = self._read_rate_limits().get(queue.name) if record is None else record.limit
        return QueueView(
            role=self._role_of(queue.name, record),
            counts=sample.counts,
            is_paused=sample.is_paused,
            oldest_waiting_ms=sample.oldest_waiting_ms,
            rate_per_s=rate_per_s,
            rate_limit=limit,
            is_rate_used_up=sample.rate_limit_ttl_ms > 0,
            group_limit=sample.group_limit,
            workers=find_workers(signs, queue.name),
        )

    def _role_of(self, name: str, record: QueueRecord | None) -> QueueRole:
        if record is not None and record.weight == DEAD_LETTERS:
            return QueueRole.DEAD_LETTERS
        return self._roles.get(name, QueueRole.OWN)

    def _record_of(self, name: str) -> QueueRecord | None:
        """Return what a program says of its own queue; None for one of Feedmill's."""
        own = self._own_queues.read().get(name)
        return None if own is None else own.record


def _show_partitions(queue: JobQueue) -> list[PartitionAnswer]:
    if len(queue.parts) == 1:
        return []
    return [
        PartitionAnswer(
            prefix=part.prefix,
            is_paused=sample.is_paused,
            counts=dict(sample.counts),
            oldest_waiting_ms=sample.oldest_waiting_ms,
        )
        for part, sample in zip(queue.parts, sample_queues(queue.parts), strict=True)
    ]


def _load_of(queue: QueueView, limit: SpeedLimit) -> Load:
    # With a limit of each source the prioritized ones stand in its lines, or start in no time.
    lined = queue.counts[JobState.PRIORITIZED] if queue.group_limit is not None else 0
    rate = queue.rate_limit
    return Load(
        ready=queue.waiting - lined + queue.active,
        workers=len(queue.workers),
        limit_per_s=None if rate is None else rate.max_jobs * 1000 / rate.duration_ms,
        is_paused=queue.is_paused,
        is_store_away=limit.kind == "breaker",
    )


def find_speed_limit(queue: QueueView) -> SpeedLimit:
    """Return what limits a queue, whatever would have to change first."""
    if queue.is_paused:
        return SpeedLimit("paused", "paused by an operator")
    if not queue.waiting + queue.active:
        return _NOTHING_WAITS
    if queue.role is QueueRole.DEAD_LETTERS:
        return SpeedLimit(None, "dead letters wait for a replay")
    if queue.role is QueueRole.FETCHES:
        return SpeedLimit("workers", f"fetches under way: {queue.active}")
    return _find_item_limit(queue)


def find_worst_limit(limits: Mapping[str, SpeedLimit]) -> SpeedLimit:
    """Return the limit of several queues that needs somebody most; it names whose it is."""
    for kind in _WORST_FIRST:
        found = [limit for limit in limits.values() if limit.kind == kind]
        if found:
            names = ", ".join(name for name, limit in limits.items() if limit == found[0])
            return SpeedLimit(kind, f"{found[0].text} ({names})")
    return _NOTHING_WAITS


def describe_rate_limit(limit: RateLimit) -> str:
    """Return a limit as ``100/s``, or with its window: ``100 per 2.5 s``."""
    if limit.duration_ms == 1000:
        return f"{limit.max_jobs}/s"
    return f"{limit.max_jobs} per {limit.duration_ms / 1000:g} s"


def _find_item_limit(queue: QueueView) -> SpeedLimit:
    stopped = [worker for worker in queue.workers if worker.is_breaker_open]
    if stopped and len(stopped) == len(queue.workers):
        return SpeedLimit("breaker", f"breaker open: {show_text(stopped[0].breaker_reason or '')}")
    if not queue.workers and _has_waited(queue):
        return SpeedLimit("no_worker", "no worker takes its jobs")
    if queue.rate_limit is not None and queue.waiting and _is_at_limit(queue, queue.rate_limit):
        return SpeedLimit("rate_limit", f"rate limit {describe_rate_limit(queue.rate_limit)}")
    if queue.group_limit is not None and _waits_for_groups(queue):
        limit = RateLimit(queue.group_limit.max_jobs, queue.group_limit.duration_ms)
        text = f"rate limit {describe_rate_limit(limit)} of each {queue.group_limit.key}"
        return SpeedLimit("rate_limit", show_text(text))
    number = len(queue.workers)
    count = f"{number} worker{'' if number == 1 else 's'}" if number else "workers"
    jobs = f"{queue.active} job{'' if queue.active == 1 else 's'} in flight"
    return SpeedLimit("workers", f"{count} at full speed, {jobs}")


def _has_waited(queue: QueueView) -> bool:
    """Return whether no job waits (those in flight are nobody's any more), or one has for long."""
    return not queue.waiting or (queue.oldest_waiting_ms or 0) > _NO_WORKER_AFTER_MS


def _waits_for_groups(queue: QueueView) -> bool:
    """Return whether all that waits is lined up by a limit of groups: none of it may start."""
    counts = queue.counts
    return bool(counts[JobState.PRIORITIZED]) and not counts[JobState.WAITING] + queue.active


def _is_at_limit(queue: QueueView, limit: RateLimit) -> bool:
    if queue.is_rate_used_up:
        return True
    allowed_per_s = limit.max_jobs * 1000 / limit.duration_ms
    return (queue.rate_per_s or 0.0) >= _NEAR_LIMIT * allowed_per_s
