"""Item documents, written so that the highest revision wins whatever happens."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from math import isfinite
from typing import Any, TypeAlias

import bson
from bson.errors import InvalidDocument
from pymongo import ASCENDING, DESCENDING, InsertOne, UpdateOne
from pymongo import errors as mongo_errors

from shared.errors import ItemError
from shared.models import Rank, get_reader
from shared.store.database import (
    FIND_IDS,
    FIND_STORED_IDS,
    Database,
    Document,
    find_by_ids,
    is_duplicate_id,
    is_unavailable,
    map_error,
    mapped_errors,
)
from shared.store.pages import Page, PagedList

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
_Operation: TypeAlias = InsertOne[Document] | UpdateOne
# What decides about a stored item.
_VERSION_FIELDS = (
    "revision",
    "content_hash",
    "created_by",
    "modified_by",
    "read_by",
    "counters_hash",
)
# What a raise renews: counters are no part of the hash.
_COUNTER_FIELDS = ("extra", "counters_hash")

# MongoDB takes 16 MiB, of which revision, times and authorship need a little.
MAX_CONTENT_BYTES = 15 * 1024 * 1024
# A text that is not empty: what get_reader takes for a lenient reader.
_PRESENT: Mapping[str, Any] = {"$gt": ""}


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """What decides about a stored item: its rank and hashes, and who made and changed it."""

    revision: int
    content_hash: str
    created_by: str | None
    modified_by: str | None
    read_by: str | None = None
    counters_hash: str | None = None

    @property
    def is_lenient(self) -> bool:
        """Return whether a lenient reader made what is stored."""
        return self.read_by is not None

    @property
    def rank(self) -> Rank:
        """What a content needs more of to be written over this one."""
        return Rank(not self.is_lenient, self.revision)


class WriteKind(StrEnum):
    """What a write expects to find, and so what guards it."""

    INSERT = "insert"
    UPDATE = "update"
    RAISE = "raise"


@dataclass(frozen=True, slots=True)
class ItemWrite:
    """One write of one item.

    ``content`` holds source, guid, the item's fields and ``content_hash``; revision, times and
    authorship are added by the store. An update loses to a document whose rank is not lower; a
    raise also to another hash; an insert to any document. ``over_lenient``: the document that was
    seen is a lenient reading; a strict one replaces it whole, whatever its revision.

    A raise leaves ``modified_at`` and ``modified_by``: it brings the same content, with its
    counters as they are now.
    """

    item_id: str
    kind: WriteKind
    revision: int
    content: Mapping[str, Any]
    import_id: str | None
    now: datetime
    over_lenient: bool = False

    @property
    def is_strict(self) -> bool:
        """Return whether the content is a strict reading."""
        return get_reader(self.content) is None


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
        self._list = PagedList(self._items, "modified_at", has_untimed=True)

    def ensure_indexes(self) -> None:
        """Make the indexes that the lists of the API need; the hot path uses ``_id`` alone."""
        with mapped_errors():
            self._items.create_index([("modified_at", DESCENDING), ("_id", DESCENDING)])
            self._items.create_index(
                [("source", ASCENDING), ("modified_at", DESCENDING), ("_id", DESCENDING)]
            )

    def read_versions(
        self, item_ids: Iterable[str], *, most_are_stored: bool = False
    ) -> dict[str, StoredVersion]:
        """Return the versions of the items that are stored; one round trip a hundred ids.

        ``most_are_stored`` changes the cost alone: half as many ids a round trip.
        """
        at_once = FIND_STORED_IDS if most_are_stored else FIND_IDS
        fields = dict.fromkeys(_VERSION_FIELDS, 1)
        found = find_by_ids(self._items, item_ids, fields, at_once=at_once)
        return {document["_id"]: _to_version(document) for document in found}

    def has_any(self, source: str) -> bool:
        """Return whether a source has any documents; some servers read all of them for it."""
        with mapped_errors():
            return self._items.find_one({"source": source}, {"_id": True}) is not None

    def read_contents(self, item_ids: Iterable[str]) -> dict[str, Document]:
        """Return hash, title and date of the items that are stored, as far as they have them."""
        fields = {"content_hash": 1, "title": 1, "published_at": 1}
        found = find_by_ids(self._items, item_ids, fields)
        return {document["_id"]: document for document in found}

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

    def _bulk_write(self, operations: Sequence[_Operation]) -> list[Document]:
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
            query["source"] = source
        if since is not None:
            query["modified_at"] = {"$gte": since}
        if text:
            pattern = {"$regex": re.escape(text), "$options": "i"}
            query["$or"] = [{"title": pattern}, {"summary": pattern}]
        return self._list.find(query, limit=limit, cursor=cursor)

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


def _to_operation(write: ItemWrite) -> _Operation:
    """Return the operation of a write: a duplicate ``_id`` of just that item when it loses."""
    if write.kind is WriteKind.INSERT:
        # No upsert: SecantusDB takes four times as long for one.
        return InsertOne(_to_new_document(write))
    return _to_upsert(write)


def _to_new_document(write: ItemWrite) -> Document:
    return {
        "_id": write.item_id,
        **write.content,
        "revision": write.revision,
        "created_at": write.now,
        "created_by": write.import_id,
        "modified_at": write.now,
        "modified_by": write.import_id,
    }


def _to_upsert(write: ItemWrite) -> UpdateOne:
    """Return the upsert of a write; see :func:`_guard` for what makes it lose."""
    raises = write.kind is WriteKind.RAISE
    content = dict(write.content)
    if raises:
        # The guard names it, so an upsert sets it.
        del content["content_hash"]
    whole = {**content, "revision": write.revision}
    authorship = {"modified_at": write.now, "modified_by": write.import_id}
    at_first: Document = {"created_at": write.now, "created_by": write.import_id}
    if not raises:
        always, gone = {**whole, **authorship}, _lacking(content, OPTIONAL_FIELDS)
    elif write.over_lenient and write.is_strict:
        always, gone = whole, _lacking(content, OPTIONAL_FIELDS)
        at_first |= authorship
    else:
        counters = {name: content[name] for name in _COUNTER_FIELDS if name in content}
        always, gone = {**counters, "revision": write.revision}, _lacking(content, _COUNTER_FIELDS)
        # Only if somebody deleted the document meanwhile: never leave a stub behind.
        at_first |= {name: content[name] for name in content if name not in always} | authorship
    update: Document = {"$set": always, "$setOnInsert": at_first}
    if gone:
        update["$unset"] = gone
    return UpdateOne(_guard(write), update, upsert=True)


def _guard(write: ItemWrite) -> Document:
    """Return the filter that only a document of lower rank passes, as far as one was seen.

    A strict reading over a lenient one need not look at the revision. A document that became
    strict meanwhile passes no guard that wants a lenient one: it shows as a duplicate key.
    """
    guard: Document = {"_id": write.item_id}
    if write.over_lenient:
        guard["read_by"] = _PRESENT
    if not (write.over_lenient and write.is_strict):
        guard["revision"] = _below(write.revision)
    if write.kind is WriteKind.RAISE:
        guard["content_hash"] = write.content["content_hash"]
    return guard


def _lacking(content: Mapping[str, Any], names: Iterable[str]) -> Document:
    return {name: "" for name in names if name not in content}


def _below(revision: int) -> Document:
    """Return the guard that also a document without a revision passes: another program wrote it."""
    return {"$not": {"$gte": revision}}


def _to_version(document: Document) -> StoredVersion:
    """Return a document's version; what makes no sense in it counts as absent.

    The guards of writes see it alike: a revision that is no number is below all others.
    """
    get = document.get
    return StoredVersion(
        revision=_whole_or_zero(get("revision")),
        content_hash=str(get("content_hash", "")),
        created_by=_text_or_none(get("created_by")),
        modified_by=_text_or_none(get("modified_by")),
        read_by=get_reader(document),
        counters_hash=_text_or_none(get("counters_hash")),
    )


def _whole_or_zero(value: object) -> int:
    if type(value) is int:
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and isfinite(value) else 0  # type: ignore[call-overload, arg-type]


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _describe(failure: Document) -> str:
    return f"MongoDB refused the document (code {failure.get('code')}): {failure.get('errmsg')}"
