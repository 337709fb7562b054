"""A dead letter: what is recorded of an item that was not stored, and the writes of it. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pymongo import UpdateOne

from shared.models import Rank, get_reader
from shared.store.causes import make_cause
from shared.store.database import Document
from shared.store.reading import read_fields

MAX_HISTORY = 10
# Together with the rest it has to fit into one document; nothing that large can be replayed anyway.
MAX_DATA_BYTES = 8 * 1024 * 1024

# The letter of a lenient reading: only such a one names its reader.
_LENIENT: Document = {"read_by": {"$gt": ""}}

_LETTER_FIELDS = (
    "queue",
    "source",
    "guid",
    "revision",
    "import_id",
    "content_hash",
    "kind",
    "reason",
    "error_type",
    "attempts",
    "failed_at",
)


class LetterKind(StrEnum):
    """Why an item is not stored: it failed for good, or an operator removed it."""

    DEAD = "dead"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class _Outcome:
    revision: int
    import_id: str | None
    kind: LetterKind


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item that was not stored at one revision: to be recorded, or as it is on record.

    ``data`` is the job's data as JSON text, whether or not it can be decoded. On record, the one
    with the highest rank stands; ``history`` holds the last 10 outcomes, oldest first, each
    ``{revision, import_id, content_hash, kind, at}``, the one on top included.
    """

    item_id: str
    queue: str
    source: str
    guid: str
    revision: int
    import_id: str | None
    content_hash: str
    kind: LetterKind
    reason: str
    error_type: str
    attempts: int
    failed_at: datetime
    data: str
    stacktrace: str = ""
    history: list[Document] = field(default_factory=list)
    read_by: str | None = None

    @property
    def cause(self) -> str:
        """What it has in common with others that failed for the same reason."""
        return make_cause(self.error_type, self.reason)

    @property
    def rank(self) -> Rank:
        """The rank of its content: storing one of this or a higher rank outdates it."""
        return Rank(self.read_by is None, self.revision)

    @property
    def import_ids(self) -> set[str]:
        """The imports that it failed in at its revision: its own, and replays of it."""
        ended = (one for one in self._outcomes() if one["revision"] == self.revision)
        return {one["import_id"] for one in ended if one["import_id"] is not None}

    @property
    def history_entry(self) -> Document:
        """Itself as the history holds it."""
        return {
            "revision": self.revision,
            "import_id": self.import_id,
            "content_hash": self.content_hash,
            "kind": str(self.kind),
            "at": self.failed_at,
        }

    def has_failed_at(self, revision: int) -> bool:
        """Return whether a failure (not a removal) at just this revision is on record."""
        return any(
            one["revision"] == revision and one["kind"] == LetterKind.DEAD
            for one in self._outcomes()
        )

    def has_failed_in(self, import_id: str | None, revision: int | None) -> bool:
        """Return whether a failure in this very import is on record: at this revision, or any."""
        return any(
            revision in (None, one["revision"])
            and one["kind"] == LetterKind.DEAD
            and one["import_id"] == import_id
            for one in self._outcomes()
        )

    def removed_since(self, revision: int) -> bool:
        """Return whether an operator removed the item at this revision or a higher one."""
        return any(
            one["revision"] >= revision and one["kind"] == LetterKind.REMOVED
            for one in self._outcomes()
        )

    def has_removed(self, content_hash: str) -> bool:
        """Return whether this content is what an operator removed last, whatever its revision."""
        return self.kind is LetterKind.REMOVED and self.content_hash == content_hash != ""

    def keeps_away(self, revision: int, content_hash: str, stored: Rank | None) -> bool:
        """Return whether an operator's removal keeps content of a revision from being stored.

        ``stored`` is the rank of what is stored: a letter beneath it is only not cleared yet.
        """
        is_current = stored is None or stored < self.rank
        return self.removed_since(revision) or (is_current and self.has_removed(content_hash))

    def _outcomes(self) -> list[Document]:
        """Return the history and what is on top, which lower ones may have pushed out of it."""
        return [*self.history, self.history_entry]


def push_to_history(entry: Document) -> Document:
    """Return what ``$push`` takes to append an entry to the history, cut to its last 10."""
    return {"history": {"$each": [entry], "$slice": -MAX_HISTORY}}


def put_on_top(letter: DeadLetter) -> UpdateOne:
    """Return the write that puts a letter on top of lower ones.

    One there that is not lower makes it a duplicate key, and so does a lenient one of a higher
    revision below a strict one. These have writes of their own: with an `$or` beside the id,
    SecantusDB 0.7 would read all dead letters.
    """
    lower: Document = {"_id": letter.item_id, "revision": {"$lt": letter.revision}}
    if not letter.rank.is_strict:
        lower |= _LENIENT
    return UpdateOne(lower, _raise(letter), upsert=True)


def put_beneath_top(letter: DeadLetter) -> list[UpdateOne]:
    """Return the writes for a letter that was not put on top: it replaces an equal one, or goes
    into the history; a strict one replaces a lenient one of a higher revision.
    """
    unknown = _not_yet_in_history(letter)
    lenient = {"_id": letter.item_id} | _LENIENT
    equal = {"_id": letter.item_id, "revision": letter.revision, "kind": str(LetterKind.DEAD)}
    return [
        *([UpdateOne(lenient | unknown, _raise(letter))] if letter.rank.is_strict else []),
        UpdateOne(equal | unknown, _raise(letter)),
        UpdateOne(
            {"_id": letter.item_id} | unknown, {"$push": push_to_history(letter.history_entry)}
        ),
    ]


def up_to(rank: Rank) -> list[Document]:
    """Return guards, one of which a letter passes whose rank is not above this one."""
    lower: Document = {"revision": {"$lte": rank.revision}}
    return [lower, _LENIENT] if rank.is_strict else [lower | _LENIENT]


def _raise(letter: DeadLetter) -> Document:
    data_bytes = len(letter.data.encode())
    top: dict[str, Any] = {
        **{name: getattr(letter, name) for name in _LETTER_FIELDS},
        "cause": letter.cause,
        "data": letter.data if data_bytes <= MAX_DATA_BYTES else "",
        "data_bytes": data_bytes,
        "stacktrace": letter.stacktrace,
    }
    update: Document = {"$set": top, "$push": push_to_history(letter.history_entry)}
    if letter.read_by is None:
        return update | {"$unset": {"read_by": ""}}
    top["read_by"] = letter.read_by
    return update


def _not_yet_in_history(letter: DeadLetter) -> Document:
    entry = {
        "revision": letter.revision,
        "import_id": letter.import_id,
        "kind": str(letter.kind),
    }
    return {"history": {"$not": {"$elemMatch": entry}}}


def read_letter(document: Document) -> DeadLetter:
    """Return a document as what is on record; data and stack trace may be left out of it.

    Raises:
        KeyError, Misfit: it holds something else.
    """
    letter = read_fields(
        DeadLetter,
        {
            "item_id": document["_id"],
            **{name: document[name] for name in _LETTER_FIELDS},
            "data": document.get("data", ""),
            "stacktrace": document.get("stacktrace", ""),
            "history": document.get("history", []),
            "read_by": get_reader(document),
        },
    )
    for entry in letter.history:
        read_fields(_Outcome, {name: entry[name] for name in ("revision", "import_id", "kind")})
    return letter
