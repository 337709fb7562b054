"""``feedmill dlq``: list, show, replay and remove dead letters."""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import quote_id, service_client
from server.commands.import_report import follow_to_end, print_summary, show_run
from server.commands.import_run import ImportRun
from server.commands.options import AsJson, Limit, OfSource, Yes
from server.commands.output import (
    FAILED,
    act_on_each,
    confirm,
    describe_time,
    messages,
    print_entry,
    print_json,
    print_paragraph,
    print_table,
    print_text,
)
from shared.clock import SystemClock
from shared.errors import InvalidRequestError

Letter = dict[str, Any]
# A replay is answered when its imports are journaled.
REPLAY_TIMEOUT_S = 600.0
# Why some are not replayed, and what to do: the API's words, in those of a person.
_OBSTACLES = {
    "too_large": "raise JOB_MAX_BYTES on servers and workers, restart them, then replay",
    "unreadable": "only the publisher can fix it; the entry is read again at each import",
    "undecodable": "the program that added it has to add it again",
    "removed": "an operator removed it; only other content, or an import with --force, is stored",
    "not_found": "there is no such dead letter, or no longer",
    "overtaken": "the replay took too long; try again",
}

app = typer.Typer(
    name="dlq",
    add_completion=False,
    help="Dead letters: list, show, replay, remove.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

OfCause = Annotated[
    str | None, typer.Option("--cause", help="of this cause, as 'dlq list --by-cause' shows it")
]


OfImport = Annotated[str | None, typer.Option("--import", help="that ended in this import")]


@app.command("list", epilog="Example: feedmill dlq list --by-cause")
def list_letters(
    source: OfSource = None,
    cause: OfCause = None,
    import_id: OfImport = None,
    by_cause: Annotated[
        bool, typer.Option("--by-cause", help="count by cause, with an example of each")
    ] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, latest first; removed ones are not listed."""
    if by_cause:
        if cause is not None or import_id is not None:
            raise InvalidRequestError("--by-cause goes with --source alone")
        _list_causes(source, limit, as_json=as_json)
        return
    with service_client() as client:
        found = client.get_all(
            "/dlq", max_items=limit + 1, source=source, cause=cause, import_id=import_id
        )
    letters = found[:limit]
    if as_json:
        print_json(Console(), letters)
    elif letters:
        print_letters(letters, Console(), SystemClock().now())
    else:
        _report_none()
    _report_more(found, limit)


@app.command(epilog="Example: feedmill dlq show 'lwn#https://lwn.net/Articles/1/'")
def show(item_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one dead letter: reason, time, data, and earlier outcomes."""
    with service_client() as client:
        letter = client.get(f"/dlq/{quote_id(item_id)}")
    if as_json:
        print_json(Console(), letter)
        return
    for line in explain_letter(letter, SystemClock().now()):
        print_paragraph(Console(), line)


@app.command(epilog="Example: feedmill dlq replay --source lwn --wait")
def replay(
    item_ids: Annotated[list[str] | None, typer.Argument(metavar="ID")] = None,
    source: OfSource = None,
    cause: OfCause = None,
    everything: Annotated[bool, typer.Option("--all", help="all dead letters")] = False,
    is_followed: Annotated[
        bool, typer.Option("--wait", help="wait until it ends; exit 1 unless all were stored")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replay dead letters, one import per source. Newer content is never overwritten.

    Exits with 1 when nothing could be replayed.
    """
    body = _choose(item_ids, source, cause, everything=everything)
    with service_client() as client:
        report = client.post("/dlq/replay", body, timeout_s=REPLAY_TIMEOUT_S)
        started = [each["id"] for each in report["imports"]]
        run = follow_to_end(client, started, messages()) if is_followed else None
    _show_replay(report, run, as_json=as_json)
    if not report["replayed"] or (run and (report["not_replayed"] or not run.is_clean)):
        sys.exit(FAILED)


@app.command(epilog="Example: feedmill dlq remove 'lwn#https://lwn.net/Articles/1/'")
def remove(
    item_ids: Annotated[list[str], typer.Argument(metavar="ID")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove dead letters. The same content stays away, but from an import with --force.

    New content is imported again.
    """
    count = len(dict.fromkeys(item_ids))
    confirm(f"Remove {count} dead letter{'s' if count > 1 else ''} for good?", is_sure=yes)
    with service_client() as client:

        def remove_one(item_id: str) -> None:
            client.delete(f"/dlq/{quote_id(item_id)}")

        act_on_each(item_ids, remove_one, done="removed", kind="id", as_json=as_json)


def _list_causes(source: str | None, limit: int, *, as_json: bool) -> None:
    with service_client() as client:
        found = client.get("/dlq/causes", source=source)["items"]
    causes = found[:limit]
    if as_json:
        print_json(Console(), causes)
    elif causes:
        print_causes(causes, Console(), SystemClock().now())
    else:
        _report_none()
    _report_more(found, limit)


def _report_more(found: Sequence[Any], limit: int) -> None:
    if len(found) > limit:
        print_text(messages(), f"the first {limit}; there are more: raise --limit")


def _report_none() -> None:
    print_text(messages(), "no dead letter matches")


def _choose(
    item_ids: list[str] | None, source: str | None, cause: str | None, *, everything: bool
) -> dict[str, Any]:
    ways = {"ids": item_ids or None, "source": source, "cause": cause, "all": everything or None}
    body = {name: value for name, value in ways.items() if value is not None}
    if len(body) != 1:
        raise InvalidRequestError("choose one of IDs, --source, --cause and --all")
    return body


def _show_replay(report: dict[str, Any], run: ImportRun | None, *, as_json: bool) -> None:
    if as_json:
        print_json(Console(), report if run is None else {**report, **show_run(run)})
        return
    explain_replay(report)
    if run is not None:
        print_summary(run, Console())
        return
    for each in report["imports"]:
        print_text(Console(), f"{each['source']}: feedmill imports show {each['id']} --follow")


def explain_replay(report: dict[str, Any]) -> None:
    """Print how many are replayed; on stderr how many are not, why, and what to do about it."""
    refused = report["not_replayed"]
    count = sum(each["count"] for each in refused)
    reasons = ", ".join(f"{_name(each['reason'])} ({each['count']})" for each in refused)
    if report["replayed"]:
        text = f"Replaying {_letters(report['replayed'])}"
        print_text(Console(), f"{text}; {count} not: {reasons}" if refused else text)
    elif refused:
        print_text(messages(), f"feedmill: nothing replayed: {reasons}")
    else:
        print_text(messages(), "feedmill: nothing replayed: no dead letter matches")
    for each in refused:
        remedy = _OBSTACLES.get(each["reason"])
        if remedy:
            print_text(messages(), f"{_name(each['reason'])}: {remedy}")


def print_letters(letters: Sequence[Letter], console: Console, now: datetime) -> None:
    """Print one row a dead letter, or on a terminal a few lines of whole words."""
    if console.is_terminal:
        for letter in letters:
            failed = f"{describe_time(letter['failed_at'], now)}, {_attempts(letter)}"
            print_entry(console, letter["id"], [failed, _describe_reason(letter)])
        return
    rows = [
        (
            letter["id"],
            describe_time(letter["failed_at"], now),
            str(letter["attempts"]),
            _describe_reason(letter),
        )
        for letter in letters
    ]
    print_table(console, ("id", "failed", "attempts", "reason"), rows)


def _describe_reason(letter: Letter) -> str:
    return f"{letter['error_type']}: {letter['reason']}"


def print_causes(rows: Sequence[dict[str, Any]], console: Console, now: datetime) -> None:
    """Print one row a cause, or on a terminal a few lines; with an example."""
    if console.is_terminal:
        for row in rows:
            latest = f"latest {describe_time(row['latest_failed_at'], now)}; {_name_sources(row)}"
            example = f"for example {row['example']['id']}"
            print_entry(console, f"{row['count']}  {row['cause']}", [latest, example])
        return
    cells = [
        (
            str(row["count"]),
            row["cause"],
            describe_time(row["latest_failed_at"], now),
            _name_sources(row),
            row["example"]["id"],
        )
        for row in rows
    ]
    print_table(console, ("count", "cause", "latest", "sources", "example"), cells)


def explain_letter(letter: Letter, now: datetime) -> Iterator[str]:
    """Yield lines: reason, time, attempts, earlier outcomes, data, stack trace."""
    yield f"{letter['id']}: {letter['kind']}"
    yield f"Reason: {letter['error_type']}: {letter['reason']}"
    yield f"Cause: {letter['cause']}"
    yield f"Failed: {describe_time(letter['failed_at'], now)} after {_attempts(letter)}"
    yield f"Queue: {letter['queue']}; revision {letter['revision']}"
    yield f"Import: {letter['import_id'] or 'none'}"
    for earlier in letter["history"]:
        at = describe_time(earlier["at"], now)
        yield f"Earlier: {earlier['kind']} at revision {earlier['revision']}, {at}"
    yield f"Data: {json.dumps(letter['data'], indent=2, ensure_ascii=False)}"
    if letter["stacktrace"]:
        yield f"Stack trace:\n{letter['stacktrace'].rstrip()}"


def _name_sources(row: dict[str, Any]) -> str:
    more = row["source_count"] - len(row["sources"])
    return ", ".join(row["sources"]) + (f" and {more} more" if more else "")


def _name(reason: str) -> str:
    return reason.replace("_", " ")


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _attempts(letter: Letter) -> str:
    return f"{letter['attempts']} attempt{'' if letter['attempts'] == 1 else 's'}"
