"""Item documents, written so that the highest revision wins whatever happens."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from math import isfinite
from typing import Any

import bson
from bson.errors import InvalidDocument
from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo import errors as mongo_errors

from shared.errors import ItemError
from shared.store.database import (
    Database,
    Document,
    find_by_ids,
    is_duplicate_id,
    is_unavailable,
    map_error,
    mapped_errors,
)
from shared.store.pages import Page, find_page

# Fields that an item may lack; an update removes those that the new content lacks.
OPTIONAL_FIELDS = (
    "link",
    "title",
    "summary",
    "content",
    "author",
    "published_at",
    "updated_at",
    "counters_hash",
    "read_by",
)

# MongoDB takes 16 MiB, of which revision, times and authorship need a little.
MAX_CONTENT_BYTES = 15 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """What decides about a stored item: its revision and hash, and who made and changed it."""

    revision: int
    content_hash: str
    created_by: str | None
    modified_by: str | None


class WriteKind(StrEnum):
    """What a write expects to find, and so what guards it."""

    INSERT = "insert"
    UPDATE = "update"
    RAISE = "raise"


@dataclass(frozen=True, slots=True)
class ItemWrite:
    """One write of one item.

    ``content`` holds source, guid, the item's fields and ``content_hash``; revision, times and
    authorship are added by the store. An update loses to a revision that is not lower; a raise
    also to another hash; an insert to any document.
    """

    item_id: str
    kind: WriteKind
    revision: int
    content: Mapping[str, Any]
    import_id: str | None
    now: datetime


@dataclass(slots=True)
class WriteReport:
    """How the writes of a batch ended; an id stands in exactly one of the three.

    ``lost``: the guard no longer held, read again and decide again. ``rejected``: the server
    refused this very item, with its reason.
    """

    written: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    rejected: dict[str, str] = field(default_factory=dict)


class ItemStore:
    """Collection ``items``, ``_id`` = ``source#guid``."""

    def __init__(self, database: Database) -> None:
        self._items = database.collection("items")

    def ensure_indexes(self) -> None:
        """Make the indexes that the lists of the API need; the hot path uses ``_id`` alone."""
        with mapped_errors():
            self._items.create_index([("modified_at", DESCENDING), ("_id", DESCENDING)])
            self._items.create_index(
                [("source", ASCENDING), ("modified_at", DESCENDING), ("_id", DESCENDING)]
            )

    def read_versions(self, item_ids: Iterable[str]) -> dict[str, StoredVersion]:
        """Return the versions of the items that are stored; one round trip a hundred ids."""
        fields = {"revision": 1, "content_hash": 1, "created_by": 1, "modified_by": 1}
        found = find_by_ids(self._items, item_ids, fields)
        return {document["_id"]: _to_version(document) for document in found}

    def write_many(self, writes: Sequence[ItemWrite]) -> WriteReport:
        """Write a batch in one unordered bulk; when this returns, ``written`` survives a crash.

        Each id at most once. Safe to repeat: what was written shows as ``lost`` then.

        Raises:
            StoreUnavailable: nothing is known of any write; none may be settled.
        """
        report = WriteReport(written={write.item_id for write in writes})
        for failure in self._bulk_write([_to_operation(write) for write in writes]):
            item_id = writes[failure["index"]].item_id
            report.written.discard(item_id)
            if is_duplicate_id(failure):
                report.lost.add(item_id)
            else:
                report.rejected[item_id] = _describe(failure)
        return report

    def _bulk_write(self, operations: list[UpdateOne]) -> list[Document]:
        """Run operations unordered and return the write errors of single ones."""
        if not operations:
            return []
        try:
            self._items.bulk_write(operations, ordered=False)
        except mongo_errors.BulkWriteError as exc:
            # A write concern that was not met leaves writeErrors empty: nothing is known then.
            if is_unavailable(exc):
                raise map_error(exc) from exc
            failures: list[Document] = exc.details["writeErrors"]
            return failures
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc
        return []

    def get(self, item_id: str) -> Document | None:
        """Return one document as stored."""
        with mapped_errors():
            return self._items.find_one({"_id": item_id})

    def find_page(
        self,
        *,
        source: str | None,
        text: str | None,
        since: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page[Document]:
        """Return documents, latest changed first; ``text`` is looked for in title and summary."""
        query: Document = {}
        if source is not None:
            query["source"] = {"$eq": source}
        if since is not None:
            query["modified_at"] = {"$gte": since}
        if text:
            pattern = {"$regex": re.escape(text), "$options": "i"}
            query["$or"] = [{"title": pattern}, {"summary": pattern}]
        return find_page(self._items, query, time_field="modified_at", limit=limit, cursor=cursor)

    def count(self, source: str, limit: int) -> int:
        """Return how many items a source has; ``limit`` when there are that many or more."""
        with mapped_errors():
            return self._items.count_documents({"source": source}, limit=limit)


def check_encodable(content: Mapping[str, Any]) -> None:
    """Encode a document on its own, so that it cannot spoil the batch that it joins.

    Raises:
        ItemError: ``unencodable``, ``too_large``; pymongo itself would refuse the whole batch for
            it.
    """
    try:
        size_bytes = len(bson.encode(content))
    except (InvalidDocument, UnicodeError, OverflowError, RecursionError, ValueError) as exc:
        raise ItemError("unencodable", f"cannot be stored in MongoDB: {exc}") from exc
    if size_bytes > MAX_CONTENT_BYTES:
        raise ItemError(
            "too_large",
            f"sanitised, the item has {size_bytes} bytes; a document may have {MAX_CONTENT_BYTES}",
        )


def _to_operation(write: ItemWrite) -> UpdateOne:
    content = dict(write.content)
    created = {"created_at": write.now, "created_by": write.import_id}
    changed = {**content, "revision": write.revision, "modified_at": write.now}
    changed["modified_by"] = write.import_id
    if write.kind is WriteKind.RAISE:
        return UpdateOne(
            {
                "_id": write.item_id,
                "revision": _below(write.revision),
                "content_hash": content.pop("content_hash"),
            },
            {
                "$set": {"revision": write.revision},
                # Only if somebody deleted the document meanwhile: never leave a stub behind.
                "$setOnInsert": {
                    **content,
                    **created,
                    "modified_at": write.now,
                    "modified_by": write.import_id,
                },
            },
            upsert=True,
        )
    # An insert's filter matches no document of ours, so an existing one shows as a duplicate key.
    below = write.revision if write.kind is WriteKind.UPDATE else 0
    update: Document = {"$set": changed, "$setOnInsert": created}
    gone = {name: "" for name in OPTIONAL_FIELDS if name not in content}
    if gone:
        update["$unset"] = gone
    return UpdateOne({"_id": write.item_id, "revision": _below(below)}, update, upsert=True)


def _below(revision: int) -> Document:
    """Return the guard that also a document without a revision passes: foreign hands wrote it."""
    return {"$not": {"$gte": revision}}


def _to_version(document: Document) -> StoredVersion:
    """Return a document's version; what makes no sense in it counts as absent.

    The guards of writes see it alike: a revision that is no number is below all others.
    """
    return StoredVersion(
        revision=_whole_or_zero(document.get("revision")),
        content_hash=str(document.get("content_hash", "")),
        created_by=_text_or_none(document.get("created_by")),
        modified_by=_text_or_none(document.get("modified_by")),
    )


def _whole_or_zero(value: object) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and isfinite(value) else 0  # type: ignore[call-overload, arg-type]


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _describe(failure: Document) -> str:
    return f"MongoDB refused the document (code {failure.get('code')}): {failure.get('errmsg')}"
