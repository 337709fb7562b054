"""What a queue looks like from outside: counts, rate, age, and what holds it up."""

import threading
from collections import deque
from collections.abc import Mapping
from typing import Literal

from server.api.answers import QueueAnswer, RateLimitAnswer
from shared.clock import Clock
from shared.queue import JobQueue, JobState, RateLimit

WINDOW_S = 60.0
# Two samples closer than this say nothing about a rate.
MIN_SPAN_S = 1.0
# A free worker claims what waits within a moment; what waits longer has none.
_NO_WORKER_AFTER_MS = 10_000

LimitedBy = Literal["paused", "rate_limit", "no_worker"]


class RateMeter:
    """Remembers a queue's totals over the last minute; safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def add(self, completed: int) -> float | None:
        """Add a sample; returns completed jobs a second, or None when it is too early to say."""
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
    """Shows queues; ``rate_limits`` names those that have a limit."""

    def __init__(
        self,
        queues: Mapping[str, JobQueue],
        rate_limits: Mapping[str, RateLimit],
        clock: Clock,
    ) -> None:
        self._queues = queues
        self._rate_limits = rate_limits
        self._meters = {name: RateMeter(clock) for name in queues}

    def sample(self) -> None:
        """Take a sample of every queue's totals, so that the next answer knows a rate.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        for name, queue in self._queues.items():
            self._meters[name].add(queue.read_totals()["completed"])

    def show_all(self) -> list[QueueAnswer]:
        """Return all queues."""
        return [self.show(queue) for queue in self._queues.values()]

    def show(self, queue: JobQueue) -> QueueAnswer:
        """Return one queue."""
        counts = queue.counts()
        is_paused = queue.is_paused()
        rate_per_s = self._meters[queue.name].add(queue.read_totals()["completed"])
        oldest_waiting_ms = queue.oldest_waiting_ms()
        limit = self._rate_limits.get(queue.name)
        return QueueAnswer(
            name=queue.name,
            is_paused=is_paused,
            counts=counts,
            rate_per_s=round(rate_per_s, 3) if rate_per_s is not None else None,
            oldest_waiting_ms=oldest_waiting_ms,
            rate_limit=RateLimitAnswer(max_jobs=limit.max_jobs, duration_ms=limit.duration_ms)
            if limit
            else None,
            limited_by=_find_limit(queue, counts, is_paused, oldest_waiting_ms, rate_per_s),
        )


def _find_limit(
    queue: JobQueue,
    counts: Mapping[JobState, int],
    is_paused: bool,
    oldest_waiting_ms: int | None,
    rate_per_s: float | None,
) -> LimitedBy | None:
    if is_paused:
        return "paused"
    if not counts[JobState.WAITING] + counts[JobState.PRIORITIZED]:
        return None
    if queue.rate_limit_ttl_ms() > 0:
        return "rate_limit"
    is_idle = not counts[JobState.ACTIVE] and not rate_per_s
    is_old = oldest_waiting_ms is not None and oldest_waiting_ms > _NO_WORKER_AFTER_MS
    return "no_worker" if is_idle and is_old else None
