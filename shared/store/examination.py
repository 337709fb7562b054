"""What a MongoDB says of itself, and which of our indexes it lacks. Only reads."""

from dataclasses import dataclass
from typing import Any, cast

from pymongo.collection import Collection

from shared.clock import Clock
from shared.store.database import Database, Document, mapped_errors
from shared.store.stores import COLLECTIONS, Stores


@dataclass(frozen=True, slots=True)
class MongoReport:
    """What a MongoDB says of itself.

    ``set_name``: of the replica set, None without one. ``clock_ahead_ms`` is against this
    machine's clock, known to half of ``round_trip_ms``. ``missing_indexes`` as ``items(source,
    -modified_at)``.
    """

    version: str
    set_name: str | None
    is_sharded: bool
    is_writable: bool
    clock_ahead_ms: int
    round_trip_ms: int
    missing_indexes: list[str]


def examine_mongodb(database: Database, clock: Clock) -> MongoReport:
    """Ask MongoDB about itself.

    Raises:
        StoreError: it does not answer, or refuses.
    """
    version = str(database.ask("buildInfo").get("version", "unknown"))
    asked_ms = clock.now_ms()
    hello = database.ask("hello")
    answered_ms = clock.now_ms()
    mongodb_ms = int(hello["localTime"].timestamp() * 1000)
    return MongoReport(
        version=version,
        set_name=hello.get("setName"),
        is_sharded=hello.get("msg") == "isdbgrid",
        is_writable=bool(hello.get("isWritablePrimary")),
        clock_ahead_ms=mongodb_ms - (asked_ms + answered_ms) // 2,
        round_trip_ms=answered_ms - asked_ms,
        missing_indexes=find_missing_indexes(database),
    )


def find_missing_indexes(database: Database) -> list[str]:
    """Return the indexes that ``Stores.ensure_indexes`` would make, had it to make them."""
    plan = _IndexPlan()
    # The stores say what they need by asking for it: no second list that could differ.
    Stores.of(cast("Database", plan)).ensure_indexes()
    missing: list[str] = []
    for name in COLLECTIONS:
        with mapped_errors():
            present = [
                list(each["key"].items()) for each in database.collection(name).list_indexes()
            ]
        missing += [_name(name, keys) for keys in plan.wanted(name) if keys not in present]
    return missing


class _IndexPlan:
    """A database that makes no indexes, but notes which ones were to be made."""

    def __init__(self) -> None:
        self._collections: dict[str, _PlannedCollection] = {}

    def collection(self, name: str) -> Collection[Document]:
        planned = self._collections.setdefault(name, _PlannedCollection())
        return cast("Collection[Document]", planned)

    def wanted(self, name: str) -> list[list[tuple[str, Any]]]:
        return self._collections[name].indexes if name in self._collections else []


class _PlannedCollection:
    def __init__(self) -> None:
        self.indexes: list[list[tuple[str, Any]]] = []

    def create_index(self, keys: list[tuple[str, Any]], **_options: object) -> None:
        self.indexes.append(list(keys))


def _name(collection: str, keys: list[tuple[str, Any]]) -> str:
    fields = (f"-{field}" if order == -1 else field for field, order in keys)
    return f"{collection}({', '.join(fields)})"
