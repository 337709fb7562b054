"""What an upgrade finds in the record: hashes and journals of earlier versions."""

from typing import Any

from shared.models import HASH_VERSION
from tests.mill import SOURCE, Mill
from tests.oracle import assert_accounted_for

pytest_plugins = ["tests.mill_fixture"]

ITEM = f"{SOURCE}#a"


def poll(mill: Mill, items: dict[str, str]) -> dict[str, int]:
    importing = mill.poll(items)
    mill.come_to_rest()
    found = mill.stores.imports.get(importing.import_id)
    assert found is not None
    return {name: count for name, count in found.counts.items() if count and name != "fetched"}


def make_hashes_old(mill: Mill, name: str, **found: Any) -> None:
    """Let documents of a collection have the hashes that version 1 of the rules gave them."""
    collection = mill.database.collection(name)
    for document in collection.find(found):
        old = "1:" + document["content_hash"].partition(":")[2][::-1]
        collection.update_one({"_id": document["_id"]}, {"$set": {"content_hash": old}})


def test_a_stored_item_is_updated_once_and_unchanged_from_then_on(mill: Mill) -> None:
    mill.subscribe({"a": "A", "b": "B"})
    mill.poll()
    mill.come_to_rest()
    make_hashes_old(mill, "items")

    assert poll(mill, {"a": "A", "b": "B", "c": "C"}) == {"new": 1, "updated": 2}
    assert poll(mill, {"a": "A", "b": "B", "c": "C", "d": "D"}) == {"new": 1, "unchanged": 3}
    found = mill.stores.items.get(ITEM)
    assert found is not None
    assert found["content_hash"].startswith(f"{HASH_VERSION}:")


def test_a_lenient_reading_does_not_bring_an_item_up_to_date(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    mill.poll()
    mill.come_to_rest()
    make_hashes_old(mill, "items")
    mill.poll({"a": "A"}, damaged={"a"})
    mill.come_to_rest()
    found = mill.stores.items.get(ITEM)
    assert found is not None
    assert found["content_hash"].startswith("1:")
    assert poll(mill, {"a": "A"}) == {"updated": 1}


def test_an_open_journal_of_an_earlier_version_comes_home(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    importing = mill.poll()
    journal = mill.database.collection("journal")
    journal.update_many({}, {"$unset": {"lenient_ids": ""}, "$set": {"hashes": ["1:old"]}})
    mill.lose_redis()
    mill.come_to_rest()
    found = mill.stores.imports.get(importing.import_id)
    assert found is not None
    assert found.counts["new"] == 1
    assert_accounted_for(mill, {"a": "A"})


def test_an_item_that_was_removed_stays_away_until_other_content_comes(mill: Mill) -> None:
    mill.subscribe({"a": "poison A"})
    mill.poll()
    mill.come_to_rest()
    mill.server.services.remover.remove_dead_letter(ITEM)
    mill.accept_poison()
    make_hashes_old(mill, "dead_letters")

    assert poll(mill, {"a": "poison A", "b": "B"}) == {"new": 1, "removed": 1}
    assert poll(mill, {"a": "poison A", "c": "C"}) == {"new": 1, "removed": 1}
    assert poll(mill, {"a": "A"}) == {"new": 1}


def test_a_dead_item_is_tried_once_more_and_no_more(mill: Mill) -> None:
    mill.subscribe({"a": "poison A"})
    mill.poll()
    mill.come_to_rest()
    make_hashes_old(mill, "dead_letters")
    assert poll(mill, {"a": "poison A", "b": "B"}) == {"new": 1, "dead": 1}
    assert mill.poll({"a": "poison A", "b": "B", "c": "C"}).journaled == 1
    mill.come_to_rest()
    assert_accounted_for(mill, {"b": "B", "c": "C"}, dead=["a"])
