"""What a MongoDB says of itself, and which of our indexes it lacks. Only reads."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.clock import Clock
from shared.errors import StoreRefused
from shared.store.database import Database
from shared.store.indexes import IndexConflict, IndexReport, compare_indexes
from shared.store.stores import wanted_indexes


@dataclass(frozen=True, slots=True)
class MongoReport:
    """What a MongoDB says of itself.

    ``set_name``: of the replica set, None without one. ``clock_ahead_ms`` is against this
    machine's clock, known to half of ``round_trip_ms``. ``missing_indexes`` as ``items(source,
    -modified_at)``; None where the login may not list indexes.
    """

    version: str
    set_name: str | None
    is_sharded: bool
    is_writable: bool
    clock_ahead_ms: int
    round_trip_ms: int
    missing_indexes: Sequence[str] | None
    index_conflicts: Sequence[IndexConflict] = ()


def examine_mongodb(database: Database, clock: Clock) -> MongoReport:
    """Ask MongoDB about itself.

    Raises:
        StoreError: it does not answer, or refuses.
    """
    version = str(database.ask("buildInfo").get("version", "unknown"))
    asked_ms = clock.now_ms()
    hello = database.ask("hello")
    answered_ms = clock.now_ms()
    indexes = _compare_indexes(database)
    mongodb_ms = int(hello["localTime"].timestamp() * 1000)
    return MongoReport(
        version=version,
        set_name=hello.get("setName"),
        is_sharded=hello.get("msg") == "isdbgrid",
        is_writable=bool(hello.get("isWritablePrimary")),
        clock_ahead_ms=mongodb_ms - (asked_ms + answered_ms) // 2,
        round_trip_ms=answered_ms - asked_ms,
        missing_indexes=None if indexes is None else [str(index) for index in indexes.missing],
        index_conflicts=() if indexes is None else indexes.conflicts,
    )


def _compare_indexes(database: Database) -> IndexReport | None:
    try:
        return compare_indexes(database, wanted_indexes())
    except StoreRefused:
        return None
