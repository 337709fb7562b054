"""``feedmill queue``: look into the queues of the running service, hold them, clean them."""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import quote_id
from server.commands.locate import service_client
from server.commands.options import AnyQueue, AsJson, Queue, Yes
from server.commands.output import say, say_json
from server.commands.queue_report import describe_limit, print_queues
from server.commands.several import confirm
from server.commands.times import parse_span_ms
from shared.settings import load_settings

# Cleaning goes job by job, and each item's removal is put on record.
CLEAN_TIMEOUT_S = 600.0

app = typer.Typer(
    name="queue",
    help="Queues of the running service: status, pause, resume, clean.",
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
    """Show counts, rate, the oldest waiting job's age, and what limits each queue, or one."""
    with service_client() as client:
        one = client.get(f"/queues/{quote_id(queue)}") if queue is not None else None
        shown = client.get("/queues")["items"] if one is None else [one]
    if as_json:
        say_json(Console(), shown if one is None else one)
    else:
        print_queues(shown, Console())


@app.command(epilog="Example: feedmill queue pause job_import_queue_heavy")
def pause(queue: AnyQueue = None, as_json: AsJson = False) -> None:
    """Let no more jobs of a queue start, until it is resumed; without QUEUE the light item queue.

    What is claimed already is finished.
    """
    _switch(queue, "pause", as_json=as_json)


@app.command(epilog="Example: feedmill queue resume")
def resume(queue: AnyQueue = None, as_json: AsJson = False) -> None:
    """Let jobs of a queue start again; without QUEUE the light item queue."""
    _switch(queue, "resume", as_json=as_json)


@app.command(epilog="Example: feedmill queue clean feed_fetch_queue --state failed --older-than 1h")
def clean(
    queue: Queue,
    state: Annotated[CleanableState, typer.Option(help="jobs in this state")],
    older_than: Annotated[str, typer.Option(help="only older ones: 90s, 15m, 1h, 7d")] = "0s",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove jobs from a queue. An item's removal is remembered: the same content stays away."""
    grace_ms = parse_span_ms(older_than)
    age = f" that are older than {older_than}" if grace_ms else ""
    confirm(f"Remove all {state} jobs of {queue}{age}?", is_sure=yes)
    body = {"state": state, "grace_ms": grace_ms}
    with service_client() as client:
        path = f"/queues/{quote_id(queue)}/clean"
        report: dict[str, Any] = client.post(path, body, timeout_s=CLEAN_TIMEOUT_S)
    if as_json:
        say_json(Console(), report)
    else:
        say(Console(), f"{queue}: {report['removed']} removed")


def _switch(queue: str | None, action: str, *, as_json: bool) -> None:
    name = queue if queue is not None else load_settings().light_queue
    with service_client() as client:
        shown = client.post(f"/queues/{quote_id(name)}/{action}")
    if as_json:
        say_json(Console(), shown)
    else:
        say(Console(), f"{shown['name']}: {describe_limit(shown)}")
