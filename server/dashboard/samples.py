"""The last half hour of the queues, sampled every 2 s; gone with the process, and bounded."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from server.api.queue_status import QueueAnswer
from shared.clock import Clock
from shared.queue import JobState

SPAN_S = 1800.0
MAX_SAMPLES = 900
# Batches end in bursts: over as long as this they make a rate.
BUCKET_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """All queues at one moment, by name. ``ages_s``: how long the oldest waiting job waits."""

    at_s: float
    completed: Mapping[str, int]
    waiting: Mapping[str, int]
    ages_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Point:
    """A value, and how many seconds ago it was so."""

    ago_s: float
    value: float


class Samples:
    """A ring of samples. Safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    def add(self, queues: Sequence[QueueAnswer]) -> None:
        """Keep what the queues look like now, and drop what is older than half an hour."""
        now_s = self._clock.monotonic_s()
        sample = Sample(
            at_s=now_s,
            completed={queue.name: queue.totals["completed"] for queue in queues},
            waiting={queue.name: _count_waiting(queue) for queue in queues},
            ages_s={queue.name: (queue.oldest_waiting_ms or 0) / 1000 for queue in queues},
        )
        with self._lock:
            self._samples.append(sample)
            while self._samples[0].at_s < now_s - SPAN_S:
                self._samples.popleft()

    def rates(self, names: Sequence[str]) -> list[Point]:
        """Return the completed jobs a second of these queues together."""
        now_s = self._clock.monotonic_s()
        lasts = [bucket[-1] for bucket in self._buckets()]
        points: list[Point] = []
        for before, after in pairwise(lasts):
            span_s = after.at_s - before.at_s
            done = sum(after.completed.get(n, 0) - before.completed.get(n, 0) for n in names)
            # Less than before: Redis lost its counters. Long before: nothing is known between.
            if done >= 0 and span_s <= 3 * BUCKET_S:
                points.append(Point(now_s - after.at_s, done / span_s))
        return points

    def depths(self, name: str) -> list[Point]:
        """Return how many jobs of a queue waited."""
        return self._highest(lambda sample: sample.waiting.get(name, 0))

    def ages(self, name: str) -> list[Point]:
        """Return for how many seconds the oldest waiting job of a queue had waited."""
        return self._highest(lambda sample: sample.ages_s.get(name, 0.0))

    def _highest(self, measure: Callable[[Sample], float]) -> list[Point]:
        now_s = self._clock.monotonic_s()
        return [
            Point(now_s - bucket[-1].at_s, max(map(measure, bucket))) for bucket in self._buckets()
        ]

    def _buckets(self) -> list[list[Sample]]:
        """Return the samples in spans of 10 s; the same one keeps its samples as time goes on."""
        with self._lock:
            samples = list(self._samples)
        buckets: dict[int, list[Sample]] = {}
        for sample in samples:
            buckets.setdefault(int(sample.at_s // BUCKET_S), []).append(sample)
        return list(buckets.values())


def _count_waiting(queue: QueueAnswer) -> int:
    return queue.counts[JobState.WAITING] + queue.counts[JobState.PRIORITIZED]
