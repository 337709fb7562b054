"""The figures that are measured, each with its unit and its goal."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Bound(StrEnum):
    """Which side of a goal's limit is good."""

    AT_MOST = "≤"
    AT_LEAST = "≥"


@dataclass(frozen=True, slots=True)
class Goal:
    """The limit that a figure is to keep."""

    bound: Bound
    limit: float

    def is_reached(self, value: float) -> bool:
        """Return whether a measured value keeps the limit."""
        return value <= self.limit if self.bound is Bound.AT_MOST else value >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what was done, in which unit it is given, and what is wanted of it.

    ``smoke``: the goal of the short run, for a ratio, which means the same on every machine; wider,
    because few are measured and the machine may be busy.
    """

    key: str
    title: str
    unit: str
    goal: Goal | None = None
    smoke: Goal | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value of the row ``key``. ``column`` is a checkout's or a peer's name."""

    key: str
    column: str
    value: float


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a column could not be measured."""

    column: str
    reason: str


def at_most(limit: float) -> Goal:
    """Return the goal of a value that is to be small."""
    return Goal(Bound.AT_MOST, limit)


def at_least(limit: float) -> Goal:
    """Return the goal of a value that is to be large."""
    return Goal(Bound.AT_LEAST, limit)


_QUEUE_ROWS = (
    Row("add", "add, 500 jobs a call", "jobs/s", at_least(45_000)),
    Row("drain", "claim and complete with an empty handler", "jobs/s", at_least(30_000)),
    Row("drain.redis", "the same, CPU of Redis for 10,000 jobs", "s"),
    Row("drain.ours", "the same, CPU of the client for 10,000 jobs", "s"),
    *(
        Row(f"settle.{others}", f"settle 1,000 of any active, {others:,} others", "ms in Redis")
        for others in (0, 10_000, 50_000)
    ),
    Row("settle.ratio", "the same: most others / none", "×", at_most(1.5), at_most(8)),
    Row(
        "settle.oldest.ratio",
        "settle the oldest: most others / none",
        "×",
        at_most(1.5),
        at_most(4),
    ),
    Row("waiting.ratio", "claim: 10,000 waiting / 1,000", "×", at_most(1.5), at_most(4)),
    Row(
        "throttled.ratio",
        "claim of others: 10,000 of one throttled source / 1,000",
        "×",
        at_most(1.5),
        at_most(4),
    ),
)

# Of jobs of one's own queue.
KINDS: Mapping[str, str] = {
    "plain": "plain jobs",
    "priorities": "ten priorities",
    "delayed": "delayed by 1 ms",
    "flows": "flows of ten",
    "schedulers": "schedulers",
}
_OWN_ROWS = (
    *(
        Row(f"own.{kind}.{act}", f"own queue: {verb} {title}", "jobs/s")
        for kind, title in KINDS.items()
        for act, verb in (("add", "add"), ("work", "work"))
    ),
    Row("own.batches.work", "own queue: work plain jobs, 500 a batch", "jobs/s"),
)

_ITEMS = "10,000 items over HTTP"


def _import_rows(store: str, title: str, goals: Mapping[str, Goal]) -> tuple[Row, ...]:
    """Return the rows of imports on one store; ``goals`` by their keys."""
    named = {
        "first.rate": (f"first import of {_ITEMS}", "items/s"),
        "first.cpu": (f"first import of {_ITEMS}: server and worker", "s CPU"),
        "first.server": (f"first import of {_ITEMS}: server", "s CPU"),
        "first.worker": (f"first import of {_ITEMS}: worker", "s CPU"),
        "first.store": (f"first import of {_ITEMS}: the store", "s CPU"),
        "unchanged.cpu": ("all unchanged, another body", "s CPU"),
        "unchanged.wall": ("all unchanged, another body", "s wall"),
        "not-modified.cpu": ("304", "ms CPU"),
        "not-modified.wall": ("304", "ms wall"),
    }
    return tuple(
        Row(f"{key}.{store}", f"{what}; {title}", unit, goals.get(key))
        for key, (what, unit) in named.items()
    )


_RUST_ROWS = _import_rows(
    "rust",
    "Rust store",
    {
        "first.rate": at_least(3_000),
        "first.cpu": at_most(2.0),
        "unchanged.cpu": at_most(0.8),
        "not-modified.cpu": at_most(10),
    },
)
_EMBEDDED_ROWS = _import_rows(
    "embedded",
    "embedded store",
    {"first.rate": at_least(1_200), "first.store": at_most(6.0), "not-modified.cpu": at_most(10)},
)
# Of the embedded store alone: it is there on every machine.
_SMOKE_ROWS = (
    Row("unchanged.ratio.embedded", "CPU: all unchanged / first import", "×", smoke=at_most(0.9)),
    Row("not-modified.ratio.embedded", "CPU: 304 / first import", "×", smoke=at_most(0.3)),
)
_OTHER_ROWS = (
    Row("idle.server", "idle: server", "% of a core", at_most(0.5)),
    Row("idle.worker", "idle: worker", "% of a core", at_most(0.5)),
    Row("list.all", "first page of /items, 100,000 items, embedded store", "s", at_most(0.3)),
    Row("list.source", "the same of one source", "s", at_most(0.3)),
)

ROWS: Mapping[str, Row] = {
    row.key: row
    for row in (
        *_RUST_ROWS,
        *_EMBEDDED_ROWS,
        *_OTHER_ROWS,
        *_QUEUE_ROWS,
        *_OWN_ROWS,
        *_SMOKE_ROWS,
    )
}


@dataclass(frozen=True, slots=True)
class Series:
    """One figure at growing sizes of something."""

    key: str
    title: str
    unit: str
    x_label: str


SERIES: Mapping[str, Series] = {
    series.key: series
    for series in (
        Series("waiting", "claim and complete 1,000 jobs", "ms in Redis", "waiting jobs"),
        Series(
            "throttled",
            "claim and complete 1,000 jobs of other sources",
            "ms in Redis",
            "waiting jobs of one throttled source",
        ),
        Series("active", "complete 1,000 jobs", "ms in Redis", "other active jobs"),
        Series("sources", "one worker", "items/s", "sources of the items"),
        Series("workers", "items stored", "items/s", "workers"),
        Series("feeds", "idle server", "% of a core", "feeds known"),
    )
}


def series_key(key: str, size: int) -> str:
    """Return the key under which a series has its value at a size."""
    return f"growth.{key}.{size}"


def series_points(
    values: Mapping[str, Mapping[str, Sequence[float]]], key: str, column: str
) -> list[tuple[float, float]]:
    """Return a column's points of a series: sizes, and the median at each."""
    start = f"growth.{key}."
    return sorted(
        (float(name.removeprefix(start)), statistics.median(columns[column]))
        for name, columns in values.items()
        if name.startswith(start) and columns.get(column)
    )
