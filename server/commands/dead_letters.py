"""``feedmill dlq``: look at dead letters, bring them back, or remove them for good."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import quote_id
from server.commands.causes import read_causes
from server.commands.dead_letter_report import explain_letter, print_causes, print_letters
from server.commands.exit_codes import FAILED
from server.commands.import_report import follow_to_end, print_summary, show_run
from server.commands.importing import ImportRun
from server.commands.locate import service_client
from server.commands.options import AsJson, Limit, OfSource, Yes
from server.commands.output import messages, say, say_json
from server.commands.several import confirm, do_each
from shared.clock import SystemClock
from shared.errors import InvalidRequestError

# A replay is answered when its imports are journaled.
REPLAY_TIMEOUT_S = 600.0

app = typer.Typer(
    name="dlq",
    help="Dead letters of the running service: list, show, replay, remove.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

OfCause = Annotated[
    str | None, typer.Option("--cause", help="of this cause, as 'list --by-cause' names it")
]


@app.command("list", epilog="Example: feedmill dlq list --by-cause")
def list_letters(
    source: OfSource = None,
    cause: OfCause = None,
    by_cause: Annotated[
        bool, typer.Option("--by-cause", help="count them by cause, with an example of each")
    ] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, latest first; removed ones are not listed."""
    if by_cause:
        if cause is not None:
            raise InvalidRequestError("choose one of --by-cause and --cause")
        _list_causes(source, limit, as_json=as_json)
        return
    with service_client() as client:
        letters = client.get_all("/dlq", max_items=limit, source=source, cause=cause)
    if as_json:
        say_json(Console(), letters)
    elif letters:
        print_letters(letters, Console(), SystemClock().now())
    else:
        _say_none()


@app.command(epilog="Example: feedmill dlq show 'lwn#https://lwn.net/Articles/1/'")
def show(item_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one dead letter whole: why, when, its data, and earlier ends."""
    with service_client() as client:
        letter = client.get(f"/dlq/{quote_id(item_id)}")
    if as_json:
        say_json(Console(), letter)
        return
    for line in explain_letter(letter, SystemClock().now()):
        say(Console(), line)


@app.command(epilog="Example: feedmill dlq replay --source lwn --wait")
def replay(
    item_ids: Annotated[list[str] | None, typer.Argument(metavar="ID")] = None,
    source: OfSource = None,
    cause: OfCause = None,
    everything: Annotated[bool, typer.Option("--all", help="all dead letters")] = False,
    is_followed: Annotated[
        bool, typer.Option("--wait", help="wait for the end; exit 1 unless all went well")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring dead letters back, by one import a source. Newer content is never overwritten."""
    body = _choose(item_ids, source, cause, everything=everything)
    with service_client() as client:
        report = client.post("/dlq/replay", body, timeout_s=REPLAY_TIMEOUT_S)
        started = [each["id"] for each in report["imports"]]
        run = follow_to_end(client, started, messages()) if is_followed else None
    _show_replay(report, run, as_json=as_json)
    if run is not None and not run.is_clean:
        sys.exit(FAILED)


@app.command(epilog="Example: feedmill dlq remove 'lwn#https://lwn.net/Articles/1/'")
def remove(
    item_ids: Annotated[list[str], typer.Argument(metavar="ID")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove dead letters: the same content stays away, other content is taken again."""
    count = len(dict.fromkeys(item_ids))
    confirm(f"Remove {count} dead letter{'s' if count > 1 else ''} for good?", is_sure=yes)
    with service_client() as client:

        def remove_one(item_id: str) -> None:
            client.delete(f"/dlq/{quote_id(item_id)}")

        do_each(item_ids, remove_one, done="removed", kind="id", as_json=as_json)


def _list_causes(source: str | None, limit: int, *, as_json: bool) -> None:
    with service_client() as client:
        causes = read_causes(client, source)
    if causes.unread_after is not None:
        say(messages(), f"only the latest {causes.unread_after} dead letters were counted")
    if as_json:
        say_json(Console(), causes.rows[:limit])
    elif causes.rows:
        print_causes(causes.rows[:limit], Console(), SystemClock().now())
    else:
        _say_none()


def _say_none() -> None:
    say(messages(), "there are no such dead letters")


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
        say_json(Console(), report if run is None else {**report, **show_run(run)})
        return
    say(Console(), f"{report['replayed']} dead letters are brought back")
    if run is not None:
        print_summary(run, Console())
        return
    for each in report["imports"]:
        say(Console(), f"{each['source']}: feedmill imports show {each['id']} --follow")
