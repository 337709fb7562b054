"""The documents of indexers: guarded, found when they are due, and never trusted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import UnreadableDocument
from shared.store.database import Database
from shared.store.intervals import BackFill, IndexerState, IntervalStore, OpenInterval
from tests.memory_database import make_memory_database

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FULL = IndexerState(
    "lwn#backfill",
    "lwn",
    epoch=3,
    cursor=NOON,
    settled_epoch=2,
    open=(OpenInterval(NOON - HOUR, NOON, 3, NOON, tries=2, retry_at=NOON + HOUR),),
    rolled_back_to=NOON - HOUR,
    next_take_at=NOON,
    due_at=NOON + HOUR,
    backfill=BackFill(NOON - HOUR, NOON, {"step_s": 60}, NOON, done=1, recent=[NOON]),
    history=[{"items": 5}],
    takes=[{"tag": "a", "start": 1, "ended": 2, "epoch": 3}],
)


@pytest.fixture
def database() -> Database:
    return make_memory_database()


@pytest.fixture
def store(database: Database) -> IntervalStore:
    return IntervalStore(database)


def test_an_indexer_is_read_as_it_was_written(store: IntervalStore) -> None:
    assert store.insert(FULL)
    assert not store.insert(replace(FULL, epoch=9))
    assert store.get("lwn#backfill") == FULL
    assert store.read_many(["lwn#backfill", "other"]) == {"lwn#backfill": FULL}
    assert store.read_epochs(["lwn#backfill", "other"]) == {"lwn#backfill": 3}


def test_of_two_that_replace_the_same_version_the_second_has_changed_nothing(
    store: IntervalStore,
) -> None:
    store.insert(FULL)
    first = store.swap(FULL, replace(FULL, epoch=4, open=()))
    assert first == replace(FULL, epoch=4, open=(), version=2)
    assert store.swap(FULL, replace(FULL, epoch=5)) is None
    assert store.get("lwn#backfill") == first


def test_those_that_are_due_are_found_the_longest_due_first(store: IntervalStore) -> None:
    for name, due_at in [("b", NOON), ("a", NOON - HOUR), ("later", NOON + HOUR), ("own", None)]:
        store.insert(IndexerState(name, name, epoch=1, cursor=1, due_at=due_at))
    assert [each.name for each in store.find_due(NOON, 10)] == ["a", "b"]
    assert [each.name for each in store.find_due(NOON, 1)] == ["a"]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("epoch", "three", "epoch is 'three'"),
        ("open", "none", "open is not a list"),
        ("open", [{"start": 1}], "missing 3 required"),
        ("open", [5], "not iterable"),
        ("due_at", 7, "due_at is '7'"),
        ("backfill", {"done": "many"}, "done is 'many'"),
    ],
)
def test_one_that_was_spoilt_by_hand_costs_no_other(
    store: IntervalStore, database: Database, field: str, value: Any, reason: str
) -> None:
    store.insert(FULL)
    store.insert(replace(FULL, name="sound"))
    found = database.collection("intervals")
    found.update_one({"_id": "lwn#backfill"}, {"$set": {field: value}})
    with pytest.raises(UnreadableDocument, match=reason):
        store.get("lwn#backfill")
    assert store.read_epochs(["sound"]) == {"sound": 3}
    assert list(store.read_many(["lwn#backfill", "sound"])) == ["sound"]
    [misfit] = store.find_misfits(10)
    assert "lwn#backfill" in misfit
    assert reason in misfit


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"$set": {"epoch": "three"}}, "epoch is 'three'"),
        ({"$set": {"epoch": None}}, "epoch is 'None'"),
        ({"$unset": {"epoch": ""}}, "epoch is missing"),
    ],
)
def test_an_epoch_that_is_no_whole_number_is_not_taken_for_another_one(
    store: IntervalStore, database: Database, change: dict[str, Any], reason: str
) -> None:
    store.insert(FULL)
    database.collection("intervals").update_one({"_id": "lwn#backfill"}, change)
    with pytest.raises(UnreadableDocument, match=reason):
        store.read_epochs(["lwn#backfill"])


def test_a_document_of_an_earlier_version_has_what_it_lacks_by_default(
    store: IntervalStore, database: Database
) -> None:
    database.collection("intervals").insert_one(
        {"_id": "lwn", "source": "lwn", "epoch": 1, "cursor": 5}
    )
    assert store.get("lwn") == IndexerState("lwn", "lwn", epoch=1, cursor=5)
