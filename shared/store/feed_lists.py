"""Lists of feeds for people: filtered, in the order asked for, page by page."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from shared.errors import InvalidRequestError
from shared.models import format_time
from shared.states import FeedOrder
from shared.store.database import Database, Document, find_by_ids, mapped_errors
from shared.store.feed_documents import Feed, to_feed
from shared.store.feeds import FEEDS
from shared.store.pages import MAX_READ_MS, Page, PagedList
from shared.store.reading import read_those_that_fit

# What a feed is sorted by, and its source: no two feeds stand at the same place.
_Place = tuple[str, str]


class FeedState(StrEnum):
    """What feeds are looked for by: some are in none of these states, or in two."""

    FAILING = "failing"
    DISABLED = "disabled"
    MANUAL = "manual"


_STATES: dict[FeedState, Document] = {
    # The error first: SecantusDB looks up the first field that has an index, and few feeds fail.
    FeedState.FAILING: {"error": {"$gt": ""}, "enabled": True},
    FeedState.DISABLED: {"enabled": False},
    FeedState.MANUAL: {"enabled": True, "interval_s": None, "cron": None, "window": None},
}
# Later than any feed was added; in milliseconds.
_LATEST_MS = 10**15
_FIELDS: dict[FeedOrder, Document] = {
    FeedOrder.STATE: {"enabled": True, "error": True, "created_at": True},
    FeedOrder.TITLE: {"title": True, "document_title": True},
    FeedOrder.LAST_IMPORT: {"last_import": True},
    FeedOrder.NEXT_FETCH: {"next_fetch_at": True, "enabled": True},
}


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Which feeds; ``text`` is looked for in titles, sources, URLs and tags.

    ``failing`` tells those that have an ``error`` from those that have none, enabled or not.
    """

    text: str | None = None
    tag: str | None = None
    state: FeedState | None = None
    enabled: bool | None = None
    failing: bool | None = None

    def query(self) -> Document:
        """Return it as MongoDB takes it."""
        query: Document = {}
        if self.tag:
            query["tags"] = self.tag
        if self.text:
            pattern = {"$regex": re.escape(self.text), "$options": "i"}
            names = ("_id", "urls", "title", "document_title", "tags")
            query["$or"] = [{name: pattern} for name in names]
        if self.failing is not None:
            query["error"] = {"$gt": ""} if self.failing else None
        if self.enabled is not None:
            query["enabled"] = self.enabled
        return _both(query, _STATES[self.state]) if self.state is not None else query


class FeedLists:
    """Reads collection ``feeds`` in pages. Safe for threads."""

    def __init__(self, database: Database) -> None:
        self._feeds = database.collection(FEEDS)
        self._list = PagedList(self._feeds, "created_at")

    def find_page(
        self,
        wanted: FeedFilter = FeedFilter(),
        *,
        order: FeedOrder = FeedOrder.ADDED,
        descending: bool = False,
        limit: int,
        cursor: str | None = None,
    ) -> Page[Feed]:
        """Return feeds, latest added first or in another order; each page goes on behind the last.

        By state: failing feeds first, disabled ones last, of each the latest added first.
        ``descending`` turns all orders but that by time of adding around. They read a few fields
        of every feed that is wanted.

        Raises:
            InvalidRequestError: ``cursor`` was not given out by this list in this order.
        """
        query = wanted.query()
        if order is FeedOrder.ADDED:
            page = self._list.find(query, limit=limit, cursor=cursor)
        else:
            page = self._find_sorted(query, order, descending, limit, cursor)
        return Page(list(read_those_that_fit(FEEDS, page.items, to_feed)), page.next_cursor)

    def find_titles(self, sources: Iterable[str]) -> dict[str, str]:
        """Return the titles of those of these feeds that have one, by source."""
        found = find_by_ids(self._feeds, sources, _FIELDS[FeedOrder.TITLE])
        titles = {one["_id"]: one.get("title") or one.get("document_title") for one in found}
        return {source: title for source, title in titles.items() if isinstance(title, str)}

    def _find_sorted(
        self, query: Document, order: FeedOrder, descending: bool, limit: int, cursor: str | None
    ) -> Page[Document]:
        with mapped_errors():
            rows = list(self._feeds.find(query, _FIELDS[order]).max_time_ms(MAX_READ_MS))
        places = [(_value(row, order), row["_id"]) for row in rows]
        known = sorted(((v, source) for v, source in places if v is not None), reverse=descending)
        unknown = sorted(source for value, source in places if value is None)
        if cursor is not None:
            known, unknown = _behind(_read_cursor(cursor, order), known, unknown, descending)
        wanted: list[tuple[str | None, str]] = [*known, *((None, source) for source in unknown)]
        page = wanted[:limit]
        by_source = {row["_id"]: row for row in find_by_ids(self._feeds, [s for _, s in page])}
        items = [by_source[source] for _, source in page if source in by_source]
        return Page(items, _write_cursor(order, *page[-1]) if len(wanted) > limit else None)


def _both(query: Document, other: Document) -> Document:
    """Return the query for documents that fit both."""
    clash = any(query[name] != value for name, value in other.items() if name in query)
    return {"$and": [query, other]} if clash else {**other, **query}


def _value(row: Document, order: FeedOrder) -> str | None:
    """Return what a feed is sorted by, as text; None where it has none."""
    if order is FeedOrder.STATE:
        return _rank(row)
    if order is FeedOrder.TITLE:
        return str(row.get("title") or row.get("document_title") or row["_id"]).casefold()
    if order is FeedOrder.LAST_IMPORT:
        # Ids of imports sort by the time of request.
        found = row.get("last_import")
        return found if isinstance(found, str) else None
    moment = row.get("next_fetch_at") if row.get("enabled") else None
    return format_time(moment) if isinstance(moment, datetime) else None


def _rank(row: Document) -> str:
    """Return what sorts feeds by state, and those of one state by when they were added."""
    rank = (0 if row.get("error") else 1) if row.get("enabled") else 2
    added = row.get("created_at")
    added_ms = int(added.timestamp() * 1000) if isinstance(added, datetime) else 0
    return f"{rank}{_LATEST_MS - added_ms:016}"


def _behind(
    place: tuple[Any, Any], known: list[_Place], unknown: list[str], descending: bool
) -> tuple[list[_Place], list[str]]:
    """Return what stands behind a place, which may be there no more."""
    value, source = place
    if value is None:
        return [], [each for each in unknown if each > source]
    here = (str(value), str(source))
    return [each for each in known if (each < here if descending else each > here)], unknown


def _write_cursor(order: FeedOrder, *place: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([order, *place])).decode().rstrip("=")


def _read_cursor(cursor: str, order: FeedOrder) -> tuple[Any, Any]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        written, value, place = orjson.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError, TypeError) as exc:
        raise _unknown_cursor(cursor) from exc
    if written != order or not isinstance(place, str):
        raise _unknown_cursor(cursor)
    return value, place


def _unknown_cursor(cursor: str | None) -> InvalidRequestError:
    shown = str(cursor)[:40]
    return InvalidRequestError(
        f"invalid cursor {shown!r}: use next_cursor of this list in this order"
    )
