"""What is seen of a worker's work: its numbers on METRICS_PORT.

Totals over all workers are the server's to export.
"""

from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from shared.errors import FeedmillError
from shared.queue import Breaker, HeldLocks
from shared.supervision import Supervisor, ThreadMetrics
from worker.buffer import Buffer

_BATCH_JOBS = (1, 5, 10, 25, 50, 100, 250, 500, 1000)
_FLUSH_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SETTLE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
# Up to hours: a big import waits for its rate limit.
_WAIT_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class MetricsPortInUse(FeedmillError):
    """METRICS_PORT cannot be listened on."""


class WorkerMetrics:
    """What one worker does and holds. Safe for threads."""

    def __init__(
        self,
        held: Sequence[HeldLocks],
        buffers: Sequence[Buffer],
        breaker: Breaker,
        supervisor: Supervisor,
    ) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(ThreadMetrics(supervisor))
        self._waits_s = self._histogram(
            "feedmill_queue_wait_seconds", "From a job's making to its first claim.", _WAIT_S
        )
        self._flush_s = self._histogram(
            "feedmill_flush_seconds", "From the reads of a flush to the last settled job.", _FLUSH_S
        )
        self._settle_s = self._histogram(
            "feedmill_settle_seconds",
            "From the acknowledged write of a batch to the last settled job.",
            _SETTLE_S,
        )
        self._batch_jobs = self._histogram(
            "feedmill_flush_jobs", "Jobs in a flushed batch.", _BATCH_JOBS
        )
        self._gauge_stocks(held, buffers)
        self._gauge("feedmill_breaker_open", "1 while a store is away.", lambda: breaker.is_open)
        self._gauge(
            "feedmill_breaker_open_seconds",
            "Since when it cannot; 0 while it can.",
            breaker.open_for_s,
        )

    def _gauge_stocks(self, held: Sequence[HeldLocks], buffers: Sequence[Buffer]) -> None:
        def count_bytes() -> int:
            return sum(each.size_bytes for each in held)

        def count_buffered_bytes() -> int:
            return sum(each.held_bytes for each in buffers)

        gauge = self._gauge
        gauge("feedmill_held_jobs", "Jobs claimed and not settled.", lambda: sum(map(len, held)))
        gauge("feedmill_held_bytes", "Data of these jobs.", count_bytes)
        waiting = "Of these, not given to a flush."
        gauge("feedmill_buffered_jobs", waiting, lambda: sum(map(len, buffers)))
        gauge("feedmill_buffered_bytes", "Data of these.", count_buffered_bytes)

    def note_waits(self, queue_name: str, waits_s: Sequence[float]) -> None:
        """Note how long jobs waited from their making to their first claim."""
        histogram = self._waits_s.labels(queue_name)
        for wait_s in waits_s:
            histogram.observe(wait_s)

    def note_flush(self, queue_name: str, jobs: int, *, duration_s: float, settle_s: float) -> None:
        """Note a batch that was stored and settled; ``settle_s`` is the part after the write."""
        self._flush_s.labels(queue_name).observe(duration_s)
        self._settle_s.labels(queue_name).observe(settle_s)
        self._batch_jobs.labels(queue_name).observe(jobs)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, ["queue"], buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(read)


def serve_metrics(registry: CollectorRegistry, port: int) -> None:
    """Serve numbers at ``/metrics`` on all addresses, on a thread of its own.

    Raises:
        MetricsPortInUse: the port cannot be had.
    """
    try:
        start_http_server(port, registry=registry)
    except OSError as exc:
        raise MetricsPortInUse(
            f"METRICS_PORT={port} cannot be used ({exc.strerror}): set it to a free port or 0"
        ) from exc
