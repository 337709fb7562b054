"""``feedmill queue``: look into the queues of the running service, pause, clean, replay."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import find_service, quote_id, service_client
from server.commands.options import AnyQueue, AsJson, Queue, Yes
from server.commands.output import (
    NOTHING,
    Column,
    confirm,
    describe_span,
    parse_span_ms,
    print_fitting_table,
    print_json,
    print_text,
)
from shared.settings import Settings, load_settings

_ALWAYS = ("waiting", "active", "delayed", "completed", "failed")
# Only foreign producers put jobs there.
_IF_ANY = ("prioritized", "waiting-children")
# Item queues keep no completed jobs.
_FROM_WIDTHS = {"completed": 65}
# Cleaning goes job by job, and each item's removal is put on record.
CLEAN_TIMEOUT_S = 600.0

app = typer.Typer(
    name="queue",
    add_completion=False,
    help="Queues: status, pause, resume, clean, replay.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class CleanableState(StrEnum):
    """States whose jobs can be cleaned away; claimed ones cannot."""

    WAITING = "waiting"
    PRIORITIZED = "prioritized"
    DELAYED = "delayed"
    COMPLETED = "completed"
    FAILED = "failed"


@app.command(epilog="Example: feedmill queue status")
def status(queue: AnyQueue = None, as_json: AsJson = False) -> None:
    """Show each queue, or one: counts, and what limits it.

    Also the rate, and the age of the oldest waiting job. Without a service and MONGODB_URL: your
    own queues, read from REDIS_URL.
    """
    shown = _read_queues(queue)
    if as_json:
        print_json(Console(), shown if queue is None else shown[0])
    else:
        print_queues(shown, Console())
    if not shown and not as_json:
        print_text(Console(), "no queues yet: they appear when 'feedmill worker --app' works them")


@app.command(epilog="Example: feedmill queue pause job_import_queue_heavy")
def pause(queue: AnyQueue = None, as_json: AsJson = False) -> None:
    """Start no more jobs of a queue until it is resumed.

    Without QUEUE it is the light item queue. Running jobs are finished.
    """
    _switch(queue, "pause", as_json=as_json)


@app.command(epilog="Example: feedmill queue resume")
def resume(queue: AnyQueue = None, as_json: AsJson = False) -> None:
    """Start jobs of a paused queue again. Without QUEUE it is the light item queue."""
    _switch(queue, "resume", as_json=as_json)


@app.command(epilog="Example: feedmill queue clean feed_fetch_queue --state failed --older-than 1h")
def clean(
    queue: Queue,
    state: Annotated[CleanableState, typer.Option(help="jobs in this state")],
    older_than: Annotated[str, typer.Option(help="only older ones: 90s, 15m, 1h, 7d")] = "0s",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove jobs from a queue.

    Removed items stay away until their content changes, or an import with --force.
    """
    grace_ms = parse_span_ms(older_than)
    age = f" that are older than {older_than}" if grace_ms else ""
    confirm(f"Remove all {state} jobs of {queue}{age}?", is_sure=yes)
    body = {"state": state, "grace_ms": grace_ms}
    with service_client() as client:
        path = f"/queues/{quote_id(queue)}/clean"
        report: dict[str, Any] = client.post(path, body, timeout_s=CLEAN_TIMEOUT_S)
    if as_json:
        print_json(Console(), report)
    else:
        print_text(Console(), f"{queue}: {report['removed']} removed")


@app.command(epilog="Example: feedmill queue replay emails_dlq --reason 'connection refused'")
def replay(
    queue: Queue,
    reason: Annotated[
        str | None, typer.Option(help="only those with this text in their reason")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put dead letters of your own queues back into their queues."""
    which = "all dead letters" if reason is None else f"the dead letters with {reason!r}"
    confirm(f"Replay {which} of {queue}?", is_sure=yes)
    body = {} if reason is None else {"reason": reason}
    with service_client() as client:
        path = f"/queues/{quote_id(queue)}/replay"
        report: dict[str, Any] = client.post(path, body, timeout_s=CLEAN_TIMEOUT_S)
    if as_json:
        print_json(Console(), report)
    else:
        print_text(Console(), f"{queue}: {report['replayed']} replayed")


def _is_without_service(settings: Settings) -> bool:
    """Return whether a deployment has queues of programs alone: a Redis, but no MongoDB."""
    return settings.redis_url is not None and settings.mongodb_url is None


def _read_queues(name: str | None) -> list[dict[str, Any]]:
    settings = load_settings()
    client = find_service(settings) if _is_without_service(settings) else service_client()
    if client is None:
        # Only then: what reads queues takes longer to load than the command.
        from server.commands.own_queues import read_own_queues

        return read_own_queues(settings, name)
    with client:
        if name is not None:
            return [client.get(f"/queues/{quote_id(name)}")]
        shown: list[dict[str, Any]] = client.get("/queues")["items"]
        return shown


def _switch(queue: str | None, action: str, *, as_json: bool) -> None:
    name = queue if queue is not None else load_settings().light_queue
    with service_client() as client:
        shown = client.post(f"/queues/{quote_id(name)}/{action}")
    if as_json:
        print_json(Console(), shown)
    else:
        print_text(Console(), f"{shown['name']}: {describe_limit(shown)}")


def print_queues(queues: Sequence[dict[str, Any]], console: Console) -> None:
    """Print one row a queue, as many columns as there is room for."""
    rare = [state for state in _IF_ANY if any(queue["counts"].get(state) for queue in queues)]
    states = [*_ALWAYS, *rare]
    columns = (
        Column("queue", is_whole=True),
        *(Column(state, _FROM_WIDTHS.get(state, 0), is_whole=True) for state in states),
        Column("per second", from_width=90, is_whole=True),
        Column("oldest waits", from_width=75, is_whole=True),
        Column("limited by"),
    )
    rows = [row for queue in queues for row in (_row(queue, states), *_part_rows(queue, states))]
    print_fitting_table(console, columns, rows)


def describe_limit(queue: dict[str, Any]) -> str:
    """Return in words what keeps waiting jobs from being started, and what to do about it."""
    text = queue["limited_by_text"]
    match queue["limited_by"]:
        case "paused":
            return f"{text}: resume it with 'feedmill queue resume {queue['name']}'"
        case "no_worker":
            app = "" if queue.get("weight") is None else " --app MODULE"
            return f"{text}: start one with 'feedmill worker{app}'"
        case _:
            return str(text)


def _part_rows(queue: dict[str, Any], states: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a row for each partition that holds something, or is paused."""
    return [
        (
            f"  in {part['prefix']}",
            *(str(part["counts"].get(state, 0)) for state in states),
            NOTHING,
            _describe_age(part["oldest_waiting_ms"]),
            "paused" if part["is_paused"] else "",
        )
        for part in queue.get("partitions", ())
        if part["is_paused"] or any(part["counts"].values())
    ]


def _describe_age(age_ms: int | None) -> str:
    return describe_span(round(age_ms / 1000)) if age_ms is not None else NOTHING


def _row(queue: dict[str, Any], states: Sequence[str]) -> tuple[str, ...]:
    rate = queue["rate_per_s"]
    return (
        queue["name"],
        *(str(queue["counts"].get(state, 0)) for state in states),
        f"{rate:.1f}" if rate is not None else NOTHING,
        _describe_age(queue["oldest_waiting_ms"]),
        describe_limit(queue),
    )
