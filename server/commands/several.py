"""Doing one thing to several named ones: who fails does not keep the others from it."""

import sys
from collections.abc import Callable, Sequence

import typer
from rich.console import Console

from server.commands.exit_codes import FAILED
from server.commands.output import messages, say, say_json
from shared.errors import ServiceError


def do_each(
    names: Sequence[str], act: Callable[[str], object], *, done: str, kind: str, as_json: bool
) -> None:
    """Call ``act`` with each name once, and say which it worked for; ends with 1 if one failed.

    ``done`` is what has happened to them then ("removed"), ``kind`` what a name is ("source").
    """
    succeeded: list[str] = []
    errors: list[dict[str, str]] = []
    for name in dict.fromkeys(names):
        try:
            act(name)
            succeeded.append(name)
        except ServiceError as exc:
            errors.append({kind: name, "error": str(exc)})
    if as_json:
        say_json(Console(), {done: succeeded, "errors": errors})
    for name in [] if as_json else succeeded:
        say(Console(), f"{name}: {done}")
    for each in errors:
        say(messages(), f"feedmill: {each[kind]}: {each['error']}", style="red")
    if errors:
        sys.exit(FAILED)


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask on a terminal, unless the caller is sure; a no ends the command with 1."""
    if not is_sure and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)
