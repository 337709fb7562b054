"""A MongoDB in memory, for stores whose acts concern one document."""

from typing import Any, cast

import mongomock

from shared.store.database import Database


class _MemoryDatabase:
    def __init__(self) -> None:
        self._database = mongomock.MongoClient(tz_aware=True).get_database("test")

    def collection(self, name: str) -> Any:
        return self._database[name]


def make_memory_database() -> Database:
    """Return an empty one, which gives out collections as a real one does."""
    return cast("Database", _MemoryDatabase())
