"""The documents that become of a feed's items, without a store between."""

from datetime import UTC, datetime
from typing import Any, cast

from server.importing.identity import identify
from server.parsing import parse_feed
from shared.models import job_data
from shared.queue import JobQueue
from tests.factories import make_decoded

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def documents_of(
    body: bytes, *, url: str = "https://feeds.example/sub/feed"
) -> list[dict[str, Any]]:
    """Return what a worker would store of each item, without revision, times and authorship."""
    feed = parse_feed(body, content_type=None, url=url, now=NOW)
    items = identify([feed.entries], colliding=()).items
    # Which queue an item came through makes no difference to its document.
    queue = cast(JobQueue, None)
    return [dict(make_decoded(queue, job_data("feed", item)).content) for item in items]


def rss_document(inner: str, *, namespaces: str = "", channel: str = "") -> dict[str, Any]:
    """Return the document of an RSS item that holds ``inner``."""
    text = (
        f'<rss version="2.0" {namespaces}><channel>{channel}'
        f"<item><guid>1</guid>{inner}</item></channel></rss>"
    )
    [document] = documents_of(text.encode())
    return document


def atom_document(inner: str, *, namespaces: str = "", feed: str = "") -> dict[str, Any]:
    """Return the document of an Atom entry that holds ``inner``."""
    text = (
        f'<feed xmlns="http://www.w3.org/2005/Atom" {namespaces}>{feed}'
        f"<entry><id>1</id>{inner}</entry></feed>"
    )
    [document] = documents_of(text.encode())
    return document
