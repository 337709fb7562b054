"""``feedmill feeds backfill``: the past of a feed, beside its present."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from server.commands.api_client import ApiClient, quote_id, service_client
from server.commands.backfill_report import (
    ENDED_STATES,
    BackFill,
    choose_progress,
    explain_backfill,
    print_backfills,
)
from server.commands.following import follow
from server.commands.options import AnySource, AsJson
from server.commands.output import FAILED, messages, print_json, print_text, read_moment
from shared.clock import SystemClock
from shared.errors import InvalidRequestError
from shared.stopping import Stopped

# It runs for minutes to days: nobody sees more of it by asking more often.
POLL_S = 1.0

From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="start one here: 2024-11-01, or RFC 3339 (UTC)"),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="TIME",
        help="end before this time; default: where the feed's window begins, or now",
    ),
]
IsFollowed = Annotated[
    bool | None,
    typer.Option("--follow/--no-follow", help="wait until it ends; default when one is started"),
]


def backfill(
    source: AnySource = None,
    from_: From = None,
    to: To = None,
    pause: Annotated[bool, typer.Option("--pause", help="start no more intervals")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="continue after a pause")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="end it; its items stay")] = False,
    is_followed: IsFollowed = None,
    as_json: AsJson = False,
) -> None:
    """Import a feed's past and show the progress. Without SOURCE list running back-fills.

    Ctrl-C ends only the display. Exit 1: it was cancelled, or items are dead.
    """
    verb = _choose_verb(pause=pause, resume=resume, cancel=cancel)
    _check_usage(source, from_, to, verb)
    with service_client() as client:
        if source is None:
            _list_all(client, as_json=as_json)
            return
        path = f"/feeds/{quote_id(source)}/backfill"
        shown = _act(client, path, verb, from_, to)
        if is_followed if is_followed is not None else from_ is not None:
            shown = _follow(client, path, shown)
    _show(shown, as_json=as_json)
    if is_followed is not False and not _is_clean(shown, verb):
        sys.exit(FAILED)


def _choose_verb(*, pause: bool, resume: bool, cancel: bool) -> str | None:
    chosen = {"pause": pause, "resume": resume, "cancel": cancel}
    verbs = [verb for verb, is_chosen in chosen.items() if is_chosen]
    if len(verbs) > 1:
        raise InvalidRequestError("choose one of --pause, --resume and --cancel")
    return verbs[0] if verbs else None


def _check_usage(source: str | None, from_: str | None, to: str | None, verb: str | None) -> None:
    """Refuse what is only half said.

    Raises:
        InvalidRequestError: wrong usage, in one line.
    """
    if source is None and (from_ or to or verb):
        raise InvalidRequestError("name the feed: feedmill feeds backfill SOURCE …")
    if verb and (from_ or to):
        raise InvalidRequestError(f"--{verb} takes no --from and no --to")
    if to and not from_:
        raise InvalidRequestError("--to needs --from")


def _act(
    client: ApiClient, path: str, verb: str | None, from_: str | None, to: str | None
) -> BackFill:
    """Begin, pause, resume or cancel a back-fill, or read the one that there is."""
    shown: BackFill
    if from_ is not None:
        body = {"from": read_moment(from_, "--from")}
        shown = client.post(path, body | ({"to": read_moment(to, "--to")} if to else {}))
    elif verb == "cancel":
        shown = client.delete(path)
    elif verb is not None:
        shown = client.post(f"{path}/{verb}")
    else:
        shown = client.get(path)
    return shown


def _follow(client: ApiClient, path: str, begun: BackFill) -> BackFill:
    """Wait for its end with progress; Ctrl-C says how to come back, and ends as a signal does."""
    source = begun["source"]
    try:
        with choose_progress(messages()) as progress:
            return follow(
                begun,
                lambda _: client.get(path),
                show=progress.show,
                is_ended=lambda seen: seen["state"] in ENDED_STATES,
                poll_s=POLL_S,
            )
    except Stopped as stopped:
        back = f"feedmill feeds backfill {source} --follow"
        print_text(messages(), f"the back-fill continues: '{back}' shows it, --cancel ends it")
        sys.exit(stopped.exit_code)


def _list_all(client: ApiClient, *, as_json: bool) -> None:
    found = client.get_all("/backfills")
    if as_json:
        print_json(Console(), found)
    elif found:
        print_backfills(found, Console(), SystemClock().now())
    else:
        print_text(messages(), "no back-fill is running")


def _show(shown: BackFill, *, as_json: bool) -> None:
    if as_json:
        print_json(Console(), shown)
        return
    for line in explain_backfill(shown, SystemClock().now()):
        print_text(Console(), line)


def _is_clean(shown: BackFill, verb: str | None) -> bool:
    if shown["state"] == "cancelled":
        return verb == "cancel"
    return not (shown["state"] == "completed" and shown["items"]["dead"])
