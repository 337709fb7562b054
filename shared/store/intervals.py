"""Indexers: who gives out the intervals of what, and which of them are still open."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from pymongo import ASCENDING
from pymongo import errors as mongo_errors

from shared.store.database import Database, Document, find_by_ids, map_error, mapped_errors
from shared.store.reading import (
    Misfit,
    find_misfits,
    read_document,
    read_fields,
    read_those_that_fit,
)

INTERVALS = "intervals"
# A time (UTC, whole milliseconds), a number (of a page, of a sequence), or a text of the user's.
Position: TypeAlias = datetime | int | str


@dataclass(frozen=True, slots=True)
class OpenInterval:
    """An interval that was handed out and has not come to its end.

    ``taken_at`` is when. ``tries`` counts the imports of it that failed; ``retry_at`` is when the
    next one begins, if it has to wait for that.
    """

    start: Any
    ended: Any
    epoch: int
    taken_at: datetime
    tries: int = 0
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BackFill:
    """What a back-fill's indexer knows beside its cursor.

    It goes from ``starts_at`` to ``until`` (None: to where the publisher's pages end). ``step`` is
    how, as it was when it began. ``outcome`` says why it ended: ``done``, ``cancelled``, or what
    went wrong. ``recent`` holds the times of its last ends, for the time that is left.
    ``next_url`` and ``seen`` (short hashes of URLs) are for pages, and so is
    ``content_revision``: the revision that their items have.
    """

    starts_at: Any
    until: Any
    step: Document
    started_at: datetime
    is_paused: bool = False
    is_ended: bool = False
    outcome: str | None = None
    ended_at: datetime | None = None
    done: int = 0
    failed: int = 0
    items: int = 0
    new: int = 0
    dead: int = 0
    recent: list[datetime] = field(default_factory=list)
    next_url: str | None = None
    seen: list[str] = field(default_factory=list)
    content_revision: int | None = None


@dataclass(frozen=True, slots=True)
class IndexerState:
    """One indexer as stored; whoever changes it replaces all of it, or nothing.

    ``cursor`` is where the next interval starts. Intervals of an epoch lower than ``epoch`` are
    stale; those of ``settled_epoch`` and above may still be worked on, those below are not, and
    ``rolled_back_to`` is the target of a rollback until that is so. ``is_active`` is False once its
    feed is deleted. ``due_at`` is when a dispatcher has to look at it. ``history`` holds the last
    back-fills that ended, ``takes`` the last intervals that a program took, each with its tag.
    """

    name: str
    source: str
    epoch: int
    cursor: Any
    version: int = 1
    settled_epoch: int = 0
    open: tuple[OpenInterval, ...] = ()
    rolled_back_to: Any = None
    is_active: bool = True
    next_take_at: datetime | None = None
    due_at: datetime | None = None
    backfill: BackFill | None = None
    history: list[Document] = field(default_factory=list)
    takes: list[Document] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Epoch:
    epoch: int


_PLAIN_FIELDS = (
    "source",
    "epoch",
    "cursor",
    "version",
    "settled_epoch",
    "rolled_back_to",
    "is_active",
    "next_take_at",
    "due_at",
    "history",
    "takes",
)


class IntervalStore:
    """Collection ``intervals``, ``_id`` = the indexer's name.

    Documents are never deleted, also when a feed is: an epoch that began anew would make what is
    stale look valid.
    """

    def __init__(self, database: Database) -> None:
        self._indexers = database.collection(INTERVALS)

    def ensure_indexes(self) -> None:
        """Make the indexes of the search for due ones, and for those of a source."""
        with mapped_errors():
            self._indexers.create_index([("due_at", ASCENDING)])
            self._indexers.create_index([("source", ASCENDING)])

    def get(self, name: str) -> IndexerState | None:
        """Return one indexer.

        Raises:
            UnreadableDocument: somebody has spoilt it.
        """
        with mapped_errors():
            found = self._indexers.find_one({"_id": name})
        return read_document(INTERVALS, found, _to_state) if found is not None else None

    def read_many(self, names: Iterable[str]) -> dict[str, IndexerState]:
        """Return those of these indexers that are there and can be read, by name."""
        found = find_by_ids(self._indexers, names)
        return {each.name: each for each in read_those_that_fit(INTERVALS, found, _to_state)}

    def read_epochs(self, names: Iterable[str]) -> dict[str, int]:
        """Return the epochs of those of these indexers that are there; one round trip a hundred.

        Raises:
            UnreadableDocument: one of them is no whole number.
        """
        found = find_by_ids(self._indexers, names, {"epoch": True})
        return {each["_id"]: read_document(INTERVALS, each, _to_epoch) for each in found}

    def find_due(self, now: datetime, limit: int) -> list[IndexerState]:
        """Return indexers that a dispatcher has to look at, the longest due first."""
        with mapped_errors():
            # `$lte` compares with dates alone: null is of another type.
            found = self._indexers.find({"due_at": {"$lte": now}})
            first = list(found.sort("due_at", ASCENDING).limit(limit))
        return list(read_those_that_fit(INTERVALS, first, _to_state))

    def find_backfills(self) -> list[IndexerState]:
        """Return the indexers of all back-fills that have not ended; reads the whole collection."""
        with mapped_errors():
            found = list(self._indexers.find({"backfill.is_ended": False}))
        return list(read_those_that_fit(INTERVALS, found, _to_state))

    def insert(self, state: IndexerState) -> bool:
        """Insert an indexer; False when one of its name is there already."""
        try:
            self._indexers.insert_one(_to_document(state))
        except mongo_errors.DuplicateKeyError:
            return False
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc
        return True

    def swap(self, seen: IndexerState, new: IndexerState) -> IndexerState | None:
        """Replace an indexer if it still is as ``seen``; return it as stored, None if it is not.

        One guarded write. When its answer is lost, the caller's next try finds it changed.
        """
        document = _to_document(replace(new, name=seen.name, version=seen.version + 1))
        with mapped_errors():
            result = self._indexers.replace_one(
                {"_id": seen.name, "version": seen.version}, document
            )
        return _to_state(document) if result.matched_count == 1 else None

    def find_misfits(self, limit: int) -> list[str]:
        """Return in words what is wrong with indexers that cannot be read; looks at ``limit``."""
        with mapped_errors():
            return list(find_misfits(INTERVALS, self._indexers.find().limit(limit), _to_state))


def _to_document(state: IndexerState) -> Document:
    return {
        "_id": state.name,
        **{name: getattr(state, name) for name in _PLAIN_FIELDS},
        "open": [_fields_of(each) for each in state.open],
        "backfill": _fields_of(state.backfill) if state.backfill is not None else None,
    }


def _fields_of(value: OpenInterval | BackFill) -> Document:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _to_epoch(document: Document) -> int:
    return read_fields(_Epoch, {"epoch": document["epoch"]}).epoch


def _to_state(document: Document) -> IndexerState:
    values: dict[str, Any] = {name: document[name] for name in ("source", "epoch", "cursor")}
    values |= {name: document[name] for name in _PLAIN_FIELDS if document.get(name) is not None}
    backfill = document.get("backfill")
    plain = read_fields(IndexerState, {"name": document["_id"], **values})
    return replace(
        plain,
        open=_read_open(document.get("open") or ()),
        backfill=_read_backfill(backfill) if backfill is not None else None,
    )


def _read_open(entries: Sequence[Mapping[str, Any]]) -> tuple[OpenInterval, ...]:
    if not isinstance(entries, list | tuple):
        raise Misfit("open is not a list")
    return tuple(read_fields(OpenInterval, dict(entry)) for entry in entries)


def _read_backfill(fields: Mapping[str, Any]) -> BackFill:
    return read_fields(BackFill, dict(fields))
