"""Imports for people: the list, and everything about one."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console

from server.commands.import_report import describe_outcome, describe_state
from server.commands.importing import Import
from server.commands.output import say_table
from server.commands.times import describe_moment

_HEADER = ("id", "source", "state", "requested", "outcome")


def print_imports(imports: Sequence[Import], console: Console, now: datetime) -> None:
    """Print one row an import."""
    rows = [
        (
            each["id"],
            each["source"],
            describe_state(each),
            describe_moment(each["requested_at"], now),
            describe_outcome(each),
        )
        for each in imports
    ]
    say_table(console, _HEADER, rows)


def explain_import(each: Import, now: datetime) -> Iterator[str]:
    """Yield lines: what it is, when it ran, how each URL answered, its counts and complaints."""
    yield f"{each['id']}: {each['source']}, {describe_state(each)}"
    yield f"Requested: {describe_moment(each['requested_at'], now)} by {each['trigger']}"
    for name, field in (("Started", "started_at"), ("Finished", "finished_at")):
        if each[field]:
            yield f"{name}: {describe_moment(each[field], now)}"
    for fetch in each["fetches"]:
        yield f"Fetched: {fetch['url'] or 'a document that was handed in'}: {_describe(fetch)}"
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
