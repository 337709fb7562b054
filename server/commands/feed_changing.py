"""``feedmill feeds edit``, ``enable`` and ``disable``: changes of feeds that are there."""

from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import quote_id
from server.commands.feed_adding import make_feed_body
from server.commands.feed_options import Cron, Interval, NoSchedule, WithWeight
from server.commands.feed_report import explain_schedule
from server.commands.locate import service_client
from server.commands.options import AsJson, Source, Sources
from server.commands.output import say, say_json
from server.commands.several import do_each
from shared.clock import SystemClock
from shared.errors import InvalidRequestError


def edit(
    source: Source,
    url: Annotated[
        list[str] | None, typer.Option(help="its URL from now on; repeat it for several")
    ] = None,
    interval_s: Interval = None,
    cron: Cron = None,
    no_schedule: NoSchedule = False,
    header: Annotated[
        list[str] | None, typer.Option(help="'Name: value'; takes the place of all it has")
    ] = None,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="forget its headers")] = False,
    weight: WithWeight = None,
    as_json: AsJson = False,
) -> None:
    """Change a feed; what is not named stays. A new schedule or URL makes it due at once."""
    if header and no_headers:
        raise InvalidRequestError("choose one of --header and --no-headers")
    changes = make_feed_body(
        url or [],
        source=None,
        interval_s=interval_s,
        cron=cron,
        is_scheduled=not no_schedule,
        headers=header or [],
        weight=weight,
    )
    if no_headers:
        changes["headers"] = {}
    if not changes:
        raise InvalidRequestError("nothing to change: name an option, see --help")
    _show_changed(_patch(source, changes), as_json=as_json)


def enable(sources: Sources, as_json: AsJson = False) -> None:
    """Let feeds be fetched again; a scheduled one is due at once."""
    _set_enabled(sources, is_enabled=True, as_json=as_json)


def disable(sources: Sources, as_json: AsJson = False) -> None:
    """Let feeds be fetched no more until they are enabled; they and their items stay."""
    _set_enabled(sources, is_enabled=False, as_json=as_json)


def _set_enabled(sources: list[str], *, is_enabled: bool, as_json: bool) -> None:
    done = "enabled" if is_enabled else "disabled"
    with service_client() as client:

        def switch(source: str) -> None:
            client.patch(f"/feeds/{quote_id(source)}", {"enabled": is_enabled})

        do_each(sources, switch, done=done, kind="source", as_json=as_json)


def _patch(source: str, changes: dict[str, Any]) -> Any:
    with service_client() as client:
        return client.patch(f"/feeds/{quote_id(source)}", changes)


def _show_changed(feed: Any, *, as_json: bool) -> None:
    if as_json:
        say_json(Console(), feed)
        return
    for line in explain_schedule(feed, SystemClock().now()):
        say(Console(), line)
