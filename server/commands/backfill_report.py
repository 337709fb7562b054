"""Back-fills for people: progress, the list of those under way, everything about one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from rich.console import Console
from rich.progress import Progress as Bars

from server.commands.following import make_bars
from server.commands.output import NOTHING, describe_span, describe_time, print_table, print_text

BackFill = dict[str, Any]

ENDED_STATES = ("completed", "cancelled")
_HEADER = ("source", "state", "from", "to", "intervals", "items", "left")
# Lines that a back-fill of any length prints where there is no terminal, about.
_LINES = 20
# Pages of a feed: nobody knows how many there are.
_DONE_PER_LINE = 10


class Progress(Protocol):
    """Where a back-fill's progress is shown."""

    def show(self, backfill: BackFill) -> None:
        """Show how far it is; called at each round, the last time when it has ended."""


class LineProgress:
    """A line whenever a twentieth more is done, or the state has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: tuple[str, int] | None = None

    def show(self, backfill: BackFill) -> None:
        """Print how far it is, if that is worth a line."""
        intervals = backfill["intervals"]
        per_line = _DONE_PER_LINE
        if intervals["total"] is not None:
            per_line = max(1, intervals["total"] // _LINES)
        reached = (backfill["state"], intervals["done"] // per_line)
        if reached != self._shown:
            print_text(self._console, f"{backfill['source']}: {describe_progress(backfill)}")
            self._shown = reached


class BarProgress:
    """A bar of intervals with what came of them and the time left. Needs a terminal."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None, source="", text="")

    def show(self, backfill: BackFill) -> None:
        """Move the bar to where the back-fill is."""
        intervals = backfill["intervals"]
        self._bars.update(
            self._task,
            total=intervals["total"],
            completed=intervals["done"],
            source=backfill["source"],
            text=_describe_rest(backfill),
        )


@contextmanager
def choose_progress(console: Console) -> Iterator[Progress]:
    """Show progress as suits the console: a bar on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield LineProgress(console)
        return
    with make_bars(console, "text") as bars:
        yield BarProgress(bars)


def describe_progress(backfill: BackFill) -> str:
    """Return state, intervals, items and time left in words."""
    return f"{backfill['state']}: {describe_intervals(backfill)}, {_describe_rest(backfill)}"


def describe_intervals(backfill: BackFill) -> str:
    """Return how many intervals are done: ``12 of 96 intervals``; of pages nobody knows all."""
    intervals = backfill["intervals"]
    if intervals["total"] is None:
        return f"{intervals['done']} intervals"
    return f"{intervals['done']} of {intervals['total']} intervals"


def print_backfills(backfills: Sequence[BackFill], console: Console, now: datetime) -> None:
    """Print one row a back-fill."""
    rows = [
        (
            each["source"],
            each["state"],
            describe_time(each["from"], now),
            describe_time(each["to"], now) if each["to"] else NOTHING,
            describe_intervals(each),
            str(each["items"]["fetched"]),
            _describe_left(each) or NOTHING,
        )
        for each in backfills
    ]
    print_table(console, _HEADER, rows)


def explain_backfill(backfill: BackFill, now: datetime) -> Iterator[str]:
    """Yield lines: what it is for, how far it is, what came of it, and what to do about that."""
    source = backfill["source"]
    yield f"{source}: {describe_progress(backfill)}"
    yield f"Range: {_describe_range(backfill, now)}"
    yield f"Intervals: {_describe_open(backfill)}"
    yield f"Started: {describe_time(backfill['started_at'], now)}"
    if backfill["ended_at"]:
        yield f"Ended: {describe_time(backfill['ended_at'], now)}"
    if backfill["error"]:
        yield f"Error: {backfill['error']}"
    if backfill["items"]["dead"]:
        yield f"Dead items: feedmill dlq list --source {source}"


def _describe_rest(backfill: BackFill) -> str:
    items = backfill["items"]
    words = [f"{items['fetched']} items", f"{items['new']} new"]
    if items["dead"]:
        words.append(f"{items['dead']} dead")
    if failing := backfill["intervals"]["failing"]:
        words.append(f"{failing} failing")
    if left := _describe_left(backfill):
        words.append(f"{left} left")
    return ", ".join(words)


def _describe_left(backfill: BackFill) -> str | None:
    """Return the time left; None while it is unknown, or nothing moves."""
    left_s = backfill["seconds_left"]
    if left_s is None or backfill["state"] != "running":
        return None
    return f"about {describe_span(round(left_s))}"


def _describe_range(backfill: BackFill, now: datetime) -> str:
    from_ = f"from {describe_time(backfill['from'], now)}"
    return f"{from_} to {describe_time(backfill['to'], now)}" if backfill["to"] else from_


def _describe_open(backfill: BackFill) -> str:
    intervals = backfill["intervals"]
    total = "" if intervals["total"] is None else f" of {intervals['total']}"
    done = f"{intervals['done']}{total} done, {intervals['in_flight']} in flight"
    if not intervals["failing"]:
        return done
    return f"{done}, {intervals['failing']} failing (tried again by itself)"
