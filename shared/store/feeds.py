"""Feeds: what is subscribed to, when it is fetched next, and what the last answer said."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo import errors as mongo_errors

from shared.errors import ConflictError
from shared.host_names import host_of
from shared.store.database import Database, Document, find_by_ids, map_error, mapped_errors
from shared.store.imports import Import
from shared.store.pages import Page, find_page

# What an import must not set when somebody gave the feed another schedule meanwhile.
SCHEDULE_FIELDS = frozenset({"next_fetch_at", "next_fetch_reason", "enabled"})
_SCHEDULED: Document = {"enabled": True, "next_fetch_at": {"$ne": None}}
_FAILING: Document = {"enabled": True, "error": {"$gt": ""}}


@dataclass(frozen=True, slots=True)
class StoredValidators:
    """What the last whole answer of one URL said about its version, byte for byte.

    ``final_url`` is the address behind all redirects that said so, the only one they mean
    anything to.
    """

    etag: str | None = None
    last_modified: str | None = None
    body_hash: str | None = None
    final_url: str | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed as stored.

    ``running_import`` names the import that is queued or fetching; a feed can be claimed only
    while it is empty. ``validators`` has one entry a URL that has any. ``history`` is what the
    schedule needs to know of earlier fetches, see ``server/feeds/history.py``.
    """

    source: str
    urls: list[str]
    created_at: datetime
    enabled: bool = True
    interval_s: int | None = None
    cron: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    weight: str | None = None
    window: Document | None = None
    next_fetch_at: datetime | None = None
    next_fetch_reason: str = "not scheduled"
    running_import: str | None = None
    last_import: str | None = None
    consecutive_failures: int = 0
    error: str | None = None
    validators: dict[str, StoredValidators] = field(default_factory=dict)
    history: Document = field(default_factory=dict)

    @property
    def host(self) -> str | None:
        """The host of its first URL, by which it is scheduled; None without a URL.

        Stored too, wherever ``urls`` is, so that feeds can be looked for by it.
        """
        return _host_of_first(self.urls)

    @property
    def is_scheduled(self) -> bool:
        """Whether it is fetched by itself."""
        return self.interval_s is not None or self.cron is not None


@dataclass(frozen=True, slots=True)
class FeedCounts:
    """How many feeds there are; ``scheduled`` are fetched by themselves, ``failing`` failed last.

    A disabled feed is neither.
    """

    feeds: int
    scheduled: int
    failing: int


@dataclass(frozen=True, slots=True)
class Deferral:
    """A due feed as it was seen, when to fetch it instead, and why."""

    seen: Feed
    next_fetch_at: datetime
    reason: str


class FeedStore:
    """Collection ``feeds``, ``_id`` = source."""

    def __init__(self, database: Database) -> None:
        self._feeds = database.collection("feeds")

    def ensure_indexes(self) -> None:
        """Make the indexes that the tick, the auditor and the API need."""
        with mapped_errors():
            # SecantusDB 0.7 uses an index only if it covers the whole query; without this one each
            # tick would read every feed.
            self._feeds.create_index(
                [
                    ("enabled", ASCENDING),
                    ("running_import", ASCENDING),
                    ("next_fetch_at", ASCENDING),
                ]
            )
            self._feeds.create_index([("running_import", ASCENDING), ("host", ASCENDING)])
            self._feeds.create_index([("urls", ASCENDING)])
            self._feeds.create_index([("created_at", DESCENDING), ("_id", DESCENDING)])
            self._feeds.create_index([("enabled", ASCENDING), ("new_item_at", ASCENDING)])

    def insert(self, feed: Feed) -> None:
        """Add a feed.

        Raises:
            ConflictError: its source is taken.
        """
        try:
            self._feeds.insert_one(_to_document(feed))
        except mongo_errors.DuplicateKeyError as exc:
            raise ConflictError(f"source {feed.source!r} is taken by another feed") from exc
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc

    def get(self, source: str) -> Feed | None:
        """Return one feed."""
        with mapped_errors():
            found = self._feeds.find_one({"_id": source})
        return _to_feed(found) if found is not None else None

    def read_many(self, sources: Iterable[str]) -> dict[str, Feed]:
        """Return those of these feeds that exist."""
        found = find_by_ids(self._feeds, sources)
        return {document["_id"]: _to_feed(document) for document in found}

    def find_by_url(self, url: str) -> Feed | None:
        """Return a feed whose only URL this is."""
        with mapped_errors():
            found = self._feeds.find_one({"urls": [url]})
        return _to_feed(found) if found is not None else None

    def find_page(
        self,
        *,
        text: str | None = None,
        enabled: bool | None = None,
        failing: bool | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page[Feed]:
        """Return feeds, latest added first; ``text`` is looked for in the source and the URLs.

        ``failing`` tells those that have an ``error`` from those that have none.
        """
        query: Document = {}
        if text:
            pattern = {"$regex": re.escape(text), "$options": "i"}
            query["$or"] = [{"_id": pattern}, {"urls": pattern}]
        if enabled is not None:
            query["enabled"] = enabled
        if failing is not None:
            query["error"] = {"$gt": ""} if failing else None
        page = find_page(self._feeds, query, time_field="created_at", limit=limit, cursor=cursor)
        return Page([_to_feed(document) for document in page.items], page.next_cursor)

    def find_enabled(self) -> list[Feed]:
        """Return all enabled feeds that have a URL."""
        with mapped_errors():
            found = self._feeds.find({"enabled": True, "urls": {"$ne": []}}).sort("_id", ASCENDING)
            return [_to_feed(document) for document in found]

    def find_due(
        self, now: datetime, limit: int, *, skip_hosts: Collection[str] = ()
    ) -> list[Feed]:
        """Return enabled feeds whose time has come and that no import holds, longest due first.

        None of a host in ``skip_hosts``.
        """
        query: Document = {"enabled": True, "next_fetch_at": {"$lte": now}, "running_import": None}
        if skip_hosts:
            query["host"] = {"$nin": list(skip_hosts)}
        with mapped_errors():
            found = self._feeds.find(query).sort("next_fetch_at", ASCENDING).limit(limit)
            return [_to_feed(document) for document in found]

    def count(self) -> FeedCounts:
        """Return how many feeds there are, and how many of them are in which condition."""
        with mapped_errors():
            return FeedCounts(
                feeds=self._feeds.count_documents({}),
                scheduled=self._feeds.count_documents(_SCHEDULED),
                failing=self._feeds.count_documents(_FAILING),
            )

    def note_new_items(self, source: str, now: datetime) -> None:
        """Remember that an import brought items that were not stored before. Safe to repeat."""
        self._update({"_id": source}, {"$max": {"new_item_at": now}})

    def find_most_silent(self, limit: int) -> dict[str, datetime]:
        """Return when scheduled feeds last had a new item, by source, the longest ago first.

        Of a feed that never had one: when it was added.
        """
        fields = {"new_item_at": True, "created_at": True}
        with mapped_errors():
            found = self._feeds.find(_SCHEDULED, fields).sort("new_item_at", ASCENDING).limit(limit)
            return {one["_id"]: one.get("new_item_at") or one["created_at"] for one in found}

    def find_running(self) -> list[Feed]:
        """Return the feeds that name an import."""
        with mapped_errors():
            found = self._feeds.find({"running_import": {"$gt": ""}})
            return [_to_feed(document) for document in found]

    def count_running_by_host(self) -> dict[str, int]:
        """Return how many feeds of each host name an import."""
        running = {"$match": {"running_import": {"$gt": ""}}}
        by_host = {"$group": {"_id": "$host", "feeds": {"$sum": 1}}}
        with mapped_errors():
            found = self._feeds.aggregate([running, by_host])
            return {group["_id"]: group["feeds"] for group in found if group["_id"] is not None}

    def defer_many(self, deferrals: Sequence[Deferral]) -> int:
        """Move due feeds to a later time; returns how many were still due as they were seen."""
        updates = [
            UpdateOne(
                {
                    "_id": deferral.seen.source,
                    "next_fetch_at": deferral.seen.next_fetch_at,
                    "running_import": None,
                },
                {
                    "$set": {
                        "next_fetch_at": deferral.next_fetch_at,
                        "next_fetch_reason": deferral.reason,
                    }
                },
            )
            for deferral in deferrals
        ]
        if not updates:
            return 0
        with mapped_errors():
            return int(self._feeds.bulk_write(updates, ordered=False).matched_count)

    def claim(self, seen: Feed, import_id: str, *, scheduled: bool) -> bool:
        """Name an import in a feed that names none; of many callers one gets it.

        ``scheduled``: only while the feed is enabled and due as it was seen.
        """
        return self._update(_claimable(seen, scheduled), {"$set": {"running_import": import_id}})

    def claim_many(
        self, import_ids: Sequence[tuple[Feed, str]], *, scheduled: bool
    ) -> dict[str, str]:
        """Claim feeds as :meth:`claim` does, in two round trips for up to a hundred of them.

        Returns the ids of the imports that are named now, by source.
        """
        claims = [
            UpdateOne(_claimable(seen, scheduled), {"$set": {"running_import": import_id}})
            for seen, import_id in import_ids
        ]
        if not claims:
            return {}
        wanted = {seen.source: import_id for seen, import_id in import_ids}
        with mapped_errors():
            self._feeds.bulk_write(claims, ordered=False)
        found = find_by_ids(self._feeds, wanted, {"running_import": True})
        named = {document["_id"]: document["running_import"] for document in found}
        return {source: wanted[source] for source in named if named[source] == wanted[source]}

    def finish(self, ended: Import) -> bool:
        """Take over from an import's document what it says about its feed; frees the feed.

        Only while the feed still names the import. What was learnt from its URLs is taken over
        only while they are still those that were fetched; the next fetch only while the feed's
        schedule is still the one that it was computed from (``seen`` in the step): who changed that
        meanwhile has set a next fetch of his own. Safe to repeat. False: somebody did it before.
        """
        mine: Document = {"_id": ended.source, "running_import": ended.import_id}
        if not self._is_there(mine):
            # Most often so: each audit asks, and the import itself did it before.
            return False
        step = dict(ended.feed_step)
        seen = step.pop("seen", {})
        learnt = {name: value for name, value in step.items() if name not in SCHEDULE_FIELDS}
        freed = {"running_import": None, "last_import": ended.import_id}
        fetched = {**mine, "urls": ended.urls}
        return (
            self._update({**fetched, **seen}, {"$set": {**step, **freed}})
            or self._update(fetched, {"$set": {**learnt, **freed}})
            or self._update(mine, {"$set": freed})
        )

    def update(self, source: str, changes: Mapping[str, Any]) -> bool:
        """Set fields, named as in :class:`Feed`; False when there is no such feed."""
        stored = dict(changes)
        if "urls" in stored:
            stored["host"] = _host_of_first(stored["urls"])
        if "headers" in stored:
            stored["headers"] = _headers_document(stored["headers"])
        if "validators" in stored:
            stored["validators"] = validators_document(stored["validators"])
        return self._update({"_id": source}, {"$set": stored})

    def delete(self, source: str) -> bool:
        """Delete a feed; its items and its revision counter stay."""
        with mapped_errors():
            return self._feeds.delete_one({"_id": source}).deleted_count == 1

    def _is_there(self, query: Document) -> bool:
        with mapped_errors():
            return self._feeds.find_one(query, {"_id": True}) is not None

    def _update(self, query: Document, update: Document) -> bool:
        with mapped_errors():
            return self._feeds.update_one(query, update).matched_count == 1


def _claimable(seen: Feed, scheduled: bool) -> Document:
    query: Document = {"_id": seen.source, "running_import": None}
    if scheduled:
        query |= {"enabled": True, "next_fetch_at": seen.next_fetch_at}
    return query


def validators_document(validators: Mapping[str, StoredValidators]) -> list[Document]:
    """Return validators as stored: a list, for a URL can be no field name."""
    return [
        {
            "url": url,
            "etag": entry.etag,
            "last_modified": entry.last_modified,
            "body_hash": entry.body_hash,
            "final_url": entry.final_url,
        }
        for url, entry in validators.items()
    ]


def _to_document(feed: Feed) -> Document:
    return {
        "_id": feed.source,
        "urls": feed.urls,
        "host": feed.host,
        "created_at": feed.created_at,
        # Not of the feed's own: see note_new_items. Until then it has been silent since it began.
        "new_item_at": feed.created_at,
        "enabled": feed.enabled,
        "interval_s": feed.interval_s,
        "cron": feed.cron,
        "headers": _headers_document(feed.headers),
        "weight": feed.weight,
        "window": feed.window,
        "next_fetch_at": feed.next_fetch_at,
        "next_fetch_reason": feed.next_fetch_reason,
        "running_import": feed.running_import,
        "last_import": feed.last_import,
        "consecutive_failures": feed.consecutive_failures,
        "error": feed.error,
        "validators": validators_document(feed.validators),
        "history": feed.history,
    }


def _host_of_first(urls: Sequence[str]) -> str | None:
    return host_of(urls[0]) if urls else None


def _headers_document(headers: Mapping[str, str]) -> list[Document]:
    return [{"name": name, "value": value} for name, value in headers.items()]


def _to_feed(document: Document) -> Feed:
    return Feed(
        source=document["_id"],
        urls=document["urls"],
        created_at=document["created_at"],
        enabled=document["enabled"],
        interval_s=document.get("interval_s"),
        cron=document.get("cron"),
        headers={entry["name"]: entry["value"] for entry in document.get("headers", ())},
        weight=document.get("weight"),
        window=document.get("window"),
        next_fetch_at=document.get("next_fetch_at"),
        next_fetch_reason=document.get("next_fetch_reason") or "not scheduled",
        running_import=document.get("running_import"),
        last_import=document.get("last_import"),
        consecutive_failures=document.get("consecutive_failures", 0),
        error=document.get("error"),
        validators={
            entry["url"]: StoredValidators(
                entry["etag"], entry["last_modified"], entry["body_hash"], entry["final_url"]
            )
            for entry in document.get("validators", ())
        },
        history=document.get("history", {}),
    )
