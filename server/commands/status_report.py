"""A service's status for people, on one screen, and as JSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console

from server.commands.backfill_report import describe_progress
from server.commands.import_report import describe_outcome, describe_state
from server.commands.import_run import ENDED_STATES
from server.commands.output import Column, describe_distance, print_fitting_table, print_text
from server.commands.service_status import Json, ServiceStatus
from server.doctor.findings import Finding, Level, worst
from shared.models import parse_time

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
_LATEST = 3
_SHOWN = 3
_LABEL = 13
_STATES = ("waiting", "active", "delayed")
_COLUMNS = (
    Column("queue", is_whole=True),
    *(Column(state, is_whole=True) for state in _STATES),
    Column("limited by"),
)


def print_status(
    seen: ServiceStatus, findings: Sequence[Finding], console: Console, now: datetime
) -> None:
    """Print it: what there is, the queues, then what is wrong with what to do about it.

    On a terminal lines are cut at its width, except what is wrong.
    """
    version = f"Feedmill {seen.version}" if seen.version is not None else "Feedmill"
    verdict = sum_up(findings)
    print_text(console, f"{version} at {seen.url}: {verdict}", style=STYLES[worst(findings)])
    for label, text in _describe(seen, now):
        line = f"{label:<{_LABEL}}{text}"
        print_text(console, _cut(line, console.width) if console.is_terminal else line)
    if seen.queues:
        print_text(console, "")
        print_fitting_table(console, _COLUMNS, [_row(each) for each in seen.queues])
    if findings:
        print_text(console, "")
    for each in findings:
        print_text(console, f"{each.level}: {each.text}", style=STYLES[each.level])
        print_text(console, f"  → {each.advice}")


def sum_up(findings: Sequence[Finding]) -> str:
    """Return how many problems and warnings there are, in words."""
    counted = [
        (sum(each.level is level for each in findings), level)
        for level in (Level.PROBLEM, Level.WARNING)
    ]
    parts = [f"{count} {level}{'s' if count > 1 else ''}" for count, level in counted if count]
    return " and ".join(parts) or "no problems"


def show_status(seen: ServiceStatus, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the status as JSON shows it; null is what could not be read."""
    counts = seen.counts
    running, latest = _split_imports(seen.imports)
    return {
        "status": worst(findings),
        "service": {"url": seen.url, "version": seen.version},
        "stores": dict(seen.stores) or None,
        "queues": list(seen.queues),
        "workers": list(seen.workers),
        "feeds": counts
        and {
            "total": counts.feeds,
            "scheduled": counts.scheduled,
            "failing": counts.failing,
            "next": next(iter(seen.next_feeds), None),
        },
        "imports": {
            "open": counts and counts.open_imports,
            "running": running,
            "latest": latest,
        },
        "dead_letters": counts and counts.dead_letters,
        "backfills": list(seen.backfills),
        "findings": [
            {"group": each.group, "level": each.level, "text": each.text, "advice": each.advice}
            for each in findings
        ],
        "unread": dict(seen.unread),
    }


def _describe(seen: ServiceStatus, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield labels with texts; a label is empty where a line goes on with the one above."""
    yield from seen.stores.items()
    if seen.workers:
        held = sum(worker["held_jobs"] for worker in seen.workers)
        yield "Workers", f"{len(seen.workers)}, holding {held} jobs"
    if seen.counts is not None:
        yield "Feeds", _describe_feeds(seen, now)
        yield "Dead letters", str(seen.counts.dead_letters)
    yield from _describe_imports(seen, now)
    for each in seen.backfills[:_SHOWN]:
        yield "Back-fill", f"{each['source']}: {describe_progress(each)}"


def _describe_feeds(seen: ServiceStatus, now: datetime) -> str:
    counts = seen.counts
    assert counts is not None
    parts = [f"{counts.feeds}, {counts.scheduled} scheduled, {counts.failing} failing"]
    for feed in seen.next_feeds:
        if feed["next_fetch_at"] is not None:
            distance = describe_distance(parse_time(feed["next_fetch_at"]), now)
            parts.append(f"next: {feed['source']} {distance}")
    return "; ".join(parts)


def _describe_imports(seen: ServiceStatus, now: datetime) -> Iterator[tuple[str, str]]:
    running, latest = _split_imports(seen.imports)
    if seen.counts is not None:
        yield "Imports", f"{seen.counts.open_imports} running"
    for each in running[:_SHOWN]:
        yield "", f"{each['source']}: {describe_state(each)}, {describe_outcome(each)}"
    for number, each in enumerate(latest):
        distance = describe_distance(parse_time(each["finished_at"]), now)
        text = f"{each['source']}: {describe_state(each)} {distance}, {describe_outcome(each)}"
        yield "" if number else "Latest", text


def _split_imports(imports: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    """Return those that run, newest first, and a few that finished last."""
    running = [each for each in imports if each["state"] not in ENDED_STATES]
    ended = [each for each in imports if each["state"] in ENDED_STATES]
    ended.sort(key=lambda each: str(each["finished_at"]), reverse=True)
    return running, ended[:_LATEST]


def _row(queue: Json) -> list[str]:
    counts = [str(queue["counts"].get(state, 0)) for state in _STATES]
    return [queue["name"], *counts, queue["limited_by_text"]]


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"
