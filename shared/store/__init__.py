"""The record: everything Feedmill keeps in MongoDB, one class a collection.

The only package that knows pymongo. Its exceptions become :class:`~shared.errors.StoreUnavailable`
(try again) or :class:`~shared.errors.StoreError` (will not help). Writes are acknowledged by a
majority and its journals, reads that decide something see only what a majority has.
"""

from shared.states import FeedOrder, ImportState, Trigger
from shared.store.bodies import BodyStore, KeptBody
from shared.store.causes import Cause
from shared.store.database import Database, open_database
from shared.store.dead_letter_documents import DeadLetter, LetterKind
from shared.store.dead_letters import DeadLetterStore
from shared.store.documents import DocumentStore
from shared.store.feed_documents import Deferral, Feed, FeedCounts, StoredValidators
from shared.store.feed_lists import FeedFilter, FeedLists, FeedState
from shared.store.feeds import FeedStore
from shared.store.hosts import HostStore
from shared.store.imports import Import, ImportStore, new_import_id
from shared.store.intervals import (
    BackFill,
    IndexerState,
    IntervalStore,
    OpenInterval,
    Position,
)
from shared.store.item_limits import ItemLimits, ItemLimitStore, LimitChange, StoredLimits
from shared.store.items import ItemStore, ItemWrite, StoredVersion, WriteKind, WriteReport
from shared.store.journal import Chunk, JournalEntry, JournalStore
from shared.store.pages import Page
from shared.store.sources import KnownGuids, SourceStore
from shared.store.stores import MongoReport, Stores, examine_mongodb

__all__ = [
    "BackFill",
    "BodyStore",
    "Cause",
    "Chunk",
    "Database",
    "DeadLetter",
    "DeadLetterStore",
    "Deferral",
    "DocumentStore",
    "Feed",
    "FeedCounts",
    "FeedFilter",
    "FeedLists",
    "FeedOrder",
    "FeedState",
    "FeedStore",
    "HostStore",
    "Import",
    "ImportState",
    "ImportStore",
    "IndexerState",
    "IntervalStore",
    "ItemLimitStore",
    "ItemLimits",
    "ItemStore",
    "ItemWrite",
    "JournalEntry",
    "JournalStore",
    "KeptBody",
    "KnownGuids",
    "LetterKind",
    "LimitChange",
    "MongoReport",
    "OpenInterval",
    "Page",
    "Position",
    "SourceStore",
    "StoredLimits",
    "StoredValidators",
    "StoredVersion",
    "Stores",
    "Trigger",
    "WriteKind",
    "WriteReport",
    "examine_mongodb",
    "new_import_id",
    "open_database",
]
