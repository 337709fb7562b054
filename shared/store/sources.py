"""What belongs to a source for ever: its revision counter and its colliding guids."""

from collections.abc import Iterable

from pymongo import ReturnDocument

from shared.store.database import Database, Document, mapped_errors


class SourceStore:
    """Collection ``sources``, ``_id`` = source.

    Documents are never deleted, also when the feed is: a counter that began anew would make all
    new content look old.
    """

    def __init__(self, database: Database) -> None:
        self._sources = database.collection("sources")

    def draw_revision(self, source: str) -> int:
        """Return the next revision of a source: higher than all drawn before, never given twice."""
        return self.draw_revisions(source, 1)[0]

    def draw_revisions(self, source: str, count: int) -> range:
        """Return the next ``count`` revisions of a source, in one round trip."""
        drawn: Document | None = None
        with mapped_errors():
            # None: another one made the document at the same moment; SecantusDB 0.7 answers so.
            # Revisions that were drawn meanwhile are never used, which harms nobody.
            while drawn is None:
                drawn = self._sources.find_one_and_update(
                    {"_id": source},
                    {"$inc": {"revision": count}},
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
        last = int(drawn["revision"])
        return range(last - count + 1, last + 1)

    def read_colliding_guids(self, source: str) -> frozenset[str]:
        """Return the guids that several items of this source were seen to share."""
        with mapped_errors():
            found = self._sources.find_one({"_id": source}, {"colliding_guids": 1}) or {}
        return frozenset(found.get("colliding_guids", ()))

    def add_colliding_guids(self, source: str, guids: Iterable[str]) -> None:
        """Remember colliding guids; once remembered, they stay. Safe to repeat."""
        with mapped_errors():
            self._sources.update_one(
                {"_id": source},
                {"$addToSet": {"colliding_guids": {"$each": sorted(guids)}}},
                upsert=True,
            )
