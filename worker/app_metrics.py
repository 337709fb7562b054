"""The numbers of an app's queues on METRICS_PORT."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from feedmill.apps import AppWorkers
from shared.errors import QueueError
from shared.queue import sample_queues
from shared.supervision import ThreadMetrics
from worker.apps import AppProcess


class AppMetrics(Collector):
    """What an app's workers hold in this process."""

    def __init__(self, workers: AppWorkers) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily(
            "feedmill_app_running_jobs", "Jobs of an app's queue being run.", labels=["queue"]
        )
        for name, count in self._workers.running_counts().items():
            running.add_metric([name], count)
        yield running


class AppQueueMetrics(Collector):
    """Sizes and totals of an app's queues, where no server may tell; without Redis none.

    All workers of one weight show the same: take the maximum over them, not the sum.
    """

    def __init__(self, workers: AppWorkers) -> None:
        self._queues = [each.queue.core for each in workers.declared]

    def collect(self) -> Iterator[Metric]:
        size = GaugeMetricFamily(
            "feedmill_app_queue_size", "Jobs by state.", labels=["queue", "state"]
        )
        ended = CounterMetricFamily(
            "feedmill_app_jobs", "Jobs that ended a run.", labels=["queue", "status"]
        )
        try:
            samples = sample_queues(self._queues)
        except QueueError:
            return
        for queue, sample in zip(self._queues, samples, strict=True):
            for state, count in sample.counts.items():
                size.add_metric([queue.name, str(state)], count)
            for status, count in sample.totals.items():
                ended.add_metric([queue.name, status], count)
        yield from (size, ended)


def app_registry(process: AppProcess) -> CollectorRegistry:
    """Return the numbers of a worker that works an app alone."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(ThreadMetrics(process.supervisor))
    registry.register(AppMetrics(process.workers))
    registry.register(AppQueueMetrics(process.workers))
    return registry
