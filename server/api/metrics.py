"""The numbers for Prometheus, read when they are asked for."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.api.record_metrics import RecordMetrics
from server.services import Services
from shared.errors import QueueError
from shared.queue import JobQueue
from shared.thread_metrics import ThreadMetrics


class QueueMetrics(Collector):
    """Sizes and totals of all queues; without Redis only that it is away.

    The totals are raised by the scripts that settle jobs, so each settled job counts once, whatever
    process settled it. All servers show the same: take the maximum over them, not the sum.
    """

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
        except QueueError:
            yield GaugeMetricFamily("feedmill_redis_up", "Whether Redis answers.", value=0)
            return
        yield from (processed, size, age, paused, up)


class Metrics:
    """All collectors of a server, in a registry of its own, and what its process uses."""

    def __init__(self, *collectors: Collector) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        for collector in collectors:
            self.registry.register(collector)

    @classmethod
    def of(cls, services: Services) -> "Metrics":
        """Return what a server shows."""
        return cls(
            QueueMetrics(services.queues),
            RecordMetrics(services.stores, services.clock),
            services.import_metrics,
            ThreadMetrics(services.supervisor),
        )

    def render(self) -> bytes:
        """Return the text format that Prometheus reads."""
        return generate_latest(self.registry)
