"""Feed documents that were handed in by a client, kept until their import is closed."""

from bson.binary import Binary
from pymongo import ASCENDING

from shared.store.database import Database, mapped_errors

# Below the 16 MiB that one MongoDB document may have.
PIECE_BYTES = 8 * 1024 * 1024


class DocumentStore:
    """Collection ``import_documents``: the bytes in pieces, ``_id`` = ``<import>#<number>``."""

    def __init__(self, database: Database) -> None:
        self._pieces = database.collection("import_documents")

    def ensure_indexes(self) -> None:
        """Make the index that finds an import's pieces."""
        with mapped_errors():
            self._pieces.create_index([("import_id", ASCENDING), ("number", ASCENDING)])

    def insert(self, import_id: str, body: bytes) -> None:
        """Keep a document; when this returns it survives a crash. Safe to repeat."""
        starts = range(0, max(len(body), 1), PIECE_BYTES)
        for number, start in enumerate(starts):
            piece = {
                "import_id": import_id,
                "number": number,
                "body": Binary(body[start : start + PIECE_BYTES]),
            }
            with mapped_errors():
                self._pieces.replace_one({"_id": f"{import_id}#{number}"}, piece, upsert=True)

    def read(self, import_id: str) -> bytes | None:
        """Return the document, or None when there is none (any more)."""
        with mapped_errors():
            pieces = list(self._pieces.find({"import_id": import_id}).sort("number", ASCENDING))
        return b"".join(piece["body"] for piece in pieces) if pieces else None

    def delete(self, import_id: str) -> None:
        """Forget a document. Safe to repeat."""
        with mapped_errors():
            self._pieces.delete_many({"import_id": import_id})

    def has_any(self) -> bool:
        """Return whether there is any document; one look-up."""
        with mapped_errors():
            return self._pieces.find_one({}, {"_id": True}) is not None

    def read_import_ids(self) -> set[str]:
        """Return the imports that still have a document here."""
        with mapped_errors():
            named = self._pieces.distinct("import_id")
        return {import_id for import_id in named if isinstance(import_id, str)}
