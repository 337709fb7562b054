"""The ``feedmill`` command.

A composition root: it reads the settings. It becomes a role by exec of ``python -m server`` or
``python -m worker``, never by import, and talks to a running service over HTTP only.

A command's module is loaded when the command is typed: most need no library of the stores, and
loading these takes longer than the command.
"""

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from importlib import import_module, metadata
from typing import Annotated, Any, Literal, NoReturn, cast

import typer
from rich.console import Console

from server.commands.options import AsJson
from server.commands.output import FAILED, WRONG_USAGE, messages, print_text
from shared.errors import (
    ChildEnded,
    FeedmillError,
    InvalidRequestError,
    ServiceError,
    SettingsError,
)
from shared.settings import Settings, load_settings

# Beside those below: where each is, and its example where it is no group of commands.
_ELSEWHERE = {
    "reparse": ("imports", "Example: feedmill reparse lwn --since 2026-11-01"),
    "status": ("status", "Example: feedmill status"),
    "doctor": ("doctor", "Example: feedmill doctor --json"),
    "feeds": ("feeds", None),
    "imports": ("imports", None),
    "queue": ("queues", None),
    "dlq": ("dead_letters", None),
    "settings": ("settings", None),
}


class _CommandsByName(Mapping[str, Any]):
    """Commands in the order of the help; one of another module is loaded when it is asked for."""

    def __init__(self, here: Mapping[str, Any]) -> None:
        self._loaded = dict(here)
        self._names = (*here, *_ELSEWHERE)

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load_command(name, *_ELSEWHERE[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _load_command(name: str, module_name: str, example: str | None) -> Any:
    module = import_module(f"server.commands.{module_name}")
    if example is None:
        return typer.main.get_command(module.app)
    # Shell completion is installed by an option of the whole.
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, epilog=example)(getattr(module, name))
    return typer.main.get_command(single)


class _Commands(typer.core.TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast(Any, _CommandsByName(self.commands))


app = typer.Typer(
    name="feedmill",
    cls=_Commands,
    help="Imports RSS, Atom and JSON feeds into MongoDB without losing or duplicating an item.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Feeds = Annotated[list[str] | None, typer.Argument(help="URLs or files to import first")]
FeedsToImport = Annotated[list[str], typer.Argument(help="URLs or files", metavar="URL-or-file...")]


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    try:
        app()
    except FeedmillError as exc:
        for line in str(exc).splitlines():
            print_text(messages(), f"feedmill: {line}", style="red")
        sys.exit(_exit_code(exc))
    except Exception as exc:
        if os.environ.get("LOG_LEVEL", "").upper() == "DEBUG":
            raise
        print_text(messages(), f"feedmill: {_describe_bug(exc)}", style="red")
        sys.exit(FAILED)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(metadata.version("feedmill"))
        raise typer.Exit


@app.callback()
def _take_common_options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options that come before the command."""


@app.command(epilog="Example: feedmill up https://lwn.net/headlines/rss")
def up(feeds: Feeds = None) -> None:
    """Run the whole service here: server, worker and stores.

    Stores that no setting names are embedded ones, with their data in DATA_DIR.
    """
    from server.commands.roles import run_up

    sys.exit(run_up(load_settings(), feeds or [], Console()))


@app.command(epilog="Example: REDIS_URL=redis://r MONGODB_URL=mongodb://m feedmill server")
def server() -> None:
    """Run the server alone. REDIS_URL and MONGODB_URL must be set."""
    _become_role("server", load_settings())


@app.command(epilog="Example: WORKER_TYPE=heavy feedmill worker")
def worker(
    app: Annotated[
        str | None,
        typer.Option(
            help="modules whose queues it works too, as myapp.jobs; overrides FEEDMILL_APP",
            metavar="MODULE",
        ),
    ] = None,
) -> None:
    """Run a worker alone. REDIS_URL and MONGODB_URL must be set.

    With --app or FEEDMILL_APP it works queues of your own; without MONGODB_URL only these.
    """
    if app is not None:
        # The role reads its settings from there.
        os.environ["FEEDMILL_APP"] = app
    _become_role("worker", load_settings())


@app.command(
    name="import", epilog="Example: feedmill import https://lwn.net/headlines/rss jobs.xml --json"
)
def import_feeds(
    feeds: FeedsToImport,
    source: Annotated[
        str | None, typer.Option(help="the feed's key: 1 to 64 of a-z 0-9 - _ .")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="fetch and compare everything, whatever is known or was removed"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import now, wait, and show a summary. Exit 1: an import failed, or an item is dead."""
    from server.commands.import_now import run_import

    sys.exit(
        run_import(
            load_settings(),
            feeds,
            source=source,
            force=force,
            as_json=as_json,
            output=Console(),
            messages=messages(),
        )
    )


def _become_role(role: Literal["server", "worker"], settings: Settings) -> NoReturn:
    """Replace this process by a role: same process id, so signals reach it.

    Raises:
        SettingsError: a store is not named that the role needs.
    """
    if role == "worker" and settings.works_app_alone:
        settings.named_redis()
    else:
        settings.named_stores()
    # The current folder may hold a "server" of somebody else.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    os.execve(sys.executable, [sys.executable, "-m", role], environment)


def _describe_bug(error: Exception) -> str:
    """Return one line about an error that nobody foresaw: what, where, and how to see all of it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return (
        f"this is a bug: {type(error).__name__}: {text} ({place.name}, line {place.lineno}); "
        "please report it with what LOG_LEVEL=DEBUG shows"
    )


def _exit_code(error: FeedmillError) -> int:
    if isinstance(error, ChildEnded):
        return error.exit_code
    if isinstance(error, ServiceError) and error.http_status == 422:
        # The service refused a value that it was handed on.
        return WRONG_USAGE
    return WRONG_USAGE if isinstance(error, SettingsError | InvalidRequestError) else FAILED
