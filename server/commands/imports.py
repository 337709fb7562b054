"""``feedmill imports``: the imports of the running service, from a terminal."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from server.commands.api_client import quote_id
from server.commands.exit_codes import FAILED
from server.commands.import_list import explain_import, print_imports
from server.commands.import_report import follow_to_end
from server.commands.importing import ImportRun
from server.commands.locate import service_client
from server.commands.options import AsJson, Limit, OfSource
from server.commands.output import messages, say, say_json
from shared.clock import SystemClock
from shared.errors import InvalidRequestError
from shared.store import ImportState

_DEFAULT_LIMIT = 50

app = typer.Typer(name="imports", rich_markup_mode=None)

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
    """List imports, latest requested first; or show one of them with 'show'."""
    if context.invoked_subcommand is not None:
        if source or state or as_json or limit != _DEFAULT_LIMIT:
            raise InvalidRequestError("options of 'imports show' stand behind its ID")
        return
    with service_client() as client:
        found = client.get_all("/imports", max_items=limit, source=source, state=state)
    if as_json:
        say_json(Console(), found)
    elif found:
        print_imports(found, Console(), SystemClock().now())
    else:
        hint = "import something with 'feedmill import URL-or-file'"
        which = "such imports" if source or state else f"imports yet: {hint}"
        say(messages(), f"there are no {which}")


@app.command(epilog="Example: feedmill imports show 019a3f… --follow")
def show(
    import_id: Annotated[str, typer.Argument(metavar="ID")],
    is_followed: Annotated[
        bool, typer.Option("--follow", "-f", help="wait for its end; exit 1 unless all went well")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one import: where from, how far, its counts, and what went wrong."""
    with service_client() as client:
        if is_followed:
            [found] = follow_to_end(client, [import_id], messages()).imports
        else:
            found = client.get(f"/imports/{quote_id(import_id)}")
    if as_json:
        say_json(Console(), found)
    else:
        for line in explain_import(found, SystemClock().now()):
            say(Console(), line)
    if is_followed and not ImportRun([found]).is_clean:
        sys.exit(FAILED)
