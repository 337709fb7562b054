"""Imports for people: progress, a run's summary, the list, everything about one."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

from server.commands.api_client import ApiClient, quote_id
from server.commands.following import make_bars
from server.commands.import_run import ENDED_STATES, Import, ImportRun, Progress, follow_imports
from server.commands.output import (
    Column,
    describe_time,
    print_fitting_table,
    print_text,
    show_position,
)

COUNTS = (
    "fetched",
    "new",
    "updated",
    "unchanged",
    "duplicate",
    "superseded",
    "dead",
    "removed",
    "pending",
)
_STYLES = {"completed": "green", "failed": "red"}
_COLUMNS = (
    Column("id", is_whole=True),
    Column("source", is_whole=True),
    Column("state", is_whole=True),
    Column("requested", from_width=90, is_whole=True),
    Column("outcome"),
)


class LineProgress:
    """A line per change of an import's state."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, str] = {}

    def show(self, imports: Sequence[Import]) -> None:
        """Print what has changed since the last call."""
        for each in imports:
            state = describe_state(each)
            if self._shown.get(each["id"]) != state:
                print_text(self._console, f"{each['source']}: {state}")
                self._shown[each["id"]] = state

    def tell(self, text: str) -> None:
        """Print a line."""
        print_text(self._console, text)


class BarProgress:
    """A bar per import, gone when all have ended. Needs a terminal."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, imports: Sequence[Import]) -> None:
        """Move the bars to where the imports are."""
        for each in imports:
            if each["id"] not in self._tasks:
                fields = {"source": each["source"], "state": ""}
                self._tasks[each["id"]] = self._bars.add_task("", total=None, **fields)
            counts = each["counts"]
            is_counted = each["state"] in ("importing", *ENDED_STATES)
            self._bars.update(
                self._tasks[each["id"]],
                total=counts["fetched"] if is_counted else None,
                completed=counts["fetched"] - counts["pending"],
                state=describe_state(each),
            )

    def tell(self, text: str) -> None:
        """Print a line above the bars; it stays."""
        print_text(self._bars.console, text)


@contextmanager
def choose_progress(console: Console) -> Iterator[Progress]:
    """Show progress as suits the console: bars on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield LineProgress(console)
        return
    with make_bars(console, "state") as bars:
        yield BarProgress(bars)


def follow_to_end(client: ApiClient, import_ids: Iterable[str], console: Console) -> ImportRun:
    """Wait until imports have ended, with progress on ``console``; as ``follow_imports``."""
    started = [client.get(f"/imports/{quote_id(import_id)}") for import_id in import_ids]
    with choose_progress(console) as progress:
        return ImportRun(follow_imports(client, started, progress=progress))


def describe_state(each: Import) -> str:
    """Return an import's state in words, with what makes its counts all 0."""
    return f"{each['state']} (not modified)" if each["not_modified"] else str(each["state"])


def describe_outcome(each: Import) -> str:
    """Return what came of an import, or has come so far: its error, or its counts in words."""
    if each["error"]:
        return str(each["error"])
    counts = each["counts"]
    shown = [f"{counts[name]} {name}" for name in COUNTS if counts[name] or name == "fetched"]
    return ", ".join(shown) + ("" if each["state"] in ENDED_STATES else " so far")


def print_summary(run: ImportRun, console: Console) -> None:
    """Print one line per import with its counts, then what went wrong. Never wraps or cuts."""
    rows = [_summary_row(each) for each in run.imports]
    shown = [name for name in COUNTS if name != "pending" or any(row[-1] != "0" for row in rows)]
    header = ["source", "state", *shown]
    table = [header, *(row[: len(header)] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table if rows else []:
        print_text(console, _summary_line(row, widths), style=_STYLES.get(row[1].split(" ")[0]))
    for each in run.imports:
        for line in _complaints(each):
            print_text(console, line)
    for feed, reason in run.errors:
        print_text(console, f"{feed}: not imported: {reason}", style="red")


def show_run(run: ImportRun) -> dict[str, Any]:
    """Return the imports as the API shows them, and the feeds whose import did not start."""
    errors = [{"feed": feed, "error": reason} for feed, reason in run.errors]
    return {"imports": run.imports, "errors": errors}


def _summary_row(each: Import) -> list[str]:
    return [each["source"], describe_state(each), *(str(each["counts"][name]) for name in COUNTS)]


def _summary_line(row: Sequence[str], widths: Sequence[int]) -> str:
    words = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*words, *numbers]).rstrip()


def _complaints(each: Import) -> list[str]:
    lines = [f"{each['source']}: {warning}" for warning in each.get("warnings") or ()]
    if each.get("error"):
        lines.append(f"{each['source']}: {each['error']}")
    if each["counts"]["dead"]:
        lines.append(
            f"{each['source']}: {each['counts']['dead']} dead; "
            f"see: feedmill dlq list --source {each['source']}"
        )
    return lines


def print_imports(imports: Sequence[Import], console: Console, now: datetime) -> None:
    """Print one row an import, as many columns as there is room for."""
    rows = [
        (
            each["id"],
            each["source"],
            describe_state(each),
            describe_time(each["requested_at"], now),
            describe_outcome(each),
        )
        for each in imports
    ]
    print_fitting_table(console, _COLUMNS, rows)


def explain_import(each: Import, now: datetime) -> Iterator[str]:
    """Yield lines: what it is, when it ran, how each URL answered, its counts and complaints."""
    yield f"{each['id']}: {each['source']}, {describe_state(each)}"
    yield f"Requested: {describe_time(each['requested_at'], now)} by {each['trigger']}"
    if each.get("interval"):
        start, ended = (show_position(each["interval"][end], now) for end in ("start", "ended"))
        yield f"Interval: {start} to {ended}, epoch {each['epoch']}"
    for name, field in (("Started", "started_at"), ("Finished", "finished_at")):
        if each[field]:
            yield f"{name}: {describe_time(each[field], now)}"
    for fetch in each["fetches"]:
        yield f"Fetched: {fetch['url'] or 'a document from a file'}: {_describe(fetch)}"
    yield f"Outcome: {describe_outcome(each)}"
    for warning in each["warnings"]:
        yield f"Warning: {warning}"
    if each["counts"]["dead"]:
        yield f"Dead items: feedmill dlq list --source {each['source']}"


def _describe(fetch: Import) -> str:
    if fetch["error"]:
        return str(fetch["error"])
    if fetch["not_modified"]:
        return "not modified"
    return f"HTTP {fetch['http_status']}" if fetch["http_status"] else "read"
