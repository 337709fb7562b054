"""How many items may start, where that was changed while the service runs; and who changed it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from pymongo import errors as mongo_errors

from shared.store.database import Database, Document, map_error, mapped_errors
from shared.store.reading import find_misfits, read_document, read_fields

META = "meta"
LIMITS_ID = "item_limits"
MAX_CHANGES = 100


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """In each item queue ``max_items`` start in each window, of one source ``source_max_items``.

    0 is no limit.
    """

    max_items: int
    duration_ms: int
    source_max_items: int = 0


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A change: who asked for it (``by`` in words, ``client`` by its IP address), and what it did.

    ``is_reset``: back to the values of the environment, which ``after`` then shows.
    """

    at: datetime
    by: str
    client: str
    before: ItemLimits
    after: ItemLimits
    is_reset: bool = False


@dataclass(frozen=True, slots=True)
class StoredLimits:
    """What holds instead of the environment's limits, None for nothing; the last changes.

    ``revision`` is raised by each change; 0: there was none. Changes are newest first.
    """

    revision: int = 0
    limits: ItemLimits | None = None
    changes: Sequence[LimitChange] = field(default=())


class ItemLimitStore:
    """One document of the collection ``meta``: limits and their changes, in one write."""

    def __init__(self, database: Database) -> None:
        self._meta = database.collection(META)

    def read(self) -> StoredLimits:
        """Return what is stored.

        Raises:
            UnreadableDocument: it makes no sense.
        """
        with mapped_errors():
            found = self._meta.find_one({"_id": LIMITS_ID})
        return StoredLimits() if found is None else read_document(META, found, _to_limits)

    def change(self, change: LimitChange, environment: ItemLimits) -> StoredLimits:
        """Store a change, with what held before it; ``environment`` counts where nothing is stored.

        Of two at once the later one holds, and both are in the log, each with what it met: the
        write is guarded, and made again when somebody else's came first.

        Raises:
            UnreadableDocument: what is stored makes no sense.
        """
        while True:
            stored = self.read()
            made = replace(change, before=stored.limits or environment)
            changed = StoredLimits(
                stored.revision + 1,
                None if made.is_reset else made.after,
                [made, *stored.changes][:MAX_CHANGES],
            )
            if self._swap(stored.revision, changed):
                return changed

    def find_misfits(self, limit: int) -> list[str]:
        """Return in words what is wrong with the document, if it cannot be read."""
        with mapped_errors():
            found = list(self._meta.find({"_id": LIMITS_ID}).limit(limit))
        return list(find_misfits(META, found, _to_limits))

    def _swap(self, revision: int, changed: StoredLimits) -> bool:
        seen: Document = {"_id": LIMITS_ID, "revision": revision or {"$exists": False}}
        update = {"$set": asdict(changed)}
        try:
            result = self._meta.update_one(seen, update, upsert=revision == 0)
        except mongo_errors.DuplicateKeyError:
            return False
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc
        return result.matched_count == 1 or result.upserted_id is not None


def _to_limits(document: Document) -> StoredLimits:
    limits = document["limits"]
    return StoredLimits(
        read_fields(StoredLimits, {"revision": document["revision"]}).revision,
        None if limits is None else read_fields(ItemLimits, limits),
        [_to_change(each) for each in document["changes"]],
    )


def _to_change(written: dict[str, Any]) -> LimitChange:
    sides = {name: read_fields(ItemLimits, written[name]) for name in ("before", "after")}
    return read_fields(LimitChange, written | sides)
