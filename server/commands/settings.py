"""``feedmill settings``: the values of the running server; its rate limit, changed at run time."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import service_client
from server.commands.options import AsJson
from server.commands.output import (
    describe_time,
    parse_span_ms,
    print_json,
    print_table,
    print_text,
)
from shared.errors import InvalidRequestError
from shared.item_limits import describe_limits
from shared.store import ItemLimits

PATH = "/settings/rate-limit"
# As the longest name has.
_NAME_WIDTH = 29
_LIMIT = re.compile(r"([0-9]{1,8})(?:\s*/\s*([0-9]*)\s*([a-z]+))?")
_ACCEPTED = "MAX/DURATION, as 100/s, 50/500ms or 600/10min; 0 is no limit"

app = typer.Typer(
    name="settings",
    add_completion=False,
    help="Settings of the running server, and its rate limit.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback(epilog="Example: feedmill settings --json")
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show all settings, and where each value comes from.

    Workers have an environment of their own.
    """
    if context.invoked_subcommand is not None:
        return
    with service_client() as client:
        found = client.get("/settings")
    if as_json:
        print_json(Console(), found)
    else:
        print_groups(found["groups"], Console())


@app.command(name="rate-limit", epilog="Example: feedmill settings rate-limit 500/s")
def rate_limit(
    limit: Annotated[
        str | None, typer.Argument(metavar="MAX/DURATION", help="as 100/s; 0 is no limit")
    ] = None,
    source_max: Annotated[
        int | None, typer.Option(min=0, help="items of one source in the same window; 0: no limit")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="back to the value of the server's environment")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show or change how many items start per window. Per item queue, over all workers.

    A change holds at once and until it is reset, whatever restarts.
    """
    if reset and (limit is not None or source_max is not None):
        raise InvalidRequestError("--reset takes no other value")
    with service_client() as client:
        if reset:
            shown = client.delete(PATH)
        elif limit is None and source_max is None:
            shown = client.get(PATH)
        else:
            shown = client.put(PATH, _wanted(client.get(PATH), limit, source_max))
    if as_json:
        print_json(Console(), shown)
    else:
        print_text(Console(), describe_setting(shown))


@app.command(epilog="Example: feedmill settings changes")
def changes(as_json: AsJson = False) -> None:
    """Show the last changes of the rate limit."""
    with service_client() as client:
        found = client.get("/settings/changes")["items"]
    if as_json:
        print_json(Console(), found)
    elif found:
        rows = [_change_row(each) for each in found]
        print_table(Console(), ("when", "by", "client", "from", "to"), rows)
    else:
        print_text(Console(), "the rate limit has never been changed here")


def print_groups(groups: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a line for each setting, each group below its name; names are never broken."""
    for group in groups:
        print_text(console, group["name"], style="bold")
        for setting in group["settings"]:
            print_text(console, f"  {setting['name']:<{_NAME_WIDTH}}  {_describe_value(setting)}")


def parse_limit(text: str) -> tuple[int, int | None]:
    """Return items and window in ms of a limit as it is typed; no window for no limit.

    Raises:
        InvalidRequestError: it is none; says what is accepted.
    """
    found = _LIMIT.fullmatch(text.strip().lower())
    if found is None or (found[3] is None and int(found[1]) > 0):
        raise InvalidRequestError(f"{text[:40]!r}: write {_ACCEPTED}")
    if found[3] is None:
        return 0, None
    try:
        return int(found[1]), parse_span_ms(f"{found[2] or 1}{found[3]}")
    except InvalidRequestError as exc:
        raise InvalidRequestError(f"{text[:40]!r}: write {_ACCEPTED}") from exc


def describe_setting(limits: dict[str, Any]) -> str:
    """Return the limits that hold, and where they come from."""
    text = f"{_describe(limits)} ({limits['origin']})"
    if limits["origin"] == "changed here":
        text += f"; --reset brings back {_describe(limits['environment'])}"
    return text


def _wanted(now: dict[str, Any], limit: str | None, source_max: int | None) -> dict[str, Any]:
    max_items, duration_ms = (now["max"], None) if limit is None else parse_limit(limit)
    return {
        "max": max_items,
        "duration_ms": now["duration_ms"] if duration_ms is None else duration_ms,
        "source_max": source_max,
    }


def _describe(limits: dict[str, Any]) -> str:
    values = (limits["max"], limits["duration_ms"], limits["source_max"])
    return describe_limits(ItemLimits(*values))


def _describe_value(setting: dict[str, Any]) -> str:
    value, default = setting["value"], setting["default"]
    unit = f" {setting['unit']}" if setting["unit"] and value is not None else ""
    is_other = (
        setting["origin"] not in ("default", "embedded")
        and value != default
        and not setting["is_secret"]
    )
    origin = f"{setting['origin']}; default: {_show(default)}" if is_other else setting["origin"]
    return f"{_show(value)}{unit} ({origin})"


def _show(value: object) -> str:
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _change_row(change: dict[str, Any]) -> tuple[str, ...]:
    after = _describe(change["after"])
    return (
        describe_time(change["at"], datetime.now(UTC)),
        change["by"],
        change["client"],
        _describe(change["before"]),
        f"{after} (reset)" if change["is_reset"] else after,
    )
