"""The numbers for Prometheus, read when they are asked for."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.errors import QueueUnavailable, StoreUnavailable
from shared.queue import JobQueue


class QueueMetrics(Collector):
    """Sizes and totals of all queues; without Redis only that it is away."""

    def __init__(self, queues: Mapping[str, JobQueue]) -> None:
        self._queues = queues

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
            for name, queue in self._queues.items():
                for status, count in queue.read_totals().items():
                    processed.add_metric([name, status], count)
                for state, jobs in queue.counts().items():
                    size.add_metric([name, str(state)], jobs)
                age.add_metric([name], (queue.oldest_waiting_ms() or 0) / 1000)
                paused.add_metric([name], queue.is_paused())
        except QueueUnavailable:
            yield GaugeMetricFamily("feedmill_redis_up", "Whether Redis answers.", value=0)
            return
        yield from (processed, size, age, paused, up)


class StoreMetrics(Collector):
    """What the record says; without MongoDB only that it is away."""

    def __init__(self, count_open_imports: Callable[[], int]) -> None:
        self._count_open_imports = count_open_imports

    def collect(self) -> Iterator[Metric]:
        try:
            open_imports = self._count_open_imports()
        except StoreUnavailable:
            yield GaugeMetricFamily("feedmill_mongodb_up", "Whether MongoDB answers.", value=0)
            return
        yield GaugeMetricFamily("feedmill_mongodb_up", "Whether MongoDB answers.", value=1)
        yield GaugeMetricFamily(
            "feedmill_open_imports", "Imports that are not closed.", value=open_imports
        )


class Metrics:
    """All collectors of a server, in a registry of its own."""

    def __init__(self, *collectors: Collector) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        for collector in collectors:
            self.registry.register(collector)

    def render(self) -> bytes:
        """Return the text format that Prometheus reads."""
        return generate_latest(self.registry)
