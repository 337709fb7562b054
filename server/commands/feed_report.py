"""Feeds for people: the list of all, and why one is fetched when it is."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console

from server.commands.import_report import describe_outcome, describe_state
from server.commands.output import (
    NOTHING,
    Column,
    describe_distance,
    describe_interval,
    describe_time,
    print_fitting_table,
    print_table,
    show_position,
)
from shared.models import parse_time

Feed = dict[str, Any]
Import = dict[str, Any]

# Whole URLs are too long for terminals.
_FILES_ONLY = 1_000_000
_COLUMNS = (
    Column("source", is_whole=True),
    Column("title", from_width=75),
    Column("tags", from_width=100),
    Column("URL", from_width=_FILES_ONLY),
    Column("schedule", from_width=75, is_whole=True),
    Column("next fetch", is_whole=True),
    Column("at", from_width=130, is_whole=True),
    Column("state"),
    Column("failures", from_width=100, is_whole=True),
)


def print_feeds(feeds: Sequence[Feed], console: Console, now: datetime) -> None:
    """Print one row a feed, as many columns as there is room for."""
    print_fitting_table(console, _COLUMNS, [_row(feed, now) for feed in feeds])


def print_hosts(hosts: Sequence[dict[str, Any]], console: Console, now: datetime) -> None:
    """Print the hosts that limit the rate."""
    rows = [
        (each["host"], describe_time(each["retry_after_until"], now), str(each["feeds"]))
        for each in hosts
    ]
    print_table(console, ("host", "rate-limited until", "feeds"), rows)


def print_named_feeds(feeds: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the feeds that a page names."""
    rows = [(each["url"], each["title"] or NOTHING, each["type"] or NOTHING) for each in feeds]
    print_table(console, ("URL", "title", "type"), rows)


def explain_feed(
    feed: Feed, last: Import | None, running: Import | None, now: datetime
) -> Iterator[str]:
    """Yield sentences: when it is fetched next and why, and what came of the last time.

    ``last`` is its last import, ``running`` the one that is queued or fetching, if there is any.
    """
    yield from explain_schedule(feed, now)
    if feed.get("window"):
        yield f"Window: {_describe_window(feed['window'])}"
    if feed.get("position"):
        yield f"Read up to: {_describe_position(feed['position'], now)}"
    if running is not None:
        requested = describe_time(running["requested_at"], now)
        yield f"Import {running['id']} is {running['state']}, requested {requested}"
    yield f"Last import: {_describe_last(feed, last, now)}"
    yield f"Failures in a row: {feed['consecutive_failures']}"
    if feed["error"]:
        yield f"Error: {feed['error']}"
    for url, target in (feed.get("moved_to") or {}).items():
        yield f"Moved permanently: {url} is now {target}; change the feed's URL"
    for url in feed.get("disbelieved") or []:
        yield f"Fetched in full each time: {url} answered 304 (not modified) though it had changed"


def explain_schedule(feed: Feed, now: datetime) -> Iterator[str]:
    """Yield a feed's schedule and its next fetch."""
    title = f" ({feed['title']})" if feed.get("title") else ""
    state = "" if feed["enabled"] else ", disabled"
    yield f"{feed['source']}{title}: {describe_schedule(feed)}{state}"
    if feed.get("tags"):
        yield f"Tags: {', '.join(feed['tags'])}"
    name = "Next interval" if feed.get("window") else "Next fetch"
    yield f"{name}: {_describe_next(feed, now)}"


def urls_of(feed: Feed) -> list[str]:
    """Return a feed's URLs, none for one that documents are handed in for."""
    if feed.get("urls"):
        return list(feed["urls"])
    return [feed["url"]] if feed.get("url") else []


def describe_schedule(feed: Feed) -> str:
    """Return a feed's schedule in words; one with a window is read as its intervals come."""
    if feed.get("window"):
        return "by its window"
    if feed["cron"]:
        return f"cron {feed['cron']} (UTC)"
    if feed["interval_s"]:
        return f"every {describe_interval(feed['interval_s'])}"
    return "manual only"


def _row(feed: Feed, now: datetime) -> tuple[str, ...]:
    next_fetch_at = feed["next_fetch_at"]
    return (
        feed["source"],
        feed.get("title") or NOTHING,
        " ".join(feed.get("tags") or ()) or NOTHING,
        " ".join(urls_of(feed)) or NOTHING,
        describe_schedule(feed),
        describe_distance(parse_time(next_fetch_at), now) if next_fetch_at else _unscheduled(feed),
        describe_time(next_fetch_at, now).partition(" (")[0] if next_fetch_at else NOTHING,
        _describe_state(feed),
        str(feed["consecutive_failures"]),
    )


def _unscheduled(feed: Feed) -> str:
    """Return what stands where the next fetch would."""
    has_schedule = feed["cron"] or feed["interval_s"] or feed.get("window")
    return describe_schedule(feed) if feed.get("window") or not has_schedule else NOTHING


def _describe_state(feed: Feed) -> str:
    words = [] if feed["enabled"] else ["disabled"]
    if feed["error"]:
        words.append(feed["error"])
    elif not words:
        words.append("ok" if feed["last_import"] else "new")
    return "; ".join(words)


def _describe_window(window: dict[str, Any]) -> str:
    """Return a window as it can be typed: ``from=…, step_s=3600``."""
    return ", ".join(f"{name}={value}" for name, value in window.items())


def _describe_position(position: dict[str, Any], now: datetime) -> str:
    reached = show_position(position["cursor"], now)
    return f"{reached}, epoch {position['epoch']}, in flight: {position['in_flight']}"


def _describe_next(feed: Feed, now: datetime) -> str:
    if feed.get("window"):
        return str(feed["next_fetch_reason"])
    if feed["next_fetch_at"] is None:
        return f"none: {feed['next_fetch_reason']}"
    return f"{describe_time(feed['next_fetch_at'], now)}: {feed['next_fetch_reason']}"


def _describe_last(feed: Feed, last: Import | None, now: datetime) -> str:
    if feed["last_import"] is None:
        return "none yet"
    if last is None:
        return f"{feed['last_import']}, which is no longer kept"
    when = describe_time(last["finished_at"] or last["requested_at"], now)
    return f"{last['id']} {describe_state(last)} {when}: {describe_outcome(last)}"
