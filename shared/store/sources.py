"""What belongs to a source for ever: its revision counter, and what it showed of its guids."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pymongo import errors as mongo_errors

from shared.store.database import Database, Document, map_error, mapped_errors
from shared.store.reading import Misfit, find_misfits, read_document, read_fields

SOURCES = "sources"
# What guids that moved may take up in a source's document; moved ones beyond are found each time.
MAX_ALIASES = 2000
# A source for which it was drawn just now has had no import before.
FIRST_REVISION = 1


@dataclass(frozen=True, slots=True)
class KnownGuids:
    """What a source showed of its guids.

    ``colliding``: those that several items were seen to share. ``aliases``: by the guid that an
    item has today, the one that it has been stored under before and keeps.
    """

    colliding: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Source:
    revision: int | None = None
    colliding_guids: list[str] = field(default_factory=list)
    aliases: list[dict[str, str]] = field(default_factory=list)


class SourceStore:
    """Collection ``sources``, ``_id`` = source.

    Documents are never deleted, also when the feed is: a counter that began anew would make all
    new content look old.
    """

    def __init__(self, database: Database) -> None:
        self._sources = database.collection(SOURCES)

    def draw_revision(self, source: str) -> int:
        """Return the next revision of a source: higher than all drawn before, never given twice."""
        return self.draw_revisions(source, 1)[0]

    def draw_revisions(self, source: str, count: int) -> range:
        """Return the next ``count`` revisions of a source.

        Raises:
            UnreadableDocument: its counter is none.

        A read and a guarded increment, again when somebody else drew in between. Not one
        findAndModify, for which SecantusDB 0.7 reads all sources.
        """
        while True:
            last = self._read_revision(source)
            if self._raise_revision(source, last, count):
                first = FIRST_REVISION if last is None else last + 1
                return range(first, first + count)

    def _read_revision(self, source: str) -> int | None:
        with mapped_errors():
            found = self._sources.find_one({"_id": source}, {"revision": True}) or {}
        return read_document(SOURCES, found, _to_source).revision

    def _raise_revision(self, source: str, last: int | None, count: int) -> bool:
        """Raise the counter by ``count``, only if it still stands at ``last``."""
        seen: Document = {"_id": source, "revision": {"$exists": False} if last is None else last}
        increment: Document = {"$inc": {"revision": count}}
        try:
            result = self._sources.update_one(seen, increment, upsert=last is None)
        except mongo_errors.DuplicateKeyError:
            return False
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc
        return result.matched_count == 1 or result.upserted_id is not None

    def read_known_guids(self, source: str) -> KnownGuids:
        """Return which guids of this source collide, and which items are stored under others.

        Raises:
            UnreadableDocument: what is stored of them makes no sense.
        """
        with mapped_errors():
            found = self._sources.find_one({"_id": source}, {"colliding_guids": 1, "aliases": 1})
        return read_document(SOURCES, found or {}, _to_known_guids)

    def find_misfits(self, limit: int) -> list[str]:
        """Return in words what is wrong with sources that cannot be read; looks at ``limit``."""
        with mapped_errors():
            found = self._sources.find().limit(limit)
            return list(find_misfits(SOURCES, found, _to_known_guids))

    def add_colliding_guids(self, source: str, guids: Iterable[str]) -> None:
        """Remember colliding guids; once remembered, they stay. Safe to repeat."""
        with mapped_errors():
            self._sources.update_one(
                {"_id": source},
                {"$addToSet": {"colliding_guids": {"$each": sorted(guids)}}},
                upsert=True,
            )

    def keep_guid(self, source: str, shared: str, guid: str, stored: str) -> None:
        """Remember that ``shared`` collides, and that the item ``guid`` is stored as ``stored``.

        In one step: a crash between the two would give that item a twin. Does nothing when
        ``shared`` is known to collide, for it was decided then who keeps it.
        """
        alias = {"guid": guid, "stored": stored}
        try:
            self._sources.update_one(
                {"_id": source, "colliding_guids": {"$ne": shared}},
                {"$addToSet": {"colliding_guids": shared, "aliases": alias}},
                upsert=True,
            )
        except mongo_errors.DuplicateKeyError:
            return
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc

    def add_aliases(self, source: str, aliases: Mapping[str, str]) -> None:
        """Remember under which guids items are stored that have others today. Safe to repeat."""
        pairs = [{"guid": guid, "stored": stored} for guid, stored in sorted(aliases.items())]
        with mapped_errors():
            self._sources.update_one(
                {"_id": source}, {"$addToSet": {"aliases": {"$each": pairs}}}, upsert=True
            )


def _to_source(document: Document) -> _Source:
    if document.get("revision", 0) is None:
        raise Misfit("revision is null, which is not a whole number")
    names = ("revision", "colliding_guids", "aliases")
    return read_fields(_Source, {name: document[name] for name in names if name in document})


def _to_known_guids(document: Document) -> KnownGuids:
    source = _to_source(document)
    aliases = {alias["guid"]: alias["stored"] for alias in source.aliases}
    return KnownGuids(frozenset(source.colliding_guids), aliases)
