"""The journal: what open imports still have to store, durable and complete.

An import's chunks are written before it is committed and deleted after it is closed, so that its
items are stored even when Redis and the publisher are gone.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from bson.binary import Binary
from pymongo import ASCENDING

from shared.errors import UnreadableDocument
from shared.models import encode_json, get_reader
from shared.store.database import Database, Document, mapped_errors
from shared.store.reading import Misfit, find_misfits, read_document, read_fields

JOURNAL = "journal"
MAX_CHUNK_ENTRIES = 500
MAX_CHUNK_BYTES = 8 * 1024 * 1024
# The body is written once and read at most a few times: speed counts more than size.
_COMPRESSION_LEVEL = 1
_CHUNK_FIELDS = {
    "chunk_id": "_id",
    "import_id": "import_id",
    "number": "number",
    "item_ids": "ids",
    "revisions": "revisions",
    "hashes": "hashes",
}


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One item to store: its job's data, and what the auditor needs to recognise it.

    ``data_json`` is a JSON object, encoded once for the journal and the queue. ``is_lenient``: a
    lenient reader made it, so that it must not replace a strict reading.
    """

    item_id: str
    revision: int
    content_hash: str
    data_json: bytes
    is_lenient: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk's index: three lists of equal length, one place an entry. The body is read apart.

    ``lenient_ids`` are the ids of the entries that a lenient reader made.
    """

    chunk_id: str
    import_id: str
    number: int
    item_ids: list[str]
    revisions: list[int]
    hashes: list[str]
    lenient_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Index:
    ids: list[str]


class JournalStore:
    """Collection ``journal``, ``_id`` = ``<import>#<revision>#<number>``."""

    def __init__(self, database: Database) -> None:
        self._chunks = database.collection(JOURNAL)

    def ensure_indexes(self) -> None:
        """Make the index that finds an import's chunks."""
        with mapped_errors():
            self._chunks.create_index([("import_id", ASCENDING), ("revision", ASCENDING)])

    def insert_chunk(
        self, import_id: str, revision: int, number: int, entries: Sequence[JournalEntry]
    ) -> None:
        """Write one chunk; when this returns it survives a crash. Safe to repeat.

        ``revision`` is the import's run; the entries carry their own (a replay's are older).
        """
        chunk = {
            "import_id": import_id,
            "revision": revision,
            "number": number,
            "ids": [entry.item_id for entry in entries],
            "revisions": [entry.revision for entry in entries],
            "hashes": [entry.content_hash for entry in entries],
            "lenient_ids": [entry.item_id for entry in entries if entry.is_lenient],
            "body": Binary(zlib.compress(_join(entries), _COMPRESSION_LEVEL)),
        }
        with mapped_errors():
            self._chunks.replace_one(
                {"_id": f"{import_id}#{revision}#{number}"}, chunk, upsert=True
            )

    def chunks(self, import_id: str, revision: int) -> Iterator[Chunk]:
        """Yield the indexes of an import's chunks, in order."""
        with mapped_errors():
            found = list(
                self._chunks.find(
                    {"import_id": import_id, "revision": revision}, {"body": False}
                ).sort("number", ASCENDING)
            )
        yield from (read_document(JOURNAL, document, _to_chunk) for document in found)

    def find_misfits(self, limit: int) -> list[str]:
        """Return in words what is wrong with chunks whose index cannot be read; bodies are not."""
        with mapped_errors():
            found = self._chunks.find({}, {"body": False}).limit(limit)
            return list(find_misfits(JOURNAL, found, _to_chunk))

    def read_entries(self, chunk: Chunk) -> list[JournalEntry]:
        """Return a chunk's entries with their data; empty when the chunk was deleted meanwhile."""
        with mapped_errors():
            found = self._chunks.find_one({"_id": chunk.chunk_id}, {"body": True})
        if found is None:
            return []
        bodies = read_document(JOURNAL, found, _read_bodies)
        if len(bodies) != len(chunk.item_ids):
            reason = f"its body has {len(bodies)} entries, its index {len(chunk.item_ids)}"
            raise UnreadableDocument(JOURNAL, chunk.chunk_id, reason)
        return [
            JournalEntry(
                item_id, revision, content_hash, encode_json(body), get_reader(body) is not None
            )
            for item_id, revision, content_hash, body in zip(
                chunk.item_ids, chunk.revisions, chunk.hashes, bodies, strict=True
            )
        ]

    def read_item_ids(self, import_ids: Iterable[str]) -> set[str]:
        """Return the ids of all items in the journals of these imports, committed or not."""
        with mapped_errors():
            found = list(self._chunks.find({"import_id": {"$in": list(import_ids)}}, {"ids": True}))
        read = (read_document(JOURNAL, chunk, _to_index) for chunk in found)
        return {item_id for index in read for item_id in index.ids}

    def delete(self, import_id: str) -> None:
        """Delete all chunks of an import: only for one that is closed or missing."""
        with mapped_errors():
            self._chunks.delete_many({"import_id": import_id})

    def delete_below(self, import_id: str, revision: int) -> None:
        """Delete the chunks of runs that were overtaken: those with a *lower* revision.

        Not those that merely differ: the import may have been read before its newest run was
        stored in it.
        """
        with mapped_errors():
            self._chunks.delete_many({"import_id": import_id, "revision": {"$lt": revision}})

    def has_any(self) -> bool:
        """Return whether there is any chunk; one look-up."""
        with mapped_errors():
            return self._chunks.find_one({}, {"_id": True}) is not None

    def read_lowest_revisions(self) -> dict[str, int]:
        """Return the imports that have chunks, with the lowest revision of each one's."""
        # No $min: not every server that speaks MongoDB's protocol has it.
        runs = {"$group": {"_id": {"import_id": "$import_id", "revision": "$revision"}}}
        with mapped_errors():
            found = [group["_id"] for group in self._chunks.aggregate([runs])]
        lowest: dict[str, int] = {}
        for run in found:
            revision = run.get("revision")
            if isinstance(revision, int):
                import_id = str(run.get("import_id"))
                lowest[import_id] = min(revision, lowest.get(import_id, revision))
        return lowest


def split_entries(entries: Iterable[JournalEntry]) -> Iterator[list[JournalEntry]]:
    """Cut entries into chunks of at most 500 entries and 8 MiB of JSON (always at least one)."""
    chunk: list[JournalEntry] = []
    size_bytes = 0
    for entry in entries:
        entry_bytes = len(entry.data_json)
        if chunk and (
            len(chunk) == MAX_CHUNK_ENTRIES or size_bytes + entry_bytes > MAX_CHUNK_BYTES
        ):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(entry)
        size_bytes += entry_bytes
    if chunk:
        yield chunk


def _join(entries: Iterable[JournalEntry]) -> bytes:
    """Return the JSON list of what each entry holds."""
    return b"[" + b",".join(entry.data_json for entry in entries) + b"]"


def _to_chunk(document: Document) -> Chunk:
    values = {name: document[stored] for name, stored in _CHUNK_FIELDS.items()}
    # Chunks of versions before 0.2 name none.
    values["lenient_ids"] = document.get("lenient_ids", [])
    chunk = read_fields(Chunk, values)
    if not len(chunk.item_ids) == len(chunk.revisions) == len(chunk.hashes):
        raise Misfit("its lists are not of equal length")
    return chunk


def _to_index(document: Document) -> _Index:
    return read_fields(_Index, {"ids": document["ids"]})


def _read_bodies(document: Document) -> list[dict[str, Any]]:
    try:
        bodies = orjson.loads(zlib.decompress(document["body"]))
    except (zlib.error, TypeError, orjson.JSONDecodeError) as exc:
        raise Misfit(f"its body is damaged: {exc}") from exc
    if not isinstance(bodies, list) or not all(isinstance(body, dict) for body in bodies):
        raise Misfit("its body is no list of items")
    return bodies
