"""All stores of one database, made together; and what its MongoDB reports of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from shared.clock import Clock
from shared.errors import StoreRefused
from shared.store.bodies import BodyStore
from shared.store.database import Database, Document, mapped_errors
from shared.store.dead_letters import DeadLetterStore
from shared.store.documents import DocumentStore
from shared.store.feed_lists import FeedLists
from shared.store.feeds import FeedStore
from shared.store.hosts import HostStore
from shared.store.imports import ImportStore
from shared.store.indexes import (
    IndexConflict,
    IndexPlan,
    IndexReport,
    WantedIndex,
    compare_indexes,
    make_indexes,
)
from shared.store.intervals import IntervalStore
from shared.store.item_limits import ItemLimitStore
from shared.store.items import ItemStore
from shared.store.journal import JournalStore
from shared.store.sources import SourceStore

COLLECTIONS = (
    "feeds",
    "hosts",
    "sources",
    "imports",
    "journal",
    "import_documents",
    "intervals",
    "bodies",
    "items",
    "dead_letters",
    "meta",
)
_INCARNATION_ID = "redis_incarnation"
_PROBE_ID = "write_probe"
_NEVER_THERE_ID = "delete_probe"


@dataclass(frozen=True, slots=True)
class Stores:
    """The record as a whole. Safe for threads."""

    database: Database
    feeds: FeedStore
    feed_lists: FeedLists
    hosts: HostStore
    sources: SourceStore
    imports: ImportStore
    journal: JournalStore
    documents: DocumentStore
    intervals: IntervalStore
    bodies: BodyStore
    items: ItemStore
    dead_letters: DeadLetterStore
    item_limits: ItemLimitStore

    @classmethod
    def of(cls, database: Database) -> "Stores":
        """Make all stores of a database; nothing is read or written yet."""
        return cls(
            database=database,
            feeds=FeedStore(database),
            feed_lists=FeedLists(database),
            hosts=HostStore(database),
            sources=SourceStore(database),
            imports=ImportStore(database),
            journal=JournalStore(database),
            documents=DocumentStore(database),
            intervals=IntervalStore(database),
            bodies=BodyStore(database),
            items=ItemStore(database),
            dead_letters=DeadLetterStore(database),
            item_limits=ItemLimitStore(database),
        )

    def ensure_indexes(self) -> None:
        """Make all indexes that are missing. Safe to repeat, and for several servers at once.

        One that is there under another name is as good. One round trip a collection when none is
        missing.

        Raises:
            StoreError: one is there with other options, or cannot be made; the text is one line
                that names it and says what to do.
        """
        make_indexes(self.database, wanted_indexes())

    def check_rights(self, now: datetime) -> None:
        """Read, write and delete something small, as all that follows does.

        Raises:
            StoreRefused: the login may not.
            StoreUnavailable: writes do not succeed.
        """
        self.probe_write(now)
        with mapped_errors():
            meta = self.database.collection("meta")
            meta.find_one({"_id": _PROBE_ID})
            meta.delete_one({"_id": _NEVER_THERE_ID})

    def find_misfits(self, limit: int) -> list[str]:
        """Return in words what is wrong with documents that cannot be read.

        Looks at ``limit`` documents of each kind that anybody is likely to change by hand.
        """
        kinds = (
            self.feeds,
            self.imports,
            self.intervals,
            self.sources,
            self.dead_letters,
            self.journal,
            self.item_limits,
        )
        return [text for store in kinds for text in store.find_misfits(limit)]

    def probe_write(self, now: datetime) -> None:
        """Write something small with the path's guarantees, to learn whether writes succeed.

        Raises:
            StoreUnavailable: they do not.
        """
        with mapped_errors():
            self.database.collection("meta").update_one(
                {"_id": _PROBE_ID}, {"$set": {"at": now}}, upsert=True
            )

    def read_incarnation(self) -> str | None:
        """Return the incarnation of Redis that this record has last been matched with."""
        with mapped_errors():
            found = self.database.collection("meta").find_one({"_id": _INCARNATION_ID})
        value = found.get("value") if found is not None else None
        return value if isinstance(value, str) else None

    def store_incarnation(self, value: str) -> None:
        """Remember which incarnation of Redis holds all that this record asks for."""
        update: Document = {"$set": {"value": value}}
        with mapped_errors():
            self.database.collection("meta").update_one(
                {"_id": _INCARNATION_ID}, update, upsert=True
            )


def wanted_indexes() -> list[WantedIndex]:
    """Return the indexes that the stores ask for: no second list that could differ."""
    plan = IndexPlan()
    stores = Stores.of(cast("Database", plan))
    for store in (
        stores.feeds,
        stores.hosts,
        stores.imports,
        stores.journal,
        stores.documents,
        stores.intervals,
        stores.bodies,
        stores.items,
        stores.dead_letters,
    ):
        store.ensure_indexes()
    return plan.wanted


@dataclass(frozen=True, slots=True)
class MongoReport:
    """What a MongoDB reports of itself.

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
