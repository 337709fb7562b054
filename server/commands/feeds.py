"""``feedmill feeds``: the feeds of the running service, from a terminal."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import ApiClient, quote_id, service_client
from server.commands.backfills import backfill
from server.commands.feed_editing import add, disable, edit, enable
from server.commands.feed_report import explain_feed, print_feeds, print_hosts
from server.commands.options import AsJson, Source, Sources, Yes
from server.commands.output import (
    FAILED,
    act_on_each,
    confirm,
    messages,
    print_json,
    print_text,
)
from server.commands.windows import rollback
from shared.clock import SystemClock
from shared.errors import InvalidRequestError, ServiceError
from shared.states import FeedOrder

OPML_TYPE = "text/x-opml"
# Tens of thousands of feeds are added one by one.
OPML_TIMEOUT_S = 600.0
STANDARD_STREAM = "-"
# An import is the feed's last one from its commit on.
RUNNING_STATES = ("queued", "fetching")
_NEEDS_YES = "refused: add --yes to remove without asking"

AnyText = Annotated[str | None, typer.Argument(metavar="TEXT", help="in title, source, URL or tag")]
OfTag = Annotated[str | None, typer.Option("--tag", help="those with this tag")]
IsFailing = Annotated[bool, typer.Option("--failing", help="those that failed last")]
IsDisabled = Annotated[bool, typer.Option("--disabled", help="those that are disabled")]
IsManual = Annotated[bool, typer.Option("--manual", help="those without a schedule")]
Sort = Annotated[FeedOrder, typer.Option(help="by when they were added, or by this")]
AnyLimit = Annotated[
    int | None, typer.Option("--limit", min=1, help="show so many at most, not all")
]

app = typer.Typer(
    name="feeds",
    add_completion=False,
    help="Feeds: list, add, edit, remove, explain, OPML.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", epilog="Example: feedmill feeds list --failing --tag news")
def list_feeds(
    text: AnyText = None,
    tag: OfTag = None,
    failing: IsFailing = False,
    disabled: IsDisabled = False,
    manual: IsManual = False,
    sort: Sort = FeedOrder.ADDED,
    limit: AnyLimit = None,
    as_json: AsJson = False,
) -> None:
    """List feeds, latest added first. Times are local. TEXT is looked for in titles and URLs."""
    chosen = {"failing": failing, "disabled": disabled, "manual": manual}
    states = [state for state, is_chosen in chosen.items() if is_chosen]
    if len(states) > 1:
        raise InvalidRequestError("choose one of --failing, --disabled and --manual")
    filters = {"q": text, "tag": tag, "state": states[0] if states else None}
    order = sort.value if sort is not FeedOrder.ADDED else None
    # One more than is shown, to know whether there are more.
    most = limit + 1 if limit is not None else None
    with service_client() as client:
        feeds = client.get_all("/feeds", max_items=most, **filters, sort=order)
    shown = feeds[:limit]
    if as_json:
        print_json(Console(), shown)
    elif shown:
        print_feeds(shown, Console(), SystemClock().now())
    elif any(filters.values()):
        print_text(messages(), "no feed matches")
    else:
        print_text(messages(), "no feeds yet: add one with 'feedmill feeds add URL'")
    if len(feeds) > len(shown):
        print_text(messages(), f"there are more: these are the first {limit}; raise --limit")


app.command(epilog="Example: feedmill feeds add https://lwn.net --discover --import")(add)
app.command(epilog="Example: feedmill feeds edit lwn --interval-s 900")(edit)
app.command(epilog="Example: feedmill feeds enable lwn")(enable)
app.command(epilog="Example: feedmill feeds disable lwn slashdot")(disable)
app.command(epilog="Example: feedmill feeds backfill board --from 2024-11-01")(backfill)
app.command(epilog="Example: feedmill feeds rollback board --to 2026-11-01T12:00:00Z")(rollback)


@app.command(epilog="Example: feedmill feeds remove lwn --yes")
def remove(sources: Sources, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove feeds. Their items stay; an import that is queued or fetching fails.

    Asks first; without a terminal it needs --yes.
    """
    names = ", ".join(dict.fromkeys(sources))
    confirm(f"Remove {names}? The items stay.", is_sure=yes, refusal=_NEEDS_YES)
    with service_client() as client:

        def remove_one(source: str) -> None:
            client.delete(f"/feeds/{quote_id(source)}")

        act_on_each(sources, remove_one, done="removed", kind="source", as_json=as_json)


@app.command(epilog="Example: feedmill feeds why lwn")
def why(source: Source, as_json: AsJson = False) -> None:
    """Show when a feed is fetched next, and why. Also how its last import ended."""
    with service_client() as client:
        feed = client.get(f"/feeds/{quote_id(source)}")
        last = _get_import(client, feed["last_import"])
        newest = client.get("/imports", source=source, limit=1)["items"]
    running = next((each for each in newest if each["state"] in RUNNING_STATES), None)
    if as_json:
        print_json(Console(), {"feed": feed, "last_import": last, "running_import": running})
        return
    for line in explain_feed(feed, last, running, SystemClock().now()):
        print_text(Console(), line)


@app.command(epilog="Example: feedmill feeds hosts --lift news.example")
def hosts(
    lift: Annotated[
        str | None, typer.Option(metavar="HOST", help="ask this host again now")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List hosts that limit the rate (Retry-After), and until when."""
    with service_client() as client:
        if lift is not None:
            client.delete(f"/hosts/{quote_id(lift)}")
        held = client.get_all("/hosts")
    if as_json:
        print_json(Console(), held)
        return
    if lift is not None:
        print_text(messages(), f"{lift}: is asked again; its feeds that waited are due now")
    if held:
        print_hosts(held, Console(), SystemClock().now())
    elif lift is None:
        print_text(messages(), "no host limits the rate")


@app.command("import-opml", epilog="Example: feedmill feeds import-opml subscriptions.opml")
def import_opml(
    file: Annotated[str, typer.Argument(help="OPML file, or - for standard input")],
    as_json: AsJson = False,
) -> None:
    """Add the feeds of an OPML file. Known ones are skipped. Exit 1: some are invalid."""
    document = _read_file(file)
    with service_client() as client:
        report = client.post_text("/feeds/opml", document, OPML_TYPE, timeout_s=OPML_TIMEOUT_S)
    if as_json:
        print_json(Console(), report)
    else:
        added, skipped, invalid = report["added"], report["skipped"], report["invalid"]
        counts = f"{added} added, {skipped} skipped (known), {len(invalid)} invalid"
        print_text(Console(), counts)
        for each in invalid:
            place = f" (line {each['line']})" if each.get("line") else ""
            print_text(Console(), f"{each['url'] or 'without URL'}{place}: {each['error']}")
    if report["invalid"]:
        sys.exit(FAILED)


@app.command("export-opml", epilog="Example: feedmill feeds export-opml subscriptions.opml")
def export_opml(
    file: Annotated[str, typer.Argument(help="file to write")] = STANDARD_STREAM,
    as_json: AsJson = False,
) -> None:
    """Write the feeds as OPML, to a file or standard output. Feeds without a URL are left out."""
    with service_client() as client:
        document = client.get_text("/feeds.opml")
    if file != STANDARD_STREAM:
        _write_file(file, document)
        print_json(Console(), {"file": file}) if as_json else print_text(
            Console(), f"written to {file}"
        )
    elif as_json:
        print_json(Console(), {"opml": document})
    else:
        typer.echo(document)
    if "***" in document:
        print_text(
            messages(),
            "secrets in URLs are written as ***: fill them in before you import the file",
        )


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
