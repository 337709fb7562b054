"""The last half hour of the queues: sampled every few seconds, bounded, and drawn as SVG."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from server.api.queue_status import QueueAnswer
from server.dashboard.filters import show_duration
from shared.clock import Clock
from shared.queue import JobState

SPAN_S = 1800.0
MAX_SAMPLES = 900
# Batches end in bursts: over as long as this they make a rate.
BUCKET_S = 10.0
# Of the drawing; it is stretched to where it stands.
WIDTH, HEIGHT = 600.0, 120.0
# Half of it is still a whole job.
MIN_TOP = 2.0
# A server that has just started shows its minutes, not an empty half hour.
_SPANS_S = (300.0, 900.0, SPAN_S)
_TOPS_S = (
    2.0,
    10.0,
    20.0,
    60.0,
    120.0,
    600.0,
    1200.0,
    3600.0,
    7200.0,
    21_600.0,
    43_200.0,
    86_400.0,
)
_MAX_GAP_S = 3 * BUCKET_S


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


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one name, oldest first."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Line:
    """A series as drawn: runs of ``x,y`` pairs, one run until nothing is known for a while."""

    name: str
    latest: str
    runs: list[str]
    areas: list[str]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as drawn; ``description`` says in words what is seen."""

    title: str
    latest: str
    description: str
    lines: list[Line]
    y_labels: list[str]
    x_labels: list[str]


def choose_top(highest: float) -> float:
    """Return the top of an axis of numbers: 2 at least, else 1, 2 or 5 times a power of ten."""
    if highest <= MIN_TOP:
        return MIN_TOP
    power = 10.0 ** math.floor(math.log10(highest))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= highest)


def choose_top_s(highest_s: float) -> float:
    """Return the top of an axis of time: whole minutes, hours, or days, halved as well."""
    day_s = _TOPS_S[-1]
    days = math.ceil(highest_s / day_s / 2) * 2
    return next((top_s for top_s in _TOPS_S if top_s >= highest_s), days * day_s)


def choose_span_s(oldest_s: float) -> float:
    """Return how long the time axis is."""
    return next((span_s for span_s in _SPANS_S if oldest_s <= span_s), _SPANS_S[-1])


def draw_chart(
    title: str,
    series: Sequence[Series],
    show: Callable[[float], str],
    *,
    headline: Callable[[Iterable[float]], float],
    find_top: Callable[[float], float] = choose_top,
) -> Chart:
    """Return a line chart of the last minutes; ``show`` writes a value.

    ``headline`` makes one value of the latest of all series; ``find_top`` chooses the axis' top.
    """
    points = [point for one in series for point in one.points]
    span_s = choose_span_s(max((point.ago_s for point in points), default=0.0))
    highest = max((point.value for point in points), default=0.0)
    top, latest = find_top(highest), show(headline(_latest(one) for one in series))
    description = f"over the last {show_duration(span_s)}: now {latest}, at most {show(highest)}."
    return Chart(
        title=title,
        latest=latest,
        description=f"{title} {description}" if points else f"{title}: nothing is known yet.",
        lines=[_draw_line(one, span_s, top, show) for one in series],
        y_labels=[show(top), show(top / 2), show(0.0)],
        x_labels=[f"{show_duration(span_s)} ago", "now"],
    )


def _draw_line(series: Series, span_s: float, top: float, show: Callable[[float], str]) -> Line:
    runs: list[list[tuple[float, float]]] = []
    before_s: float | None = None
    for point in series.points:
        if before_s is None or before_s - point.ago_s > _MAX_GAP_S:
            runs.append([])
        x = WIDTH * (1 - min(point.ago_s, span_s) / span_s)
        runs[-1].append((x, HEIGHT * (1 - min(point.value, top) / top)))
        before_s = point.ago_s
    return Line(
        name=series.name,
        latest=show(_latest(series)),
        runs=[_join(run) for run in runs],
        areas=[_join([(run[0][0], HEIGHT), *run, (run[-1][0], HEIGHT)]) for run in runs],
    )


def _join(run: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in run)


def _latest(series: Series) -> float:
    return series.points[-1].value if series.points else 0.0


def _count_waiting(queue: QueueAnswer) -> int:
    return queue.counts[JobState.WAITING] + queue.counts[JobState.PRIORITIZED]
