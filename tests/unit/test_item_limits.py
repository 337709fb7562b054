"""Limits of items started that were changed: what is stored of them, and what queues get."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.errors import UnreadableDocument
from shared.item_limits import (
    UNLIMITED,
    CurrentLimits,
    describe_limits,
    read_or_ignore,
    split_window,
)
from shared.queue import GroupLimit, RateLimit
from shared.store import ItemLimits, ItemLimitStore, LimitChange, StoredLimits
from shared.store.database import Database
from shared.store.item_limits import LIMITS_ID, MAX_CHANGES
from tests.memory_database import make_memory_database

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ENVIRONMENT = ItemLimits(100, 1000)


@pytest.fixture
def database() -> Database:
    return make_memory_database()


def change(store: ItemLimitStore, max_items: int, **fields: Any) -> StoredLimits:
    after = ItemLimits(max_items, 1000)
    made = LimitChange(NOW, "API key", "10.0.0.7", ENVIRONMENT, after, **fields)
    return store.change(made, ENVIRONMENT)


def test_nothing_is_stored_before_the_first_change(database: Database) -> None:
    assert ItemLimitStore(database).read() == StoredLimits()


def test_a_change_is_read_back_with_who_made_it_and_what_it_met(database: Database) -> None:
    store = ItemLimitStore(database)
    change(store, 50)
    change(store, 70)
    stored = store.read()
    assert (stored.revision, stored.limits) == (2, ItemLimits(70, 1000))
    assert [(one.before.max_items, one.after.max_items) for one in stored.changes] == [
        (50, 70),
        (100, 50),
    ]
    assert (stored.changes[0].by, stored.changes[0].client) == ("API key", "10.0.0.7")
    assert stored.changes[0].at == NOW


def test_a_reset_leaves_no_limit_but_its_change(database: Database) -> None:
    store = ItemLimitStore(database)
    change(store, 50)
    change(store, 100, is_reset=True)
    stored = store.read()
    assert (stored.revision, stored.limits) == (2, None)
    assert stored.changes[0].is_reset


def test_the_log_of_changes_is_bounded(database: Database) -> None:
    store = ItemLimitStore(database)
    for number in range(1, MAX_CHANGES + 6):
        change(store, number)
    stored = store.read()
    assert len(stored.changes) == MAX_CHANGES
    assert stored.changes[0].after.max_items == MAX_CHANGES + 5


def test_of_changes_at_once_the_last_holds_and_all_are_in_the_log(database: Database) -> None:
    store = ItemLimitStore(database)
    begin = threading.Barrier(4)

    def act(number: int) -> None:
        begin.wait()
        change(store, number)

    threads = [threading.Thread(target=act, args=(number,)) for number in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = store.read()
    made = [one.after.max_items for one in reversed(stored.changes)]
    assert sorted(made) == [1, 2, 3, 4]
    assert [one.before.max_items for one in reversed(stored.changes)] == [100, *made[:-1]]
    assert stored.limits == ItemLimits(made[-1], 1000)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"revision": 1},
        {"revision": 1, "limits": {"max_items": "many"}, "changes": []},
        {"revision": 1, "limits": {"max_items": 5}, "changes": []},
        {"revision": 1, "limits": None, "changes": [{"at": NOW}]},
    ],
)
def test_a_spoilt_document_is_reported_and_holds_for_nothing(
    database: Database, spoilt: dict[str, Any]
) -> None:
    database.collection("meta").insert_one({"_id": LIMITS_ID, **spoilt})
    store = ItemLimitStore(database)
    with pytest.raises(UnreadableDocument, match=LIMITS_ID):
        store.read()
    assert read_or_ignore(store) == StoredLimits()
    assert LIMITS_ID in store.find_misfits(5)[0]


def test_each_partition_has_its_share_and_one_item_at_least() -> None:
    current = CurrentLimits(ItemLimits(10, 2000, 3))
    assert current.of_partition(1) == RateLimit(10, 2000)
    assert current.of_partition(4) == RateLimit(2, 2000)
    assert current.of_partition(64) == RateLimit(1, 2000)
    assert current.of_source() == GroupLimit(3, 2000, "source")


def test_no_limit_that_was_chosen_holds_over_the_limits_of_workers() -> None:
    unlimited = ItemLimits(0, 1000)
    assert CurrentLimits(unlimited).of_partition(1) is None
    assert CurrentLimits(unlimited, is_changed=True).of_partition(4) == UNLIMITED
    assert CurrentLimits(unlimited, is_changed=True).of_queue() is None


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ((100, 1000, 0), "100 items per second"),
        ((1000, 500, 5), "1,000 items per 500 milliseconds, 5 of one source"),
        ((0, 60_000, 0), "no limit"),
        ((0, 60_000, 3), "no limit, 3 of one source per minute"),
        ((7, 7_200_000, 0), "7 items per 2 hours"),
    ],
)
def test_limits_are_described_in_words(limits: tuple[int, int, int], text: str) -> None:
    assert describe_limits(ItemLimits(*limits)) == text


def test_a_window_is_split_into_the_largest_unit_that_fits() -> None:
    assert split_window(90_000) == (90, 1000)
    assert split_window(1500) == (1500, 1)
    assert split_window(86_400_000) == (24, 3_600_000)
