"""Feeds: what is subscribed to, when it is fetched next, and what the last answer said."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo import errors as mongo_errors

from shared.errors import ConflictError, StoreError, StoreUnavailable, UnreadableDocument
from shared.logs import get_logger
from shared.store.database import (
    Database,
    Document,
    find_by_ids,
    map_error,
    mapped_errors,
)
from shared.store.feed_documents import (
    Deferral,
    Feed,
    FeedCounts,
    headers_document,
    key_of_urls,
    to_document,
    to_feed,
    urls_fields,
    validators_document,
)
from shared.store.imports import IMPORTS, Import
from shared.store.reading import find_misfits, read_document, read_those_that_fit

log = get_logger("store")

# What an import must not set when somebody gave the feed another schedule meanwhile.
SCHEDULE_FIELDS = frozenset({"next_fetch_at", "next_fetch_reason", "enabled"})
FEEDS = "feeds"
_SCHEDULED: Document = {"enabled": True, "next_fetch_at": {"$ne": None}}
# The error first: SecantusDB looks up the first field that has an index, and few feeds fail.
_FAILING: Document = {"error": {"$gt": ""}, "enabled": True}
# How the reasons of feeds begin that wait for their host's Retry-After; and how earlier versions
# had it.
RATE_LIMITED_BY = "rate-limited by"
_WAITS_FOR_HOST = f"{RATE_LIMITED_BY} |asked not to be asked again before"


class FeedStore:
    """Collection ``feeds``, ``_id`` = source; no two feeds have the same URLs, as a whole list."""

    def __init__(self, database: Database) -> None:
        self._feeds = database.collection(FEEDS)

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
            # Sparse: feeds without URLs have no key, and duplicates of earlier versions keep none.
            self._feeds.create_index([("urls_key", ASCENDING)], unique=True, sparse=True)
            self._feeds.create_index([("created_at", DESCENDING), ("_id", DESCENDING)])
            self._feeds.create_index([("enabled", ASCENDING), ("new_item_at", ASCENDING)])
            self._feeds.create_index([("error", ASCENDING)])
            self._feeds.create_index([("tags", ASCENDING)])

    def insert(self, feed: Feed) -> None:
        """Add a feed.

        Raises:
            ConflictError: its source is taken, or another feed has its URLs.
        """
        try:
            self._feeds.insert_one(to_document(feed))
        except mongo_errors.DuplicateKeyError as exc:
            raise _conflict(exc, feed.source) from exc
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc

    def get(self, source: str) -> Feed | None:
        """Return one feed."""
        with mapped_errors():
            found = self._feeds.find_one({"_id": source})
        return read_document(FEEDS, found, to_feed) if found is not None else None

    def read_many(self, sources: Iterable[str]) -> dict[str, Feed]:
        """Return those of these feeds that exist."""
        found = find_by_ids(self._feeds, sources)
        return {feed.source: feed for feed in read_those_that_fit(FEEDS, found, to_feed)}

    def find_by_urls(self, urls: Sequence[str]) -> Feed | None:
        """Return the feed that has just these URLs, in this order."""
        with mapped_errors():
            found = self._feeds.find_one({"urls_key": key_of_urls(urls), "urls": list(urls)})
            if found is None:
                # Without a key: a duplicate of an earlier version, whose twin is gone since.
                found = self._feeds.find_one({"urls": list(urls)})
        return read_document(FEEDS, found, to_feed) if found is not None else None

    def repair_url_keys(self) -> list[str]:
        """Give every feed its URLs' key, as earlier versions did not; safe for several servers.

        Returns the sources of those that have none because an older feed has the same URLs: they
        work as before.
        """
        fields = {"urls": True, "urls_key": True}
        with mapped_errors():
            found = self._feeds.find({"urls": {"$ne": []}}, fields).sort("created_at", ASCENDING)
            wrong = [each for each in found if each.get("urls_key") != key_of_urls(each["urls"])]
        for _ in range(2):
            # Once more for those whose key another one had, which has been given its own since.
            wrong = [each for each in wrong if not self._set_url_key(each["_id"], each["urls"])]
        return [each["_id"] for each in wrong]

    def find_enabled(self, *, windowed: bool = False) -> list[Feed]:
        """Return all enabled feeds that have a URL, or those of them that have a window."""
        query: Document = {"enabled": True, "urls": {"$ne": []}}
        with mapped_errors():
            found = self._feeds.find(query | ({"window": {"$ne": None}} if windowed else {}))
            found = found.sort("_id", ASCENDING)
            return list(read_those_that_fit(FEEDS, found, to_feed))

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
            return list(read_those_that_fit(FEEDS, found, to_feed))

    def count(self) -> FeedCounts:
        """Return how many feeds there are, and how many of them are in which condition."""
        with mapped_errors():
            return FeedCounts(
                feeds=self._feeds.estimated_document_count(),
                scheduled=self._feeds.count_documents(_SCHEDULED),
                failing=self._feeds.count_documents(_FAILING),
            )

    def count_failing(self) -> int:
        """Return how many enabled feeds failed last; reads no others."""
        with mapped_errors():
            return self._feeds.count_documents(_FAILING)

    def note_new_items(self, source: str, now: datetime) -> None:
        """Remember that an import brought items that were not stored before. Safe to repeat."""
        self._update({"_id": source}, {"$max": {"new_item_at": now}})

    def note_title(self, source: str, title: str) -> None:
        """Store what a feed's document is called. Safe to repeat."""
        self._update({"_id": source}, {"$set": {"document_title": title}})

    def find_most_silent(self, limit: int) -> dict[str, datetime]:
        """Return when scheduled feeds last had a new item, by source, the longest ago first.

        Of a feed that never had one: when it was added.
        """
        fields = {"new_item_at": True, "created_at": True}
        with mapped_errors():
            found = self._feeds.find(_SCHEDULED, fields).sort("new_item_at", ASCENDING).limit(limit)
            silent = {one["_id"]: one.get("new_item_at") or one.get("created_at") for one in found}
        return {source: at for source, at in silent.items() if isinstance(at, datetime)}

    def read_running_import(self, source: str) -> str | None:
        """Return the import that a feed names, None where it names none or is not there."""
        with mapped_errors():
            found = self._feeds.find_one({"_id": source}, {"running_import": True}) or {}
        named = found.get("running_import")
        return named if isinstance(named, str) else None

    def find_running(self) -> list[Feed]:
        """Return the feeds that name an import."""
        with mapped_errors():
            found = self._feeds.find({"running_import": {"$gt": ""}})
            return list(read_those_that_fit(FEEDS, found, to_feed))

    def count_running_by_host(self) -> dict[str, int]:
        """Return how many feeds of each host name an import."""
        running = {"$match": {"running_import": {"$gt": ""}}}
        by_host = {"$group": {"_id": "$host", "feeds": {"$sum": 1}}}
        with mapped_errors():
            found = self._feeds.aggregate([running, by_host])
            return {
                group["_id"]: group["feeds"] for group in found if isinstance(group["_id"], str)
            }

    def count_by_host(self, hosts: Iterable[str]) -> dict[str, int]:
        """Return how many feeds have their first URL at each of these hosts."""
        wanted = list(hosts)
        if not wanted:
            return {}
        matching = {"$match": {"host": {"$in": wanted}}}
        by_host = {"$group": {"_id": "$host", "feeds": {"$sum": 1}}}
        with mapped_errors():
            found = self._feeds.aggregate([matching, by_host])
            return {group["_id"]: group["feeds"] for group in found}

    def find_misfits(self, limit: int) -> list[str]:
        """Return in words what is wrong with feeds that cannot be read; looks at ``limit``."""
        with mapped_errors():
            return list(find_misfits(FEEDS, self._feeds.find().limit(limit), to_feed))

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

    def withdraw(self, source: str, import_id: str, until: datetime, reason: str) -> None:
        """Take back a reservation whose import was not begun, and move the feed to ``until``.

        A feed that is not scheduled any more is only freed.
        """
        mine: Document = {"_id": source, "running_import": import_id}
        due = {**mine, "enabled": True, "next_fetch_at": {"$ne": None}}
        later = {"next_fetch_at": until, "next_fetch_reason": reason, "running_import": None}
        if not self._update(due, {"$set": later}):
            self._update(mine, {"$set": {"running_import": None}})

    def release_host(self, host: str, now: datetime, reason: str) -> int:
        """Make those feeds of a host due that wait for its Retry-After; returns how many."""
        waiting: Document = {
            "host": host,
            "enabled": True,
            "next_fetch_at": {"$gt": now},
            "$or": [
                {"history.retry_after_until": {"$gt": now}},
                {"next_fetch_reason": {"$regex": _WAITS_FOR_HOST}},
            ],
        }
        due: Document = {"$set": {"next_fetch_at": now, "next_fetch_reason": reason}}
        forgotten: Document = {"$unset": {"history.retry_after_until": True}}
        with mapped_errors():
            made_due = self._feeds.update_many(waiting, due).modified_count
            self._feeds.update_many({"host": host}, forgotten)
        return int(made_due)

    def reserve(self, seen: Feed, import_id: str, *, scheduled: bool) -> bool:
        """Name an import in a feed that names none; of many callers one gets it.

        ``scheduled``: only while the feed is enabled and due as it was seen.
        """
        return self._update(_reservable(seen, scheduled), {"$set": {"running_import": import_id}})

    def reserve_many(
        self, import_ids: Sequence[tuple[Feed, str]], *, scheduled: bool
    ) -> dict[str, str]:
        """Reserve feeds as :meth:`reserve` does: a round trip a hundred, two where one was taken.

        Returns the ids of the imports that are named now, by source.
        """
        reservations = [
            UpdateOne(_reservable(seen, scheduled), {"$set": {"running_import": import_id}})
            for seen, import_id in import_ids
        ]
        if not reservations:
            return {}
        wanted = {seen.source: import_id for seen, import_id in import_ids}
        with mapped_errors():
            done = self._feeds.bulk_write(reservations, ordered=False)
        if done.matched_count == len(reservations):
            return wanted
        found = find_by_ids(self._feeds, wanted, {"running_import": True})
        named = {document["_id"]: document["running_import"] for document in found}
        return {source: wanted[source] for source in named if named[source] == wanted[source]}

    def finish(self, ended: Import) -> bool:
        """Take over from an import's document what it says about its feed; frees the feed.

        Only while the feed still names the import. What its URLs answered is taken over
        only while they are still those that were fetched; the next fetch only while the feed's
        schedule is still the one that it was computed from (``seen`` in the step): who changed that
        meanwhile has set a next fetch of his own. Safe to repeat. False: somebody did it before.

        Of what MongoDB refuses, as nothing but a foreign hand writes it, only the next fetch is
        taken over: without one the feed would be due again at once.
        """
        try:
            return self._finish(ended, ended.feed_step)
        except StoreUnavailable:
            raise
        except StoreError as exc:
            log.warning("feed_step_refused", import_id=ended.import_id, error=str(exc))
        names = SCHEDULE_FIELDS - {"enabled"}
        next_fetch = {name: ended.feed_step[name] for name in names & ended.feed_step.keys()}
        return self._finish(ended, next_fetch)

    def _finish(self, ended: Import, feed_step: Mapping[str, Any]) -> bool:
        mine: Document = {"_id": ended.source, "running_import": ended.import_id}
        step = dict(feed_step)
        seen = step.pop("seen", {})
        if not isinstance(seen, Mapping):
            raise UnreadableDocument(IMPORTS, ended.import_id, "feed_step.seen is no document")
        known = {name: value for name, value in step.items() if name not in SCHEDULE_FIELDS}
        freed = {"running_import": None, "last_import": ended.import_id}
        fetched = {**mine, "urls": ended.urls}
        if self._update({**fetched, **seen}, {"$set": {**step, **freed}}):
            return True
        if not self._is_there(mine):
            return False
        return self._update(fetched, {"$set": {**known, **freed}}) or self._update(
            mine, {"$set": freed}
        )

    def free(self, source: str, import_id: str) -> bool:
        """Let a feed name an import no more that is another source's; False when it does not."""
        mine: Document = {"_id": source, "running_import": import_id}
        return self._update(mine, {"$set": {"running_import": None}})

    def update(self, source: str, changes: Mapping[str, Any]) -> bool:
        """Set fields, named as in :class:`Feed`; False when there is no such feed.

        Raises:
            ConflictError: another feed has these URLs.
        """
        stored = dict(changes)
        if "urls" in stored:
            stored |= urls_fields(stored["urls"])
        if "headers" in stored:
            stored["headers"] = headers_document(stored["headers"])
        if "validators" in stored:
            stored["validators"] = validators_document(stored["validators"])
        change: Document = {"$set": stored}
        if "urls" in stored and "urls_key" not in stored:
            change["$unset"] = {"urls_key": True}
        try:
            return self._feeds.update_one({"_id": source}, change).matched_count == 1
        except mongo_errors.DuplicateKeyError as exc:
            raise _conflict(exc, source) from exc
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc

    def delete(self, source: str) -> bool:
        """Delete a feed; its items and its revision counter stay."""
        with mapped_errors():
            return self._feeds.delete_one({"_id": source}).deleted_count == 1

    def _set_url_key(self, source: str, urls: Sequence[str]) -> bool:
        """Store a feed's key unless its URLs changed meanwhile; False: another feed has it."""
        unchanged = {"_id": source, "urls": urls}
        try:
            self._feeds.update_one(unchanged, {"$set": {"urls_key": key_of_urls(urls)}})
        except mongo_errors.DuplicateKeyError:
            return False
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc
        return True

    def _is_there(self, query: Document) -> bool:
        with mapped_errors():
            return self._feeds.find_one(query, {"_id": True}) is not None

    def _update(self, query: Document, update: Document) -> bool:
        with mapped_errors():
            return self._feeds.update_one(query, update).matched_count == 1


def _reservable(seen: Feed, scheduled: bool) -> Document:
    query: Document = {"_id": seen.source, "running_import": None}
    if scheduled:
        query |= {"enabled": True, "next_fetch_at": seen.next_fetch_at}
    return query


def _conflict(error: mongo_errors.DuplicateKeyError, source: str) -> ConflictError:
    if "urls_key" in str(error):
        return ConflictError(f"another feed has the URLs given for {source!r}")
    return ConflictError(f"source {source!r} is taken by another feed")
