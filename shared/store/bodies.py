"""Kept bodies: what publishers answered last, so that it can be imported again without them."""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bson.binary import Binary
from pymongo import ASCENDING, DESCENDING

from shared.store.database import Database, Document, mapped_errors
from shared.store.reading import read_document, read_fields

BODIES = "bodies"
_KEY_LENGTH = 32
# What is read of a body that is about to go.
_LIFE = {"revision": True, "reparsed": True}
# As many reparses of one body are remembered.
_MAX_REPARSED = 100


@dataclass(frozen=True, slots=True)
class KeptBody:
    """One distinct body of a source, compressed with zlib.

    ``url`` is without secrets, empty for a handed-in document. ``revision`` and ``import_id`` are
    of the last import that read it. ``indexer`` and ``start`` say which interval it answered, if
    it was one's. ``size`` is the length of the body before compression. ``reparsed`` are the
    revisions of the imports that read it again from here: what they stored is no newer than it, as
    long as every later body that they read is kept too.
    """

    source: str
    url: str
    revision: int
    import_id: str
    fetched_at: datetime
    size: int
    body: bytes
    content_type: str | None = None
    final_url: str | None = None
    indexer: str | None = None
    start: Any = None
    reparsed: list[int] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The id under which it is stored: the same for the same body of the same URL."""
        digest = hashlib.sha256(self.url.encode() + b"\n" + self.body).hexdigest()
        return f"{self.source}#{digest[:_KEY_LENGTH]}"

    def read(self) -> bytes:
        """Return the body itself."""
        return zlib.decompress(self.body)


class BodyStore:
    """Collection ``bodies``."""

    def __init__(self, database: Database) -> None:
        self._bodies = database.collection(BODIES)

    def ensure_indexes(self) -> None:
        """Make the index of a source's bodies, latest read first."""
        with mapped_errors():
            self._bodies.create_index([("source", ASCENDING), ("revision", DESCENDING)])

    def keep(self, body: KeptBody, most: int) -> None:
        """Keep a body, and the ``most`` that were read last of its URL, or of its indexer.

        Safe to repeat. A body that is kept already is not written twice; its revision never falls.
        One write and one read, and another write where an older body goes.
        """
        document: Document = {
            name: getattr(body, name)
            for name in body.__dataclass_fields__
            if name not in ("body", "revision")
        }
        update: Document = {
            "$set": document,
            "$max": {"revision": body.revision},
            "$setOnInsert": {"body": Binary(body.body)},
        }
        # Each interval has a URL of its own.
        place = {"url": body.url} if body.indexer is None else {}
        alike: Document = {"source": body.source, "indexer": body.indexer, **place}
        with mapped_errors():
            self._bodies.update_one({"_id": body.key}, update, upsert=True)
            kept = self._bodies.find(alike, _LIFE).sort("revision", DESCENDING)
            self._delete(body.source, list(kept.skip(most)))

    def find_keys(self, source: str, since: datetime) -> list[str]:
        """Return the keys of a source's bodies fetched at ``since`` or later, latest read first."""
        query: Document = {"source": source, "fetched_at": {"$gte": since}}
        with mapped_errors():
            found = self._bodies.find(query, {"_id": True}).sort("revision", DESCENDING)
            return [each["_id"] for each in found]

    def get(self, key: str) -> KeptBody | None:
        """Return one body; None if it is gone.

        Raises:
            UnreadableDocument: it does not fit.
        """
        with mapped_errors():
            found = self._bodies.find_one({"_id": key})
        return None if found is None else read_document(BODIES, found, _to_body)

    def note_reparsed(self, keys: Iterable[str], revision: int) -> None:
        """Note that an import of this revision reads these again. Safe to repeat."""
        pushed = {"$each": [revision], "$slice": -_MAX_REPARSED}
        with mapped_errors():
            self._bodies.update_many({"_id": {"$in": list(keys)}}, {"$push": {"reparsed": pushed}})

    def delete(self, source: str) -> None:
        """Delete all bodies of a source. Safe to repeat."""
        with mapped_errors():
            self._bodies.delete_many({"source": source})

    def delete_from(self, source: str, indexer: str, start: Any, until: Any = None) -> None:
        """Delete those that answered an indexer's intervals from one position to before another.

        None: to the last. Safe to repeat.
        """
        # `$gte` compares with positions of the same kind alone.
        bounds = {"$gte": start} | ({} if until is None else {"$lt": until})
        query: Document = {"source": source, "indexer": indexer, "start": bounds}
        with mapped_errors():
            self._delete(source, list(self._bodies.find(query, _LIFE)))

    def _delete(self, source: str, gone: Sequence[Document]) -> None:
        """Delete some of a source's bodies, given by what ``_LIFE`` names.

        What a reparse stored may be from one of them: of the earlier bodies that it read too, none
        may take that for its own any more. First that, so that a crash in between reverts nothing.
        """
        for each in gone:
            if reparsed := each.get("reparsed"):
                earlier: Document = {"source": source, "revision": {"$lt": each["revision"]}}
                update: Document = {"$pull": {"reparsed": {"$in": reparsed}}}
                self._bodies.update_many(earlier, update)
        if gone:
            self._bodies.delete_many({"_id": {"$in": [each["_id"] for each in gone]}})


def _to_body(document: Document) -> KeptBody:
    names = KeptBody.__dataclass_fields__
    values = {name: value for name, value in document.items() if name in names}
    return read_fields(KeptBody, {**values, "body": bytes(document["body"])})
