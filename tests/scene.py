"""A service that has been in use for a while: 40 feeds, 100,000 items, imports, dead letters.

Written into the stores in bulk, so it is there in seconds; nothing of it is due or open.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import cycle, islice
from operator import itemgetter
from typing import Any

import orjson
from pymongo.database import Database

from shared.store import DeadLetter, Stores
from shared.store.feed_documents import Feed
from tests.factories import make_data, make_letter_of

FEEDS = 40
ITEMS = 100_000
IMPORTS = 400
PLACES = ("Lisbon", "Porto", "Oslo", "Bergen", "Gdansk", "Turin", "Ghent", "Cork")
KINDS = ("Daily", "Jobs", "Weather Warnings", "City Council Notices", "Podcast")
TAGS = ("news", "jobs", "weather", "local", "audio")
BUSY_HOST = "busy.example.net"
LONG_TITLE = "The Quarterly Review of Harbours, Bridges and Other Things That Are Built Slowly"
TOPICS = (
    "New tram line opens a month early",
    "Council publishes the budget for next year",
    "Engineer (m/f/d) for control systems, permanent, full time",
    "Storm warning until Thursday evening",
    "Library extends its opening hours",
    "Why the old bridge is closed again, and what comes next: a long talk with those who build it",
)
ARTICLE = (
    """
<p>The <b>first trains</b> ran on Monday morning, a month before the date that the council had
promised. <a href="https://example.org/tram">The line</a> connects the harbour with the university
and takes <em>eleven minutes</em>.</p>
<h2>What it cost</h2>
<p>The figures are those of the final report:</p>
<table><tr><th>Part</th><th>Planned</th><th>Spent</th></tr>
<tr><td>Track</td><td>41 million</td><td>39 million</td></tr>
<tr><td>Stations</td><td>12 million</td><td>15 million</td></tr></table>
<blockquote><p>We had a dry autumn, and nobody dug where we did not expect it.</p></blockquote>
<h3>How often it runs</h3>
<ul><li>every six minutes on working days</li><li>every ten minutes otherwise</li></ul>
<p>The timetable as data:</p>
<pre><code>curl https://example.org/tram/timetable.json | jq '.stops[].name'</code></pre>
<p>Trains stop for the night at one.</p>
"""
    * 2
)
FAILURES = (
    ("http_status", "http_status: the server answered 404 Not Found"),
    ("dns", "dns: the name feeds.example.org was not found"),
    ("timeout", "timeout: no answer within 30 s"),
    ("not_a_feed", "not_a_feed: the document is neither RSS, Atom nor JSON Feed"),
)
DEATHS = (
    ("too_large", "the item has {n}000000 bytes, JOB_MAX_BYTES allows 1048576", 5),
    ("unreadable", "the entry has no title, link, guid or text (line {n})", 21),
    (
        "rejected_by_store",
        "MongoDB refused the document (code 121): Document failed validation",
        34,
    ),
    ("stalled", "job stalled more than {n} times", 2),
    ("invalid", "author is int, not str", 8),
    ("undecodable", "the job's data is not JSON: unexpected character: line 1 column {n}", 1),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What was written, to be opened: ids of one of each kind."""

    feeds: list[Feed]
    completed_import: str
    failed_import: str
    item: str
    dead_letter: str
    too_large_letter: str
    cause: str


def make_scene(stores: Stores, mongo: Database[dict[str, Any]], now: datetime) -> Scene:
    """Fill empty stores; the newest of everything is of ``now``."""
    feeds = [_make_feed(number, now) for number in range(FEEDS)]
    for feed in feeds:
        stores.feeds.insert(feed)
    stores.hosts.block(BUSY_HOST, now + timedelta(hours=3))
    imports = list(_make_imports(feeds, now))
    mongo["imports"].insert_many(imports)
    items = _make_items(feeds, now)
    while some := list(islice(items, 5000)):
        mongo["items"].insert_many(some, ordered=False)
    letters = list(_make_letters(feeds, now))
    stores.dead_letters.record_many(letters)
    return Scene(
        feeds=feeds,
        completed_import=_first(imports, "completed"),
        failed_import=_first(imports, "failed"),
        item=f"{feeds[0].source}#0",
        dead_letter=letters[-1].item_id,
        too_large_letter=letters[0].item_id,
        cause=max(Counter(letter.cause for letter in letters).items(), key=itemgetter(1))[0],
    )


def _first(imports: list[dict[str, Any]], state: str) -> str:
    return next(str(each["_id"]) for each in imports if each["state"] == state)


def _make_feed(number: int, now: datetime) -> Feed:
    place, kind = PLACES[number % len(PLACES)], number // len(PLACES)
    title = LONG_TITLE if number == 9 else f"{place} {KINDS[kind]}"
    source = f"{place} {KINDS[kind]}".lower().replace(" ", "-")
    host = BUSY_HOST if number in (6, 7) else f"{place.lower()}.example.org"
    feed = Feed(
        source=source,
        urls=[f"https://{host}/feeds/{source}.xml"],
        created_at=now - timedelta(days=90),
        interval_s=3600,
        next_fetch_at=now + timedelta(minutes=20 + 7 * number),
        next_fetch_reason="interval",
        last_import=_import_id(number),
        document_title=title,
        tags=[TAGS[kind], "north"] if number % 3 == 0 else [TAGS[kind]],
    )
    return _change(feed, number)


def _change(feed: Feed, number: int) -> Feed:
    """Let some feeds fail, be off, or be fetched by hand alone."""
    if number % 10 == 3:
        error = FAILURES[number // 10][1]
        return replace(feed, error=error, consecutive_failures=1 + number // 10 * 4)
    if number % 10 == 8:
        return replace(feed, enabled=False, next_fetch_at=None, next_fetch_reason="disabled")
    if number % 10 == 5:
        reason = "manual only: it has no schedule"
        return replace(feed, interval_s=None, next_fetch_at=None, next_fetch_reason=reason)
    return feed


def _import_id(number: int) -> str:
    return f"20261101T000000-{number:06d}"


def _make_imports(feeds: list[Feed], now: datetime) -> Iterator[dict[str, Any]]:
    """Yield closed imports, newest first; the first of each feed is its last."""
    for number, feed in enumerate(islice(cycle(feeds), IMPORTS)):
        requested_at = now - timedelta(minutes=3 + 4 * number)
        yield {
            "_id": _import_id(number),
            "open": False,
            "source": feed.source,
            "urls": feed.urls,
            "trigger": ("schedule", "api", "cli", "schedule")[number % 4],
            "requested_at": requested_at,
            "started_at": requested_at + timedelta(seconds=1),
            "finished_at": requested_at + timedelta(seconds=2 + number % 90),
            "force": False,
            "has_document": False,
            "is_heavy_feed": False,
            "revision": IMPORTS - number,
            **_make_outcome(feed, number),
        }


def _make_outcome(feed: Feed, number: int) -> dict[str, Any]:
    fetch = {"url": feed.urls[0], "http_status": 200, "not_modified": False, "error": None}
    if feed.error:
        kind = feed.error.partition(":")[0]
        failed = {**fetch, "http_status": None, "error": feed.error}
        return {
            "state": "failed", "error": feed.error, "error_kind": kind, "fetches": [failed],
            "counts": _count(),
        }  # fmt: skip
    if number % 3 == 1:
        same = {**fetch, "http_status": 304, "not_modified": True}
        return {"state": "completed", "fetches": [same], "counts": _count()}
    counts = _count(new=number % 17, updated=number % 5, unchanged=100, dead=number % 7 == 2)
    warnings = ["3 dates left out: unreadable"] if number % 11 == 0 else []
    return {"state": "completed", "fetches": [fetch], "counts": counts, "warnings": warnings}


def _count(**named: int) -> dict[str, int]:
    names = ("new", "updated", "unchanged", "duplicate", "superseded", "dead", "removed", "pending")
    counts = {name: int(named.get(name, 0)) for name in names}
    return {"fetched": sum(counts.values()), **counts}


def _make_items(feeds: list[Feed], now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ITEMS):
        feed = feeds[number % FEEDS]
        topic = TOPICS[number % len(TOPICS)]
        stored_at = now - timedelta(minutes=3) - timedelta(seconds=number * 30)
        yield {
            "_id": f"{feed.source}#{number}",
            "source": feed.source,
            "guid": str(number),
            "link": f"https://{feed.host}/{number}",
            "title": f"{topic} ({number})",
            "summary": f"<p>{topic}. A short text about it.</p>",
            **({"content": ARTICLE, "author": "Ana Silva"} if number < FEEDS else {}),
            "categories": ["Transport", "City"],
            "enclosures": [],
            "extra": [{"name": "dc:rights", "value": "CC BY 4.0"}],
            "published_at": stored_at - timedelta(hours=2),
            "content_hash": f"2:{number:064x}",
            "revision": 1,
            "created_at": stored_at,
            "created_by": _import_id(number % IMPORTS),
            "modified_at": stored_at,
            "modified_by": _import_id(number % IMPORTS),
        }


def _make_letters(feeds: list[Feed], now: datetime) -> Iterator[DeadLetter]:
    for place, (error_type, reason, count) in enumerate(DEATHS):
        for number in range(count):
            source = feeds[(number * 7 + place) % (3 + place * 2)].source
            guid = f"https://{source}.example.org/{error_type}/{number}"
            data = make_data(guid, source=source, title=f"{TOPICS[number % 6]} ({number})")
            if error_type == "too_large":
                data["content"] = "x" * 1_100_000
            yield make_letter_of(
                guid,
                item_id=f"{source}#{guid}",
                source=source,
                queue="job_import_queue",
                import_id=_import_id(number),
                reason=reason.format(n=number + 2),
                error_type=error_type,
                failed_at=now - timedelta(minutes=7 * number + place),
                data="{broken" if error_type == "undecodable" else orjson.dumps(data).decode(),
                attempts=1 if place < 2 else 3,
            )
