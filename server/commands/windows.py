"""Windowed feeds: ``--window`` as it is typed, and ``feedmill feeds rollback``."""

import time
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import ApiClient, quote_id, service_client
from server.commands.options import AsJson, Source, Yes
from server.commands.output import (
    confirm,
    messages,
    print_json,
    print_text,
    read_moment,
    show_position,
)
from shared.clock import SystemClock
from shared.errors import InvalidRequestError, ServiceError

# Names of the API's window, and how their values are read.
_NUMBERS = ("step_s", "in_flight", "overlap_s", "lag_s", "first_page")
_NAMES = ("from", *_NUMBERS, "format")
# The service itself waits half a minute for what is claimed, then asks to be asked again.
_CALL_TIMEOUT_S = 60.0
_GIVE_UP_S = 120.0
_PAUSE_S = 1.0

Window = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=VALUE,…",
        help="read it by intervals: from=2024-11-01,step_s=3600; also in_flight, overlap_s, lag_s, "
        "format, first_page",
    ),
]
NewWindow = Annotated[
    str | None,
    typer.Option("--window", metavar="NAME=VALUE,…", help="change these values of its window"),
]
NoWindow = Annotated[bool, typer.Option("--no-window", help="read it as a whole from now on")]
To = Annotated[str, typer.Option("--to", metavar="TIME", help="read again from here: RFC 3339")]


def read_window(text: str) -> dict[str, Any]:
    """Return a window, or the changes of one, as the API takes it.

    Raises:
        InvalidRequestError: a name that there is not, or a value that cannot be.
    """
    window: dict[str, Any] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in _NAMES or name in window:
            raise InvalidRequestError(
                f"--window {pair!r}: write NAME=VALUE, each name once; names: {', '.join(_NAMES)}"
            )
        window[name] = _read_value(name, value)
    return window


def _read_value(name: str, value: str) -> str | int:
    if name == "from":
        return read_moment(value, "--window from")
    if name not in _NUMBERS:
        return value
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise InvalidRequestError(f"--window {name}={value[:40]}: must be a whole number from 0 on")
    return int(value)


def rollback(source: Source, to: To, yes: Yes = False, as_json: AsJson = False) -> None:
    """Read a windowed feed again from a time on. It gets a new epoch.

    It waits until nothing of the old epoch is written any more. Items that are stored stay.
    """
    since = int(to) if to.isascii() and to.isdecimal() else read_moment(to, "--to")
    confirm(f"Read {source} again from {to}? Running intervals are cancelled.", is_sure=yes)
    with service_client() as client:
        answer = _roll_back(client, source, since)
    if as_json:
        print_json(Console(), answer)
        return
    reached = show_position(answer["cursor"], SystemClock().now())
    print_text(Console(), f"{source}: epoch {answer['epoch']}, read again from {reached}")
    if answer["cursor"] != since:
        print_text(
            messages(), "earlier than asked for: an interval before that time is not finished"
        )


def _roll_back(client: ApiClient, source: str, since: int | str) -> dict[str, Any]:
    """Roll back, and wait as long as something of the old epoch is still claimed.

    Sending the same again goes on with the same rollback.
    """
    give_up_at = time.monotonic() + _GIVE_UP_S
    while True:
        try:
            answer: dict[str, Any] = client.post(
                f"/feeds/{quote_id(source)}/rollback", {"to": since}, timeout_s=_CALL_TIMEOUT_S
            )
            return answer
        except ServiceError as exc:
            if exc.http_status != 503 or time.monotonic() >= give_up_at:
                raise
            print_text(messages(), f"{source}: {exc}")
            time.sleep(exc.retry_after_s if exc.retry_after_s is not None else _PAUSE_S)
