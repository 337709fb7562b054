"""What a queue looks like from outside: counts, rate, age, and what holds it up."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence

from server.api.answers import QueueAnswer, RateLimitAnswer
from server.api.speed_limits import QueueRole, QueueView, find_speed_limit
from shared.clock import Clock
from shared.queue import JobQueue, RateLimit, WorkerSign, WorkerSigns, find_workers

WINDOW_S = 60.0
# Two samples closer than this say nothing about a rate.
MIN_SPAN_S = 1.0


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
    """Shows queues, and what limits each; ``rate_limits`` names those that have a limit."""

    def __init__(
        self,
        roles: Mapping[QueueRole, Sequence[JobQueue]],
        rate_limits: Mapping[str, RateLimit],
        signs: WorkerSigns,
        clock: Clock,
    ) -> None:
        self._roles = {queue: role for role, queues in roles.items() for queue in queues}
        self._rate_limits = rate_limits
        self._signs = signs
        self._meters = {queue.name: RateMeter(clock) for queue in self._roles}

    def show_all(self) -> list[QueueAnswer]:
        """Return all queues. Called from time to time, so that the rates are known.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        signs = self._signs.read()
        return [self._show(queue, signs) for queue in self._roles]

    def show(self, queue: JobQueue) -> QueueAnswer:
        """Return one queue."""
        return self._show(queue, self._signs.read())

    def _show(self, queue: JobQueue, signs: Sequence[WorkerSign]) -> QueueAnswer:
        totals = queue.read_totals()
        rate_per_s = self._meters[queue.name].add(totals["completed"])
        view = self._read(queue, signs, rate_per_s)
        limit = find_speed_limit(view)
        rate_limit = view.rate_limit
        return QueueAnswer(
            name=queue.name,
            is_paused=view.is_paused,
            counts=dict(view.counts),
            totals=totals,
            rate_per_s=round(rate_per_s, 3) if rate_per_s is not None else None,
            oldest_waiting_ms=view.oldest_waiting_ms,
            rate_limit=RateLimitAnswer(
                max_jobs=rate_limit.max_jobs, duration_ms=rate_limit.duration_ms
            )
            if rate_limit
            else None,
            limited_by=limit.kind,
            limited_by_text=limit.text,
        )

    def _read(
        self, queue: JobQueue, signs: Sequence[WorkerSign], rate_per_s: float | None
    ) -> QueueView:
        return QueueView(
            role=self._roles[queue],
            counts=queue.counts(),
            is_paused=queue.is_paused(),
            oldest_waiting_ms=queue.oldest_waiting_ms(),
            rate_per_s=rate_per_s,
            rate_limit=self._rate_limits.get(queue.name),
            is_rate_used_up=queue.rate_limit_ttl_ms() > 0,
            workers=find_workers(signs, queue.name),
        )
