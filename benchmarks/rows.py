"""The figures that are measured, each with its unit and its goal."""

from collections.abc import Mapping
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
        """Tell whether a measured value keeps the limit."""
        return value <= self.limit if self.bound is Bound.AT_MOST else value >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what was done, in which unit it is given, and what is wanted of it.

    ``in_smoke``: it is a ratio, which means the same on every machine, and the short run checks it.
    """

    key: str
    title: str
    unit: str
    goal: Goal | None = None
    in_smoke: bool = False


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
    Row("settle.0", "settle 1,000 jobs, no other active", "ms in Redis"),
    Row("settle.10000", "settle 1,000 jobs, 10,000 others active", "ms in Redis"),
    Row("settle.50000", "settle 1,000 jobs, 50,000 others active", "ms in Redis"),
    Row("settle.ratio", "settle: most others active / none", "×", at_most(1.5), in_smoke=True),
)

ROWS: Mapping[str, Row] = {row.key: row for row in _QUEUE_ROWS}
