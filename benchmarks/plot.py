"""Draws the growth series of a run as one SVG: a small chart each, both axes logarithmic."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from benchmarks.results import Results
from benchmarks.rows import SERIES, Series, series_points

_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 44, 42
_COLUMNS = 2
_COLOURS = {"before": "#b0561f", "now": "#1f6fb0"}
# What is less is drawn as this much: there is no 0 on a logarithmic axis.
_LEAST = 0.001
_OTHER_COLOUR = "#666666"
_STYLE = "text{font:11px sans-serif;fill:#333}.title{font-weight:bold;font-size:12px}"

Points = Sequence[tuple[float, float]]


def draw_growth(results: Results) -> str:
    """Return the SVG of all series that were measured."""
    drawn = [series for series in SERIES.values() if _curves(results, series)]
    rows = math.ceil(len(drawn) / _COLUMNS)
    size = f'width="{_WIDTH * _COLUMNS}" height="{_HEIGHT * rows}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{_STYLE}</style>"]
    parts.append('<rect width="100%" height="100%" fill="#ffffff"/>')
    for number, series in enumerate(drawn):
        x, y = number % _COLUMNS * _WIDTH, number // _COLUMNS * _HEIGHT
        chart = "".join(_chart(series, _curves(results, series)))
        parts.append(f'<g transform="translate({x},{y})">{chart}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _curves(results: Results, series: Series) -> Mapping[str, Points]:
    names = {column for key in results.values for column in results.columns(key)}
    curves = {name: series_points(results.values, series.key, name) for name in sorted(names)}
    return {name: points for name, points in curves.items() if points}


def _chart(series: Series, curves: Mapping[str, Points]) -> Iterator[str]:
    scale = _Scale([point for points in curves.values() for point in points])
    middle, bottom = (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - _BOTTOM
    yield _text(_LEFT, 16, f"{series.title}, {series.unit}", "start", "title")
    yield _text(middle, _HEIGHT - 8, series.x_label, "middle")
    yield f'<path d="M{_LEFT},{_TOP}V{bottom}H{_WIDTH - _RIGHT}" fill="none" stroke="#999"/>'
    for x in sorted({x for points in curves.values() for x, _ in points}):
        yield _text(scale.x(x), bottom + 16, _short(x), "middle")
    for y in scale.ends():
        yield _text(_LEFT - 6, scale.y(y) + 4, _short(y), "end")
    for number, (name, points) in enumerate(curves.items()):
        yield from _curve(scale, name, points, number)


def _curve(scale: "_Scale", name: str, points: Points, number: int) -> Iterator[str]:
    colour = _COLOURS.get(name, _OTHER_COLOUR)
    places = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in points)
    yield f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="3" fill="{colour}"/>'
    left = _LEFT + 4 + 70 * number
    yield f'<rect x="{left}" y="26" width="10" height="10" fill="{colour}"/>'
    yield _text(left + 14, 35, name, "start")


class _Scale:
    """Where values lie in a chart. The axis of values begins at a tenth of the largest at most."""

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        xs, ys = zip(*points, strict=True)
        self._first, self._last = _log(min(xs)), _log(max(xs))
        self._most = max(*ys, _LEAST)
        self._least = max(min(*ys, self._most / 10), _LEAST)

    def x(self, value: float) -> float:
        """Return how far to the right a value lies."""
        span = self._last - self._first or 1.0
        return _LEFT + 12 + (_log(value) - self._first) / span * (_WIDTH - _LEFT - _RIGHT - 24)

    def y(self, value: float) -> float:
        """Return how far down a value lies."""
        share = math.log(max(value, self._least) / self._least) / math.log(self._most / self._least)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def ends(self) -> tuple[float, float]:
        """Return the least and the largest value of the axis."""
        return self._least, self._most


def _log(value: float) -> float:
    """Return the place on an axis that has room for 0, one power of ten before 1."""
    return math.log10(value) if value >= 1 else -1.0


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 1_000:
        return f"{value / 1_000:.3g}k"
    return f"{value:.3g}"


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'
    )
