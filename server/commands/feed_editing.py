"""``feedmill feeds add``, ``edit``, ``enable`` and ``disable``: what can be set of a feed."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from server.commands.api_client import ApiClient, quote_id, service_client
from server.commands.feed_report import explain_schedule, print_named_feeds, urls_of
from server.commands.import_report import choose_progress, print_summary, show_run
from server.commands.import_run import FeedToImport, ImportRun, follow_imports, run_imports
from server.commands.options import AsJson, Source, Sources
from server.commands.output import FAILED, act_on_each, messages, print_json, print_text
from server.commands.windows import NewWindow, NoWindow, Window, read_window
from shared.clock import SystemClock
from shared.errors import InvalidRequestError, NotFoundError
from shared.urls import mask_secrets

# The service may take FETCH_TIMEOUT_S (280 at most) to fetch, and a minute to parse.
DISCOVERY_TIMEOUT_S = 360.0
_LATEST = 10


class Weight(StrEnum):
    """Which item queue a feed's imports use."""

    LIGHT = "light"
    HEAVY = "heavy"


Urls = Annotated[
    list[str], typer.Argument(metavar="URL...", help="several URLs that list the same items")
]
NewUrls = Annotated[list[str] | None, typer.Option("--url", help="its new URL; repeat for several")]
NewSource = Annotated[
    str | None,
    typer.Option("--source", help="its key: 1 to 64 of a-z 0-9 - _ .; default: made from the URL"),
]
Interval = Annotated[
    int | None, typer.Option("--interval-s", min=1, help="seconds between fetches")
]
Cron = Annotated[str | None, typer.Option(help="crontab line in UTC: '0 6 * * 1-5'")]
NoSchedule = Annotated[bool, typer.Option("--no-schedule", help="manual only: no schedule")]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", help="'Name: value', sent with each fetch; repeatable"),
]
NewHeaders = Annotated[
    list[str] | None,
    typer.Option("--header", help="'Name: value'; replaces all headers it has"),
]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="remove its headers")]
WithWeight = Annotated[Weight | None, typer.Option(help="item queue of its imports")]
WithTags = Annotated[list[str] | None, typer.Option("--tag", help="a lower-case word; repeatable")]
NewTags = Annotated[
    list[str] | None, typer.Option("--tag", help="replaces all tags it has; repeatable")
]
NoTags = Annotated[bool, typer.Option("--no-tags", help="remove its tags")]
Title = Annotated[
    str | None, typer.Option(help="shown instead of its document's; '' gives that back")
]
IsPage = Annotated[bool, typer.Option("--discover", help="find the feed of a web page")]
ImportNow = Annotated[bool, typer.Option("--import", help="import it now and wait until it ends")]


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """A feed's options as they were typed; what was not chosen is left to the service."""

    source: str | None
    interval_s: int | None
    cron: str | None
    no_schedule: bool
    headers: Sequence[str]
    weight: Weight | None
    window: str | None
    tags: Sequence[str]
    title: str | None

    def body(self, urls: Sequence[str]) -> dict[str, Any]:
        """Return the body of ``POST /feeds``; without URLs that of ``PATCH``: the changes alone.

        Raises:
            InvalidRequestError: options that exclude one another, a header without a colon, or a
                window that cannot be read.
        """
        if sum((self.interval_s is not None, self.cron is not None, self.no_schedule)) > 1:
            raise InvalidRequestError("choose one of --interval-s, --cron and --no-schedule")
        given: dict[str, Any] = {"url": urls[0]} if len(urls) == 1 else {"urls": list(urls)}
        chosen = {
            "source": self.source,
            "interval_s": self.interval_s,
            "cron": self.cron,
            "headers": _read_headers(self.headers) or None,
            "weight": self.weight,
            "window": read_window(self.window) if self.window is not None else None,
            "tags": list(self.tags) or None,
            "title": self.title,
        }
        body = given if urls else {}
        body |= {name: value for name, value in chosen.items() if value is not None}
        if self.title is not None and not self.title.strip():
            body["title"] = None
        return {**body, "interval_s": None, "cron": None} if self.no_schedule else body


def add(
    urls: Urls,
    source: NewSource = None,
    interval_s: Interval = None,
    cron: Cron = None,
    no_schedule: NoSchedule = False,
    header: Headers = None,
    weight: WithWeight = None,
    window: Window = None,
    tag: WithTags = None,
    title: Title = None,
    is_page: IsPage = False,
    import_now: ImportNow = False,
    as_json: AsJson = False,
) -> None:
    """Add a feed. Without a schedule it is fetched every FETCH_INTERVAL_S seconds.

    Exit 2 with --discover: the page links to several feeds; they are listed.
    """
    options = FeedOptions(
        source, interval_s, cron, no_schedule, header or [], weight, window, tag or [], title
    )
    body = options.body(urls)
    with service_client() as client:
        if is_page:
            body["url"] = _find_one(client, urls, as_json=as_json)
        added = client.post("/feeds", body)
        run = _import_added(client, added) if import_now else None
    _show_added(added, run, as_json=as_json)
    if run is not None and not run.is_clean:
        sys.exit(FAILED)


def edit(
    source: Source,
    url: NewUrls = None,
    interval_s: Interval = None,
    cron: Cron = None,
    no_schedule: NoSchedule = False,
    header: NewHeaders = None,
    no_headers: NoHeaders = False,
    weight: WithWeight = None,
    window: NewWindow = None,
    no_window: NoWindow = False,
    tag: NewTags = None,
    no_tags: NoTags = False,
    title: Title = None,
    as_json: AsJson = False,
) -> None:
    """Change a feed. Other values stay; a new schedule or URL makes it due at once."""
    _refuse_both({"--header": bool(header), "--no-headers": no_headers})
    _refuse_both({"--window": window is not None, "--no-window": no_window})
    _refuse_both({"--tag": bool(tag), "--no-tags": no_tags})
    options = FeedOptions(
        None, interval_s, cron, no_schedule, header or [], weight, window, tag or [], title
    )
    changes = options.body(url or [])
    changes |= ({"headers": {}} if no_headers else {}) | ({"window": None} if no_window else {})
    changes |= {"tags": []} if no_tags else {}
    if not changes:
        raise InvalidRequestError("nothing to change: give an option, see --help")
    with service_client() as client:
        feed = _change(client, f"/feeds/{quote_id(source)}", changes)
    if as_json:
        print_json(Console(), feed)
        return
    for line in explain_schedule(feed, SystemClock().now()):
        print_text(Console(), line)


def _refuse_both(options: Mapping[str, bool]) -> None:
    """Refuse two options that exclude one another.

    Raises:
        InvalidRequestError: both are given.
    """
    if all(options.values()):
        raise InvalidRequestError(f"choose one of {' and '.join(options)}")


def _change(client: ApiClient, path: str, changes: dict[str, Any]) -> Any:
    """Change a feed; what was not named of its window stays as it is."""
    if changes.get("window"):
        changes["window"] = (client.get(path).get("window") or {}) | changes["window"]
    return client.patch(path, changes)


def enable(sources: Sources, as_json: AsJson = False) -> None:
    """Fetch disabled feeds again. A scheduled one is due at once."""
    _set_enabled(sources, is_enabled=True, as_json=as_json)


def disable(sources: Sources, as_json: AsJson = False) -> None:
    """Stop fetching feeds until they are enabled. Their items stay."""
    _set_enabled(sources, is_enabled=False, as_json=as_json)


def _set_enabled(sources: list[str], *, is_enabled: bool, as_json: bool) -> None:
    done = "enabled" if is_enabled else "disabled"
    with service_client() as client:

        def switch(source: str) -> None:
            client.patch(f"/feeds/{quote_id(source)}", {"enabled": is_enabled})

        act_on_each(sources, switch, done=done, kind="source", as_json=as_json)


def _find_one(client: ApiClient, urls: list[str], *, as_json: bool) -> str:
    """Return the one feed that a URL leads to; lists several and raises wrong usage."""
    if len(urls) != 1:
        raise InvalidRequestError("--discover needs exactly one URL")
    found = _discover(client, urls[0])
    if len(found) > 1:
        print_json(Console(), found) if as_json else print_named_feeds(found, Console())
        raise InvalidRequestError(
            f"the page links to {len(found)} feeds: add one of them by its URL"
        )
    return str(found[0]["url"])


def _discover(client: ApiClient, url: str) -> list[dict[str, Any]]:
    """Return the feeds that a URL leads to: itself as it was written, if it is a feed.

    Raises:
        NotFoundError: a page that names none.
        ServiceError: it could not be fetched.
    """
    answer = client.post("/feeds/discover", {"url": url}, timeout_s=DISCOVERY_TIMEOUT_S)
    found: list[dict[str, Any]] = answer["feeds"]
    if not found:
        raise NotFoundError(f"{mask_secrets(url)} is a web page without a link to a feed")
    if answer["is_feed"]:
        # The service masks credentials, and they are needed.
        return [{**found[0], "url": url}]
    return found


def _import_added(client: ApiClient, added: dict[str, Any]) -> ImportRun:
    """Import a feed that was just added and wait for the end.

    Its schedule may have been faster; then that import is the one: the publisher is not asked
    twice.
    """
    source, added_at = added["source"], added["next_fetch_at"]
    recent: list[Any] = []
    if added_at is not None:
        latest = client.get("/imports", source=source, limit=_LATEST)["items"]
        recent = [each for each in reversed(latest) if each["requested_at"] >= added_at]
    with choose_progress(messages()) as progress:
        if recent:
            return ImportRun(follow_imports(client, recent, progress=progress))
        known = FeedToImport(source, source=source)
        return run_imports(client, [known], force=False, progress=progress)


def _show_added(added: dict[str, Any], run: ImportRun | None, *, as_json: bool) -> None:
    if as_json:
        print_json(Console(), added if run is None else {"feed": added, **show_run(run)})
        return
    print_text(Console(), f"{added['source']}: added: {' '.join(urls_of(added))}")
    if run is not None:
        print_summary(run, Console())


def _read_headers(texts: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            # What was written may be a secret: it is not repeated.
            raise InvalidRequestError("--header must be 'Name: value': it has no colon or no name")
        if name.strip().lower() in {given.lower() for given in headers}:
            raise InvalidRequestError(f"--header {name.strip()!r} is given twice")
        headers[name.strip()] = value.strip()
    return headers
