"""Charts as geometry: what a template draws as SVG. Pure."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from server.dashboard.filters import show_duration
from server.dashboard.samples import BUCKET_S, SPAN_S, Point

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
    top = find_top(max((point.value for point in points), default=0.0))
    lines = [_draw_line(one, span_s, top, show) for one in series]
    latest = show(headline(_latest(one) for one in series))
    highest = show(max((point.value for point in points), default=0.0))
    description = (
        f"{title} over the last {show_duration(span_s)}: now {latest}, at most {highest}."
        if points
        else f"{title}: nothing is known yet."
    )
    return Chart(
        title=title,
        latest=latest,
        description=description,
        lines=lines,
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
