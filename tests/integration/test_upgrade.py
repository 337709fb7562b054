"""What an upgrade finds in the record: hashes and journals of earlier versions."""

from typing import Any

from shared.models import HASH_VERSION
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for

pytest_plugins = ["tests.harness_fixture"]

ITEM = f"{SOURCE}#a"


def poll(harness: Harness, items: dict[str, str]) -> dict[str, int]:
    importing = harness.poll(items)
    harness.come_to_rest()
    found = harness.stores.imports.get(importing.import_id)
    assert found is not None
    return {name: count for name, count in found.counts.items() if count and name != "fetched"}


def make_hashes_old(harness: Harness, name: str, **found: Any) -> None:
    """Let documents of a collection have the hashes that version 1 of the rules gave them."""
    collection = harness.database.collection(name)
    for document in collection.find(found):
        old = "1:" + document["content_hash"].partition(":")[2][::-1]
        collection.update_one({"_id": document["_id"]}, {"$set": {"content_hash": old}})


def test_a_stored_item_is_updated_once_and_unchanged_from_then_on(harness: Harness) -> None:
    harness.subscribe({"a": "A", "b": "B"})
    harness.poll()
    harness.come_to_rest()
    make_hashes_old(harness, "items")

    assert poll(harness, {"a": "A", "b": "B", "c": "C"}) == {"new": 1, "updated": 2}
    assert poll(harness, {"a": "A", "b": "B", "c": "C", "d": "D"}) == {"new": 1, "unchanged": 3}
    found = harness.stores.items.get(ITEM)
    assert found is not None
    assert found["content_hash"].startswith(f"{HASH_VERSION}:")


def test_a_lenient_reading_does_not_bring_an_item_up_to_date(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    harness.poll()
    harness.come_to_rest()
    make_hashes_old(harness, "items")
    harness.poll({"a": "A"}, damaged={"a"})
    harness.come_to_rest()
    found = harness.stores.items.get(ITEM)
    assert found is not None
    assert found["content_hash"].startswith("1:")
    assert poll(harness, {"a": "A"}) == {"updated": 1}


def test_an_open_journal_of_an_earlier_version_is_stored(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    importing = harness.poll()
    journal = harness.database.collection("journal")
    journal.update_many({}, {"$unset": {"lenient_ids": ""}, "$set": {"hashes": ["1:old"]}})
    harness.lose_redis()
    harness.come_to_rest()
    found = harness.stores.imports.get(importing.import_id)
    assert found is not None
    assert found.counts["new"] == 1
    assert_accounted_for(harness, {"a": "A"})


def test_an_item_that_was_removed_stays_away_until_other_content_comes(harness: Harness) -> None:
    harness.subscribe({"a": "poison A"})
    harness.poll()
    harness.come_to_rest()
    harness.server.services.remover.remove_dead_letter(ITEM)
    harness.accept_poison()
    make_hashes_old(harness, "dead_letters")

    assert poll(harness, {"a": "poison A", "b": "B"}) == {"new": 1, "removed": 1}
    assert poll(harness, {"a": "poison A", "c": "C"}) == {"new": 1, "removed": 1}
    assert poll(harness, {"a": "A"}) == {"new": 1}


def test_a_dead_item_is_tried_once_more_and_no_more(harness: Harness) -> None:
    harness.subscribe({"a": "poison A"})
    harness.poll()
    harness.come_to_rest()
    make_hashes_old(harness, "dead_letters")
    assert poll(harness, {"a": "poison A", "b": "B"}) == {"new": 1, "dead": 1}
    assert harness.poll({"a": "poison A", "b": "B", "c": "C"}).journaled == 1
    harness.come_to_rest()
    assert_accounted_for(harness, {"b": "B", "c": "C"}, dead=["a"])
