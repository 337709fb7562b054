"""``feedmill imports`` and ``feedmill reparse``: look at imports; make them again."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from server.commands.api_client import quote_id, service_client
from server.commands.import_report import (
    explain_import,
    follow_to_end,
    print_imports,
    print_summary,
    show_run,
)
from server.commands.import_run import ImportRun
from server.commands.options import AsJson, Limit, OfSource, Source
from server.commands.output import FAILED, messages, print_json, print_text, read_moment
from shared.clock import SystemClock
from shared.errors import InvalidRequestError
from shared.states import ImportState
from shared.stopping import Stopped

_DEFAULT_LIMIT = 50

app = typer.Typer(name="imports", add_completion=False, rich_markup_mode=None)

InState = Annotated[ImportState | None, typer.Option("--state", help="in this state")]


@app.callback(
    invoke_without_command=True, epilog="Example: feedmill imports --source lwn --state failed"
)
def list_imports(
    context: typer.Context,
    source: OfSource = None,
    state: InState = None,
    limit: Limit = _DEFAULT_LIMIT,
    as_json: AsJson = False,
) -> None:
    """List imports, latest requested first. 'show' explains one."""
    if context.invoked_subcommand is not None:
        if source or state or as_json or limit != _DEFAULT_LIMIT:
            raise InvalidRequestError("put the options of 'imports show' after its ID")
        return
    with service_client() as client:
        found = client.get_all("/imports", max_items=limit, source=source, state=state)
    if as_json:
        print_json(Console(), found)
    elif found:
        print_imports(found, Console(), SystemClock().now())
    else:
        hint = "import something with 'feedmill import URL-or-file'"
        which = "such imports" if source or state else f"imports yet: {hint}"
        print_text(messages(), f"no {which}")


@app.command(epilog="Example: feedmill imports show 019a3f… --follow")
def show(
    import_id: Annotated[str, typer.Argument(metavar="ID")],
    is_followed: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="wait until it ends; exit 1 unless every item was stored"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one import: its URLs, progress, counts and errors."""
    with service_client() as client:
        if is_followed:
            [found] = follow_to_end(client, [import_id], messages()).imports
        else:
            found = client.get(f"/imports/{quote_id(import_id)}")
    if as_json:
        print_json(Console(), found)
    else:
        for line in explain_import(found, SystemClock().now()):
            print_text(Console(), line)
    if is_followed and not ImportRun([found]).is_clean:
        sys.exit(FAILED)


def reparse(
    source: Source,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="only responses fetched since: 2026-11-01"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import a feed again from its kept responses.

    Nothing is fetched; for use after a parser change. Waits until it ends. Exit 1: it failed, or
    items are dead.
    """
    body = {"since": read_moment(since, "--since")} if since is not None else {}
    with service_client() as client:
        started = client.post(f"/feeds/{quote_id(source)}/reparse", body)["imports"]
        try:
            run = follow_to_end(client, [each["id"] for each in started], messages())
        except Stopped as stopped:
            print_text(messages(), "interrupted; the service continues it")
            sys.exit(stopped.exit_code)
    print_json(Console(), show_run(run)) if as_json else print_summary(run, Console())
    if not run.is_clean:
        sys.exit(FAILED)
