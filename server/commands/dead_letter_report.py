"""Dead letters for people: the list, the causes, and everything about one."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console

from server.commands.output import say_table
from server.commands.times import describe_moment

Letter = dict[str, Any]


def print_letters(letters: Sequence[Letter], console: Console, now: datetime) -> None:
    """Print one row a dead letter."""
    rows = [
        (
            letter["id"],
            describe_moment(letter["failed_at"], now),
            str(letter["attempts"]),
            f"{letter['error_type']}: {letter['reason']}",
        )
        for letter in letters
    ]
    say_table(console, ("id", "failed", "attempts", "reason"), rows)


def print_causes(rows: Sequence[dict[str, Any]], console: Console, now: datetime) -> None:
    """Print one row a cause, with an example."""
    cells = [
        (
            str(row["count"]),
            row["cause"],
            describe_moment(row["latest_failed_at"], now),
            _name_sources(row),
            row["example"]["id"],
        )
        for row in rows
    ]
    say_table(console, ("count", "cause", "latest", "sources", "example"), cells)


def explain_letter(letter: Letter, now: datetime) -> Iterator[str]:
    """Yield lines: why it ended, when, after how many attempts, its data, its earlier ends."""
    yield f"{letter['id']}: {letter['kind']}"
    yield f"Reason: {letter['error_type']}: {letter['reason']}"
    yield f"Cause: {letter['cause']}"
    yield f"Failed: {describe_moment(letter['failed_at'], now)} after {_attempts(letter)}"
    yield f"Queue: {letter['queue']}; revision {letter['revision']}"
    yield f"Import: {letter['import_id'] or 'none'}"
    for end in letter["history"]:
        moment = describe_moment(end["at"], now)
        yield f"Ended before: {end['kind']} at revision {end['revision']}, {moment}"
    yield f"Data: {json.dumps(letter['data'], indent=2, ensure_ascii=False)}"
    if letter["stacktrace"]:
        yield f"Stack trace:\n{letter['stacktrace'].rstrip()}"


def _name_sources(row: dict[str, Any]) -> str:
    more = row["source_count"] - len(row["sources"])
    return ", ".join(row["sources"]) + (f" and {more} more" if more else "")


def _attempts(letter: Letter) -> str:
    return f"{letter['attempts']} attempt{'' if letter['attempts'] == 1 else 's'}"
