"""How items ended: as it is told and asked for, and as the documents that hold it. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pymongo import UpdateOne

from shared.store.causes import make_cause
from shared.store.database import Document
from shared.store.ranks import Rank, get_reader
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
    "cause",
    "attempts",
    "failed_at",
)


class DeathKind(StrEnum):
    """Who ended an item: its own failure, or an operator."""

    DEAD = "dead"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Death:
    """One end of one item at one revision, to be recorded.

    ``data`` is the job's data as JSON text, whether or not it can be decoded.
    """

    item_id: str
    queue: str
    source: str
    guid: str
    revision: int
    import_id: str | None
    content_hash: str
    kind: DeathKind
    reason: str
    error_type: str
    attempts: int
    failed_at: datetime
    data: str
    stacktrace: str = ""
    read_by: str | None = None

    @property
    def rank(self) -> Rank:
        """The rank of the content that ended."""
        return Rank(self.read_by is None, self.revision)


@dataclass(frozen=True, slots=True)
class _End:
    revision: int
    import_id: str | None
    kind: DeathKind


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is on record about an item's ends: the one with the highest rank, and the history.

    ``history`` holds the last 10 ends, oldest first, each ``{revision, import_id, content_hash,
    kind, at}``, the one on top included.
    """

    item_id: str
    queue: str
    source: str
    guid: str
    revision: int
    import_id: str | None
    content_hash: str
    kind: DeathKind
    reason: str
    error_type: str
    cause: str
    attempts: int
    failed_at: datetime
    data: str
    stacktrace: str
    history: list[Document] = field(default_factory=list)
    read_by: str | None = None

    @property
    def rank(self) -> Rank:
        """The rank of the content that ended: storing one of this or a higher rank outdates it."""
        return Rank(self.read_by is None, self.revision)

    def died_at(self, revision: int) -> bool:
        """Tell whether a death (not a removal) of just this revision is on record."""
        return any(
            end["revision"] == revision and end["kind"] == DeathKind.DEAD for end in self._ends()
        )

    def died_in(self, import_id: str | None, revision: int) -> bool:
        """Tell whether a death of this revision in this very import is on record."""
        return any(
            end["revision"] == revision
            and end["kind"] == DeathKind.DEAD
            and end["import_id"] == import_id
            for end in self._ends()
        )

    def removed_since(self, revision: int) -> bool:
        """Tell whether an operator removed the item at this revision or a higher one."""
        return any(
            end["revision"] >= revision and end["kind"] == DeathKind.REMOVED for end in self._ends()
        )

    def _ends(self) -> list[Document]:
        """Return the history and the end on top, which lower ones may have pushed out of it."""
        top = make_end(self.revision, self.import_id, self.content_hash, self.kind, self.failed_at)
        return [*self.history, top]


def make_end(
    revision: int, import_id: str | None, content_hash: str, kind: DeathKind, at: datetime
) -> Document:
    """Return one end as the history holds it."""
    return {
        "revision": revision,
        "import_id": import_id,
        "content_hash": content_hash,
        "kind": str(kind),
        "at": at,
    }


def _push_end(death: Death) -> Document:
    end = make_end(death.revision, death.import_id, death.content_hash, death.kind, death.failed_at)
    return {"history": {"$each": [end], "$slice": -MAX_HISTORY}}


def put_on_top(death: Death) -> UpdateOne:
    """Return the write that puts an end on top of lower ones.

    One there that is not lower makes it a duplicate key, and so does a lenient one of a higher
    revision below a strict one. These have writes of their own: with an `$or` beside the id,
    SecantusDB 0.7 would read all dead letters.
    """
    lower: Document = {"_id": death.item_id, "revision": {"$lt": death.revision}}
    if not death.rank.is_strict:
        lower |= _LENIENT
    return UpdateOne(lower, _raise(death), upsert=True)


def put_beneath_top(death: Death) -> list[UpdateOne]:
    """Return the writes for an end that was not put on top: it replaces an equal death, or goes
    into the history; a strict one replaces a lenient one of a higher revision.
    """
    unknown = _not_yet_in_history(death)
    lenient = {"_id": death.item_id} | _LENIENT
    equal = {"_id": death.item_id, "revision": death.revision, "kind": str(DeathKind.DEAD)}
    return [
        *([UpdateOne(lenient | unknown, _raise(death))] if death.rank.is_strict else []),
        UpdateOne(equal | unknown, _raise(death)),
        UpdateOne({"_id": death.item_id} | unknown, {"$push": _push_end(death)}),
    ]


def up_to(rank: Rank) -> list[Document]:
    """Return guards, one of which a letter passes whose rank is not above this one."""
    lower: Document = {"revision": {"$lte": rank.revision}}
    return [lower, _LENIENT] if rank.is_strict else [lower | _LENIENT]


def _raise(death: Death) -> Document:
    data_bytes = len(death.data.encode())
    top: dict[str, Any] = {
        "queue": death.queue,
        "source": death.source,
        "guid": death.guid,
        "revision": death.revision,
        "import_id": death.import_id,
        "content_hash": death.content_hash,
        "kind": str(death.kind),
        "reason": death.reason,
        "error_type": death.error_type,
        "cause": make_cause(death.error_type, death.reason),
        "attempts": death.attempts,
        "failed_at": death.failed_at,
        "data": death.data if data_bytes <= MAX_DATA_BYTES else "",
        "data_bytes": data_bytes,
        "stacktrace": death.stacktrace,
    }
    update: Document = {"$set": top, "$push": _push_end(death)}
    if death.read_by is None:
        return update | {"$unset": {"read_by": ""}}
    top["read_by"] = death.read_by
    return update


def _not_yet_in_history(death: Death) -> Document:
    end = {
        "revision": death.revision,
        "import_id": death.import_id,
        "kind": str(death.kind),
    }
    return {"history": {"$not": {"$elemMatch": end}}}


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
    for end in letter.history:
        read_fields(_End, {name: end[name] for name in ("revision", "import_id", "kind")})
    return letter
