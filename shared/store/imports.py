"""Imports: their life from ``queued`` to ``completed`` or ``failed``, each step guarded."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo import errors as mongo_errors

from shared.states import ImportState, Trigger
from shared.store.database import (
    Database,
    Document,
    find_by_ids,
    is_duplicate_id,
    map_error,
    mapped_errors,
)
from shared.store.pages import Page, PagedList
from shared.store.reading import (
    check_urls,
    find_misfits,
    read_document,
    read_fields,
    read_those_that_fit,
)

COUNT_NAMES = (
    "fetched",
    "new",
    "updated",
    "unchanged",
    "duplicate",
    "superseded",
    "dead",
    "removed",
    "pending",
)

IMPORTS = "imports"
_REQUIRED = {"import_id": "_id"} | {
    name: name for name in ("source", "urls", "trigger", "state", "requested_at")
}
# What most imports have not; stored only where it is set.
_ONLY_IF_SET = ("indexer", "epoch", "interval", "content_revision", "next_page", "bodies_since")
_OPTIONAL = (
    "force",
    "has_document",
    "is_heavy_feed",
    "revision",
    "started_at",
    "finished_at",
    "fetches",
    "error",
    "error_kind",
    "warnings",
    "counts",
    "journaled",
    "queue",
    "feed_step",
    "audited_at",
    *_ONLY_IF_SET,
)


BEFORE_COMMIT = (ImportState.QUEUED, ImportState.FETCHING)
OPEN_STATES = (*BEFORE_COMMIT, ImportState.IMPORTING)


@dataclass(frozen=True, slots=True)
class Import:
    """One import as stored.

    ``counts`` of an open one holds what was final at its commit; ``journaled`` is the number of
    entries in its journal. ``feed_step`` is what the commit (or failure) gives to the feed.

    One that an indexer asked for names it in ``indexer``, with the ``epoch`` and the ``interval``
    (``start`` and ``ended``). ``content_revision`` is the revision of its items where that is not
    its own. ``next_page`` is the URL of the page behind the last one that was read.
    ``bodies_since``: it reads kept bodies of that time and later, and asks nobody.
    """

    import_id: str
    source: str
    urls: list[str]
    trigger: Trigger
    state: ImportState
    requested_at: datetime
    force: bool = False
    has_document: bool = False
    is_heavy_feed: bool = False
    revision: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    fetches: list[Document] = field(default_factory=list)
    error: str | None = None
    error_kind: str | None = None
    warnings: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    journaled: int = 0
    queue: str | None = None
    feed_step: Document = field(default_factory=dict)
    audited_at: datetime | None = None
    indexer: str | None = None
    epoch: int | None = None
    interval: Document | None = None
    content_revision: int | None = None
    next_page: str | None = None
    bodies_since: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still change."""
        return self.state in OPEN_STATES


class ImportStore:
    """Collection ``imports``.

    ``open`` is a field of its own: a search by ``state`` could miss a document that moves in the
    index meanwhile.
    """

    def __init__(self, database: Database) -> None:
        self._imports = database.collection(IMPORTS)
        self._list = PagedList(self._imports, "requested_at")
        self._finished = PagedList(self._imports, "finished_at")

    def ensure_indexes(self) -> None:
        """Make the indexes of the lists and of the search for open ones."""
        with mapped_errors():
            self._imports.create_index([("open", ASCENDING), ("source", ASCENDING)])
            for leading in ([], [("source", ASCENDING)], [("state", ASCENDING)]):
                self._imports.create_index(
                    [*leading, ("requested_at", DESCENDING), ("_id", DESCENDING)]
                )
            self._imports.create_index([("finished_at", ASCENDING)])

    def insert(self, new: Import) -> bool:
        """Insert an import; False when one with its id is there already, which is fine."""
        try:
            self._imports.insert_one(_to_document(new))
        except mongo_errors.DuplicateKeyError:
            return False
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc
        return True

    def insert_many(self, new: Iterable[Import]) -> None:
        """Insert imports, in one round trip; those that are there already stay, which is fine."""
        documents = [_to_document(each) for each in new]
        if not documents:
            return
        try:
            self._imports.insert_many(documents, ordered=False)
        except mongo_errors.BulkWriteError as exc:
            failures = exc.details.get("writeErrors", [])
            if exc.details.get("writeConcernErrors") or not all(map(is_duplicate_id, failures)):
                raise map_error(exc) from exc
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc

    def get(self, import_id: str) -> Import | None:
        """Return one import."""
        with mapped_errors():
            found = self._imports.find_one({"_id": import_id})
        return read_document(IMPORTS, found, _to_import) if found is not None else None

    def find_page(
        self,
        *,
        source: str | None = None,
        state: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page[Import]:
        """Return imports, latest requested first: at ``since`` or after, before ``until``."""
        query: Document = {}
        if source is not None:
            query["source"] = source
        if state is not None:
            query["state"] = state
        bounds = {"$gte": since, "$lt": until}
        if requested := {name: moment for name, moment in bounds.items() if moment is not None}:
            query["requested_at"] = requested
        page = self._list.find(query, limit=limit, cursor=cursor)
        return Page(list(read_those_that_fit(IMPORTS, page.items, _to_import)), page.next_cursor)

    def find_finished(self, limit: int) -> list[Import]:
        """Return the imports that finished last, latest first; unfinished ones never."""
        page = self._finished.find({}, limit=limit, cursor=None)
        return list(read_those_that_fit(IMPORTS, page.items, _to_import))

    def find_open(self, source: str | None = None) -> list[Import]:
        """Return all open imports that can be read, or really all of one source.

        Raises:
            UnreadableDocument: one of that source cannot be read, and might matter.
        """
        if source is None:
            with mapped_errors():
                found = self._imports.find({"open": True})
                return list(read_those_that_fit(IMPORTS, found, _to_import))
        with mapped_errors():
            found = self._imports.find({"open": True, "source": source})
            return [read_document(IMPORTS, document, _to_import) for document in found]

    def count_open(self) -> dict[ImportState, int]:
        """Return how many imports are in each of the open states."""
        with mapped_errors():
            found = self._imports.find({"open": True}, {"state": True})
            states = [document.get("state") for document in found]
        # One that ended between the search and the read shows its new state.
        return {state: states.count(state) for state in OPEN_STATES}

    def find_importing(self) -> list[Import]:
        """Return the imports that are committed and not closed.

        None of them moves in the index of states until it is closed, so none is overlooked.
        """
        with mapped_errors():
            found = self._imports.find({"state": ImportState.IMPORTING})
            return list(read_those_that_fit(IMPORTS, found, _to_import))

    def read_many(self, import_ids: Iterable[str]) -> dict[str, Import]:
        """Return those of these imports that are there and can be read; see ``find_absent``."""
        found = find_by_ids(self._imports, import_ids)
        read = read_those_that_fit(IMPORTS, found, _to_import)
        return {each.import_id: each for each in read}

    def find_absent(self, import_ids: Iterable[str]) -> set[str]:
        """Return those of these ids that no import has, not even one that cannot be read."""
        wanted = set(import_ids)
        found = find_by_ids(self._imports, wanted, {"_id": True})
        return wanted - {document["_id"] for document in found}

    def find_misfits(self, limit: int) -> list[str]:
        """Return in words what is wrong with imports that cannot be read, of the newest ones."""
        with mapped_errors():
            newest = self._imports.find().sort("requested_at", DESCENDING).limit(limit)
            return list(find_misfits(IMPORTS, newest, _to_import))

    def mark_fetching(self, import_id: str, revision: int, now: datetime) -> bool:
        """Move from queued (or fetching, for a run that starts over) to fetching, in this run.

        False when a later run's revision is there, or the import has moved on. One update, before
        the run's request: whoever compares sees the run with its revision, or compares what was
        fetched before this run fetches anything.
        """
        return self._update(
            {
                "_id": import_id,
                "state": {"$in": list(BEFORE_COMMIT)},
                # None yet, or a lower one. As an `$or`, SecantusDB 0.7 would read all imports.
                "revision": {"$not": {"$gte": revision}},
            },
            {
                "$set": {"state": ImportState.FETCHING, "revision": revision},
                "$min": {"started_at": now},
            },
        )

    def commit(self, import_id: str, revision: int, outcome: Mapping[str, Any]) -> bool:
        """Commit a run: its journal counts from now on, or the import is complete at once.

        ``outcome`` holds the fields to set, ``state`` among them (``importing``, or ``completed``
        when nothing was journaled). One update, guarded by state ``fetching`` and this revision;
        True also when it was done before, by a call whose answer was lost.
        """
        is_open = outcome["state"] == ImportState.IMPORTING
        if self._update(
            {"_id": import_id, "state": ImportState.FETCHING, "revision": revision},
            {"$set": {**outcome, "open": is_open}},
        ):
            return True
        with mapped_errors():
            mine = self._imports.find_one(
                {
                    "_id": import_id,
                    "revision": revision,
                    "state": {"$in": [ImportState.IMPORTING, ImportState.COMPLETED]},
                },
                {"_id": True},
            )
        return mine is not None

    def fail(self, import_id: str, revision: int | None, outcome: Mapping[str, Any]) -> bool:
        """Fail an import that is not committed; with a revision, only while that run is its last.

        ``outcome`` holds ``error``, ``error_kind``, ``finished_at`` and whatever else to set.
        """
        query: Document = {"_id": import_id, "state": {"$in": list(BEFORE_COMMIT)}}
        if revision is not None:
            query["revision"] = revision
        return self._update(
            query, {"$set": {**outcome, "state": ImportState.FAILED, "open": False}}
        )

    def withdraw(self, import_id: str) -> bool:
        """Delete an import that was not begun; False when it is past that."""
        query: Document = {"_id": import_id, "state": ImportState.QUEUED}
        with mapped_errors():
            return self._imports.delete_one(query).deleted_count == 1

    def complete(self, import_id: str, counts: Mapping[str, int], now: datetime) -> bool:
        """Close an import that is importing, with its final counts."""
        return self._update(
            {"_id": import_id, "state": ImportState.IMPORTING},
            {
                "$set": {
                    "state": ImportState.COMPLETED,
                    "open": False,
                    "counts": dict(counts),
                    "finished_at": now,
                }
            },
        )

    def claim_audit(self, seen: Import, now: datetime, min_gap: timedelta) -> bool:
        """Take the right to audit an import, if nobody did for ``min_gap``: only saves work."""
        return self._update(
            {
                "_id": seen.import_id,
                "state": ImportState.IMPORTING,
                # Never, or long ago enough; no `$or`, as above.
                "audited_at": {"$not": {"$gt": now - min_gap}},
            },
            {"$set": {"audited_at": now}},
        )

    def delete_closed_before(self, moment: datetime) -> int:
        """Delete closed imports that finished before ``moment``; returns how many."""
        with mapped_errors():
            result = self._imports.delete_many({"open": False, "finished_at": {"$lt": moment}})
        return int(result.deleted_count)

    def _update(self, query: Document, update: Document) -> bool:
        with mapped_errors():
            return self._imports.update_one(query, update).matched_count == 1


def new_import_id(now: datetime) -> str:
    """Return a new id that sorts by time of request: 12 hex digits of ms, 16 of chance."""
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(8)}"


def empty_counts() -> dict[str, int]:
    """Return all counts at zero."""
    return dict.fromkeys(COUNT_NAMES, 0)


def _to_document(new: Import) -> Document:
    document: Document = {
        "_id": new.import_id,
        "open": new.is_open,
        "source": new.source,
        "urls": new.urls,
        "trigger": str(new.trigger),
        "state": str(new.state),
        "requested_at": new.requested_at,
        "force": new.force,
        "has_document": new.has_document,
        "is_heavy_feed": new.is_heavy_feed,
        "revision": new.revision,
    }
    if new.started_at is not None:  # absent, not null: a null is below any time for $min
        document["started_at"] = new.started_at
    for name in _ONLY_IF_SET:
        if (value := getattr(new, name)) is not None:
            document[name] = value
    return document


def _to_import(document: Document) -> Import:
    values = {name: document[stored] for name, stored in _REQUIRED.items()}
    values |= {name: document[name] for name in _OPTIONAL if document.get(name) is not None}
    found = read_fields(Import, values)
    check_urls(found.urls)
    return found
