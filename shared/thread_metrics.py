"""The failures of a process's loops, for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.supervision import Supervisor


class ThreadMetrics(Collector):
    """What a process's supervisor counts: steps that failed, by thread, and those failing now."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        failures = CounterMetricFamily(
            "feedmill_thread_failures",
            "Rounds of a long-lived thread that ended with an error nobody foresaw.",
            labels=["thread"],
        )
        for name, count in self._supervisor.failures().items():
            failures.add_metric([name], count)
        failing = GaugeMetricFamily(
            "feedmill_failing_threads",
            "Threads whose last round failed so.",
            value=len(self._supervisor.failing()),
        )
        yield from (failures, failing)
