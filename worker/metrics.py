"""A worker's own numbers for Prometheus, served on METRICS_PORT; totals are the server's."""

from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server

from shared.errors import FeedmillError
from worker.breaker import Breaker
from worker.holdings import Holdings

_BATCH_JOBS = (1, 5, 10, 25, 50, 100, 250, 500, 1000)
_FLUSH_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class MetricsPortInUse(FeedmillError):
    """METRICS_PORT cannot be listened on."""


class WorkerMetrics:
    """What one worker does and holds. Safe for threads."""

    def __init__(self, holdings: Holdings, breaker: Breaker) -> None:
        self.registry = CollectorRegistry()
        self._flush_s = Histogram(
            "feedmill_flush_seconds",
            "From the reads of a flush to the last settled job.",
            ["queue"],
            buckets=_FLUSH_S,
            registry=self.registry,
        )
        self._batch_jobs = Histogram(
            "feedmill_flush_jobs",
            "Jobs in a flushed batch.",
            ["queue"],
            buckets=_BATCH_JOBS,
            registry=self.registry,
        )
        held = Gauge("feedmill_held_jobs", "Jobs in hand.", registry=self.registry)
        held.set_function(lambda: len(holdings))
        is_open = Gauge(
            "feedmill_breaker_open", "1 while MongoDB cannot store.", registry=self.registry
        )
        is_open.set_function(lambda: float(breaker.is_open))

    def note_flush(self, queue_name: str, jobs: int, duration_s: float) -> None:
        """Note one batch that was flushed and settled."""
        self._flush_s.labels(queue_name).observe(duration_s)
        self._batch_jobs.labels(queue_name).observe(jobs)

    def serve(self, port: int) -> None:
        """Serve the numbers at ``/metrics`` on all addresses, on a thread of its own.

        Raises:
            MetricsPortInUse: the port cannot be had.
        """
        try:
            start_http_server(port, registry=self.registry)
        except OSError as exc:
            raise MetricsPortInUse(
                f"METRICS_PORT={port} cannot be used ({exc.strerror}): set it to a free port or 0"
            ) from exc
