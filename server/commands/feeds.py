"""``feedmill feeds``: the feeds of the running service, from a terminal."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import ApiClient, quote_id
from server.commands.exit_codes import FAILED
from server.commands.feed_adding import discover, import_added, make_feed_body
from server.commands.feed_changing import disable, edit, enable
from server.commands.feed_options import Cron, Interval, NoSchedule, WithWeight
from server.commands.feed_report import (
    explain_feed,
    print_feeds,
    print_hosts,
    print_named_feeds,
    urls_of,
)
from server.commands.import_report import choose_progress, print_summary, show_run
from server.commands.importing import ImportRun
from server.commands.locate import service_client
from server.commands.options import AsJson, Source, Sources, Yes
from server.commands.output import messages, say, say_json
from server.commands.several import confirm, do_each
from shared.clock import SystemClock
from shared.errors import InvalidRequestError, ServiceError

OPML_TYPE = "text/x-opml"
# Tens of thousands of feeds are added one by one.
OPML_TIMEOUT_S = 600.0
STANDARD_STREAM = "-"
# An import is the feed's last one from its commit on.
RUNNING_STATES = ("queued", "fetching")

app = typer.Typer(
    name="feeds",
    help="Feeds of the running service: list, add, edit, remove, explain, OPML.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", epilog="Example: feedmill feeds list --json")
def list_feeds(as_json: AsJson = False) -> None:
    """List all feeds, latest added first; times are local."""
    with service_client() as client:
        feeds = client.get_all("/feeds")
    if as_json:
        say_json(Console(), feeds)
    elif feeds:
        print_feeds(feeds, Console(), SystemClock().now())
    else:
        say(messages(), "there are no feeds yet: add one with 'feedmill feeds add URL'")


@app.command(epilog="Example: feedmill feeds add https://lwn.net --discover --import")
def add(
    urls: Annotated[
        list[str], typer.Argument(metavar="URL...", help="several that list the same items")
    ],
    source: Annotated[
        str | None, typer.Option(help="its key: 1 to 64 of a-z 0-9 - _ .; else made from the URL")
    ] = None,
    interval_s: Interval = None,
    cron: Cron = None,
    no_schedule: NoSchedule = False,
    header: Annotated[
        list[str] | None, typer.Option(help="'Name: value', sent when it is fetched; repeatable")
    ] = None,
    weight: WithWeight = None,
    is_page: Annotated[
        bool, typer.Option("--discover", help="the URL may be a page that names the feed")
    ] = False,
    import_now: Annotated[
        bool, typer.Option("--import", help="import it now and wait for the end")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add a feed; without a schedule of its own it is fetched every FETCH_INTERVAL_S seconds.

    Exit 2 with --discover: the page names several feeds; they are listed, so that one can be named.
    """
    body = make_feed_body(
        urls,
        source=source,
        interval_s=interval_s,
        cron=cron,
        is_scheduled=not no_schedule,
        headers=header or [],
        weight=weight,
    )
    with service_client() as client:
        if is_page:
            body["url"] = _find_one(client, urls, as_json=as_json)
        added = client.post("/feeds", body)
        run = _import_now(client, added) if import_now else None
    _show_added(added, run, as_json=as_json)
    if run is not None and not run.is_clean:
        sys.exit(FAILED)


app.command(epilog="Example: feedmill feeds edit lwn --interval-s 900")(edit)
app.command(epilog="Example: feedmill feeds enable lwn")(enable)
app.command(epilog="Example: feedmill feeds disable lwn slashdot")(disable)


@app.command(epilog="Example: feedmill feeds remove lwn --yes")
def remove(sources: Sources, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove feeds. Their items stay; an import that is queued or fetching fails."""
    names = ", ".join(dict.fromkeys(sources))
    confirm(f"Remove {names}? The items stay.", is_sure=yes)
    with service_client() as client:

        def remove_one(source: str) -> None:
            client.delete(f"/feeds/{quote_id(source)}")

        do_each(sources, remove_one, done="removed", kind="source", as_json=as_json)


@app.command(epilog="Example: feedmill feeds why lwn")
def why(source: Source, as_json: AsJson = False) -> None:
    """Tell when a feed is fetched next and why, and what came of the last time."""
    with service_client() as client:
        feed = client.get(f"/feeds/{quote_id(source)}")
        last = _get_import(client, feed["last_import"])
        newest = client.get("/imports", source=source, limit=1)["items"]
    running = next((each for each in newest if each["state"] in RUNNING_STATES), None)
    if as_json:
        say_json(Console(), {"feed": feed, "last_import": last, "running_import": running})
        return
    for line in explain_feed(feed, last, running, SystemClock().now()):
        say(Console(), line)


@app.command(epilog="Example: feedmill feeds hosts --lift news.example")
def hosts(
    lift: Annotated[
        str | None, typer.Option(metavar="HOST", help="ask this host again, from now on")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the hosts that asked to be left alone (Retry-After), until when, and their feeds."""
    with service_client() as client:
        if lift is not None:
            client.delete(f"/hosts/{quote_id(lift)}")
        held = client.get_all("/hosts")
    if as_json:
        say_json(Console(), held)
        return
    if lift is not None:
        say(messages(), f"{lift}: may be asked again; its feeds that waited are due now")
    if held:
        print_hosts(held, Console(), SystemClock().now())
    elif lift is None:
        say(messages(), "no host asks to be left alone")


@app.command("import-opml", epilog="Example: feedmill feeds import-opml subscriptions.opml")
def import_opml(
    file: Annotated[str, typer.Argument(help="OPML file, or - for standard input")],
    as_json: AsJson = False,
) -> None:
    """Add the feeds of an OPML file; those known already are skipped. Exit 1: some are invalid."""
    document = _read_file(file)
    with service_client() as client:
        report = client.post_text("/feeds/opml", document, OPML_TYPE, timeout_s=OPML_TIMEOUT_S)
    if as_json:
        say_json(Console(), report)
    else:
        added, skipped, invalid = report["added"], report["skipped"], report["invalid"]
        counts = f"{added} added, {skipped} skipped as known already, {len(invalid)} invalid"
        say(Console(), counts)
        for each in invalid:
            place = f" (line {each['line']})" if each.get("line") else ""
            say(Console(), f"{each['url'] or 'without URL'}{place}: {each['error']}")
    if report["invalid"]:
        sys.exit(FAILED)


@app.command("export-opml", epilog="Example: feedmill feeds export-opml subscriptions.opml")
def export_opml(
    file: Annotated[str, typer.Argument(help="file to write")] = STANDARD_STREAM,
    as_json: AsJson = False,
) -> None:
    """Write all feeds that have a URL as OPML, to a file or to standard output."""
    with service_client() as client:
        document = client.get_text("/feeds.opml")
    if file != STANDARD_STREAM:
        _write_file(file, document)
        say_json(Console(), {"file": file}) if as_json else say(Console(), f"written to {file}")
    elif as_json:
        say_json(Console(), {"opml": document})
    else:
        typer.echo(document)
    if "***" in document:
        say(messages(), "secrets in URLs are written as ***: put them in before an import")


def _find_one(client: ApiClient, urls: list[str], *, as_json: bool) -> str:
    """Return the one feed that an address leads to; lists several and ends with wrong usage."""
    if len(urls) != 1:
        raise InvalidRequestError("--discover needs exactly one URL")
    found = discover(client, urls[0])
    if len(found) > 1:
        say_json(Console(), found) if as_json else print_named_feeds(found, Console())
        raise InvalidRequestError(f"the page names {len(found)} feeds: add one of them by its URL")
    return str(found[0]["url"])


def _import_now(client: ApiClient, added: dict[str, Any]) -> ImportRun:
    with choose_progress(messages()) as progress:
        return import_added(client, added, progress)


def _show_added(added: dict[str, Any], run: ImportRun | None, *, as_json: bool) -> None:
    if as_json:
        say_json(Console(), added if run is None else {"feed": added, **show_run(run)})
        return
    say(Console(), f"{added['source']}: added: {' '.join(urls_of(added))}")
    if run is not None:
        print_summary(run, Console())


def _get_import(client: ApiClient, import_id: str | None) -> Any:
    """Return an import; None when there is none, or when it is not kept any more."""
    if import_id is None:
        return None
    try:
        return client.get(f"/imports/{quote_id(import_id)}")
    except ServiceError as exc:
        if exc.http_status != 404:
            raise
        return None


def _read_file(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STANDARD_STREAM else Path(file).read_bytes()
    except OSError as exc:
        raise InvalidRequestError(f"{file} cannot be read: {exc.strerror}") from exc


def _write_file(file: str, document: str) -> None:
    try:
        Path(file).write_text(document, encoding="utf-8")
    except OSError as exc:
        raise InvalidRequestError(f"{file} cannot be written: {exc.strerror}") from exc
