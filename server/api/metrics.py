"""The numbers for Prometheus: what queues and record hold, and what this process does."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.own_queues import OwnQueues
from server.services import Services
from shared.clock import Clock
from shared.errors import QueueError, StoreError
from shared.queue import JobQueue, sample_queues
from shared.store import FeedCounts, ImportState, LetterKind, Stores
from shared.supervision import ThreadMetrics

# Each is one label value: Prometheus keeps a series for every one of them.
MAX_SOURCES = 200
COUNTS_MAX_AGE_S = 15.0
SILENCE_MAX_AGE_S = 60.0
# Of the time, that asking may take.
MAX_SHARE = 0.05
Answer = TypeVar("Answer")


class Remembered(Generic[Answer]):
    """Asks at most once in ``max_age_s``, however many want to know. Safe for threads.

    Asking also takes no more than a twentieth of the time: what takes long is asked more seldom.
    """

    def __init__(self, ask: Callable[[], Answer], max_age_s: float, clock: Clock) -> None:
        self._ask = ask
        self._max_age_s = max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        # When to ask again, and what was answered.
        self._known: tuple[float, Answer] | None = None

    def get(self) -> Answer:
        """Return the answer; what asking raises is raised."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._known is None or now_s >= self._known[0]:
                answer = self._ask()
                took_s = self._clock.monotonic_s() - now_s
                self._known = (now_s + max(self._max_age_s, took_s / MAX_SHARE), answer)
            return self._known[1]


class QueueMetrics(Collector):
    """Sizes and totals of all queues; without Redis only that it is away.

    The totals are raised by the scripts that settle jobs, so each settled job counts once, whatever
    process settled it. All servers show the same: take the maximum over them, not the sum.
    """

    def __init__(self, read_queues: Callable[[], Mapping[str, JobQueue]]) -> None:
        self._read_queues = read_queues

    def collect(self) -> Iterator[Metric]:
        processed = CounterMetricFamily(
            "bullmq_jobs_processed", "Jobs that ended a run.", labels=["queue", "status"]
        )
        size = GaugeMetricFamily("bullmq_queue_size", "Jobs by state.", labels=["queue", "state"])
        age = GaugeMetricFamily(
            "feedmill_queue_oldest_waiting_seconds",
            "Age of the job that waits longest.",
            labels=["queue"],
        )
        paused = GaugeMetricFamily(
            "feedmill_queue_paused", "Whether somebody paused the queue.", labels=["queue"]
        )
        up = GaugeMetricFamily("feedmill_redis_up", "Whether Redis answers.", value=1)
        try:
            queues = self._read_queues()
            samples = sample_queues(list(queues.values()))
        except QueueError:
            yield GaugeMetricFamily("feedmill_redis_up", "Whether Redis answers.", value=0)
            return
        for name, sample in zip(queues, samples, strict=True):
            for status, count in sample.totals.items():
                processed.add_metric([name, status], count)
            for state, jobs in sample.counts.items():
                size.add_metric([name, str(state)], jobs)
            age.add_metric([name], (sample.oldest_waiting_ms or 0) / 1000)
            paused.add_metric([name], sample.is_paused)
        yield from (processed, size, age, paused, up)


class OwnQueueMetrics(Collector):
    """Which queues are programs' own, and how heavy their jobs are. All servers show the same."""

    def __init__(self, own_queues: OwnQueues) -> None:
        self._own_queues = own_queues

    def collect(self) -> Iterator[Metric]:
        own = GaugeMetricFamily(
            "feedmill_own_queue", "1 for each queue of a program's own.", labels=["queue", "weight"]
        )
        for name, each in self._own_queues.read().items():
            own.add_metric([name, each.record.weight], 1)
        yield own


class WorkersWantedMetrics(Collector):
    """How many workers each item queue can use now; nothing while Redis is away.

    Each server learns by itself how fast workers are: take the maximum over servers, not the sum.
    """

    def __init__(self, count: Callable[[], Mapping[str, int]]) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        wanted = GaugeMetricFamily(
            "feedmill_workers_wanted",
            "Workers that the item queue can use now: to work off its backlog within 60 s, each at "
            "the speed it has shown, not more than the rate limit lets work, at least 1.",
            labels=["queue"],
        )
        with suppress(QueueError):
            for name, workers in self._count().items():
                wanted.add_metric([name], workers)
        yield wanted


@dataclass(frozen=True, slots=True)
class _Counts:
    """What is counted in the record, and since when the longest due feed is due."""

    open_imports: Mapping[ImportState, int]
    dead_letters: Mapping[LetterKind, int]
    feeds: FeedCounts
    due_since: datetime | None


class RecordMetrics(Collector):
    """Imports, dead letters and feeds; without MongoDB only that it is away.

    All servers show the same: take the maximum over them, not the sum.
    """

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock
        self._counts = Remembered(self._count, COUNTS_MAX_AGE_S, clock)
        self._silence = Remembered(
            lambda: stores.feeds.find_most_silent(MAX_SOURCES), SILENCE_MAX_AGE_S, clock
        )

    def collect(self) -> Iterator[Metric]:
        try:
            self._stores.database.ping()
            counts, silence = self._counts.get(), self._silence.get()
        except StoreError:
            yield _gauge("feedmill_mongodb_up", "Whether MongoDB answers.", 0)
            return
        yield _gauge("feedmill_mongodb_up", "Whether MongoDB answers.", 1)
        yield from self._show_counts(counts)
        yield from self._show_silence(silence, counts.feeds.scheduled)

    def _count(self) -> _Counts:
        stores = self._stores
        due = stores.feeds.find_due(self._clock.now(), 1)
        return _Counts(
            open_imports=stores.imports.count_open(),
            dead_letters={kind: stores.dead_letters.count(kind) for kind in LetterKind},
            feeds=stores.feeds.count(),
            due_since=due[0].next_fetch_at if due else None,
        )

    def _show_counts(self, counts: _Counts) -> Iterator[Metric]:
        imports = GaugeMetricFamily(
            "feedmill_open_imports", "Imports that are not closed.", labels=["state"]
        )
        for state, count in counts.open_imports.items():
            imports.add_metric([state], count)
        letters = GaugeMetricFamily(
            "feedmill_dead_letters", "Items that died, or were removed for good.", labels=["kind"]
        )
        for kind, count in counts.dead_letters.items():
            letters.add_metric([kind], count)
        yield from (imports, letters)
        feeds = counts.feeds
        yield _gauge("feedmill_feeds", "Feeds.", feeds.feeds)
        yield _gauge("feedmill_feeds_scheduled", "Feeds fetched by themselves.", feeds.scheduled)
        yield _gauge("feedmill_feeds_failing", "Enabled feeds that failed last.", feeds.failing)
        lag_s = 0.0 if counts.due_since is None else self._seconds_since(counts.due_since)
        yield _gauge("feedmill_fetch_lag_seconds", "How late the longest due fetch is.", lag_s)

    def _show_silence(self, silence: Mapping[str, datetime], scheduled: int) -> Iterator[Metric]:
        seconds = GaugeMetricFamily(
            "feedmill_seconds_since_new_item",
            f"Since an import brought a new item; the {MAX_SOURCES} most silent scheduled feeds.",
            labels=["source"],
        )
        for source, at in silence.items():
            seconds.add_metric([source], self._seconds_since(at))
        yield seconds
        yield _gauge(
            "feedmill_sources_left_out",
            "Scheduled feeds that feedmill_seconds_since_new_item leaves out.",
            max(0, scheduled - len(silence)),
        )

    def _seconds_since(self, moment: datetime) -> float:
        return max(0.0, (self._clock.now() - moment).total_seconds())


class Metrics:
    """All collectors of a server, in a registry of its own, and what its process uses."""

    def __init__(self, *collectors: Collector) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        for collector in collectors:
            self.registry.register(collector)

    @classmethod
    def of(cls, services: Services, *more: Collector) -> "Metrics":
        """Return what a server shows, and what ``more`` collect."""
        return cls(
            QueueMetrics(lambda: services.queues),
            OwnQueueMetrics(services.own_queues),
            RecordMetrics(services.stores, services.clock),
            services.import_metrics,
            ThreadMetrics(services.supervisor),
            *more,
        )

    def render(self) -> bytes:
        """Return the text format that Prometheus reads."""
        return generate_latest(self.registry)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
