"""Indexes that somebody else made, or that MongoDB will not make."""

from typing import Any

import pytest
from pymongo.database import Database

from shared.clock import SystemClock
from shared.errors import StoreError, StoreRefused, StoreUnavailable
from shared.store import Stores, examine_mongodb
from shared.store.indexes import WantedIndex, make_indexes
from shared.store.stores import wanted_indexes
from tests.failpoints import FailPoints

RECENT = [("modified_at", -1), ("_id", -1)]
Mongo = Database[dict[str, Any]]


def names_of(mongo: Mongo, collection: str) -> set[str]:
    return set(mongo[collection].index_information())


def test_every_wanted_index_is_made_once_and_for_all(stores: Stores, mongo_database: Mongo) -> None:
    stores.ensure_indexes()
    made = {name: names_of(mongo_database, name) for name in ("feeds", "items", "imports")}
    assert all(len(names) > 1 for names in made.values())
    stores.ensure_indexes()
    assert {name: names_of(mongo_database, name) for name in made} == made
    seen = examine_mongodb(stores.database, SystemClock())
    assert (seen.missing_indexes, list(seen.index_conflicts)) == ([], [])


def test_index_under_another_name_is_as_good(stores: Stores, mongo_database: Mongo) -> None:
    mongo_database["items"].create_index(RECENT, name="by_somebody")
    stores.ensure_indexes()
    assert "by_somebody" in names_of(mongo_database, "items")
    assert "modified_at_-1__id_-1" not in names_of(mongo_database, "items")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unique": True}, "unique"),
        ({"sparse": True}, "sparse"),
        ({"partialFilterExpression": {"link": {"$exists": True}}}, "partialFilterExpression="),
    ],
)
@pytest.mark.parametrize("name", ["by_somebody", "modified_at_-1__id_-1"])
def test_index_with_other_options_is_named_with_the_difference_and_the_remedy(
    stores: Stores, mongo_database: Mongo, name: str, options: dict[str, Any], said: str
) -> None:
    mongo_database["items"].create_index(RECENT, name=name, **options)
    with pytest.raises(StoreError) as caught:
        stores.ensure_indexes()
    text = str(caught.value)
    assert not isinstance(caught.value, StoreUnavailable)
    assert len(text.splitlines()) == 1
    assert f'index "{name}" on items(-modified_at, -_id) is {said}' in text
    assert f'db.items.dropIndex("{name}") in database {mongo_database.name}' in text
    [conflict] = examine_mongodb(stores.database, SystemClock()).index_conflicts
    assert conflict.remedy in text


@pytest.mark.parametrize("ttl_s", [0, 3600])
def test_index_that_deletes_documents_is_found(
    stores: Stores, mongo_database: Mongo, ttl_s: int
) -> None:
    mongo_database["imports"].create_index([("finished_at", 1)], expireAfterSeconds=ttl_s)
    with pytest.raises(StoreError, match=f"expireAfterSeconds={ttl_s}"):
        stores.ensure_indexes()


def test_dropping_as_told_is_enough(stores: Stores, mongo_database: Mongo) -> None:
    mongo_database["items"].create_index(RECENT, name="odd", unique=True)
    with pytest.raises(StoreError):
        stores.ensure_indexes()
    mongo_database["items"].drop_index("odd")
    stores.ensure_indexes()
    assert examine_mongodb(stores.database, SystemClock()).missing_indexes == []


@pytest.mark.parametrize("code", [13, 8000])
def test_login_that_may_not_list_indexes_may_still_make_them(
    stores: Stores, failing: FailPoints, code: int
) -> None:
    failing.fail("listIndexes", times=None, errorCode=code)
    stores.ensure_indexes()
    assert examine_mongodb(stores.database, SystemClock()).missing_indexes is None
    failing.off()
    assert examine_mongodb(stores.database, SystemClock()).missing_indexes == []


@pytest.mark.parametrize("code", [13, 8000])
def test_login_that_may_make_no_index_needs_none_that_is_there(
    stores: Stores, failing: FailPoints, code: int
) -> None:
    failing.fail("createIndexes", times=None, errorCode=code)
    with pytest.raises(StoreRefused) as caught:
        stores.ensure_indexes()
    assert str(caught.value).startswith("index feeds(enabled, running_import, next_fetch_at) is")
    assert "grant it createIndex" in str(caught.value)
    failing.off()
    stores.ensure_indexes()
    failing.fail("createIndexes", times=None, errorCode=code)
    stores.ensure_indexes()


@pytest.mark.parametrize("code", [85, 86])
def test_conflict_that_cannot_be_looked_at_names_the_index(
    stores: Stores, failing: FailPoints, code: int
) -> None:
    failing.fail("createIndexes", times=1, errorCode=code)
    with pytest.raises(StoreError, match=r"index feeds\(.*\) is there .*dropIndex") as caught:
        stores.ensure_indexes()
    assert not isinstance(caught.value, StoreUnavailable)


def test_documents_that_keep_an_index_from_being_unique_are_told(
    stores: Stores, mongo_database: Mongo
) -> None:
    mongo_database["feeds"].insert_many([{"_id": "a", "url": "x"}, {"_id": "b", "url": "x"}])
    wanted = WantedIndex("feeds", (("url", 1),), {"unique": True})
    with pytest.raises(StoreError, match=r"index feeds\(url\) .* must be unique") as caught:
        make_indexes(stores.database, [wanted])
    assert len(str(caught.value).splitlines()) == 1


def test_collection_that_is_not_there_yet_lacks_all_its_indexes(stores: Stores) -> None:
    missing = examine_mongodb(stores.database, SystemClock()).missing_indexes
    assert missing is not None
    assert len(missing) == len(wanted_indexes())


def test_outage_while_indexes_are_made_is_an_outage(stores: Stores, failing: FailPoints) -> None:
    failing.fail("createIndexes", times=1, errorCode=11600)
    with pytest.raises(StoreUnavailable) as caught:
        stores.ensure_indexes()
    assert not isinstance(caught.value, StoreRefused)


@pytest.mark.parametrize("code", [13, 18, 8000])
def test_refusal_of_this_login_is_no_fault_of_what_it_wrote(
    stores: Stores, failing: FailPoints, code: int
) -> None:
    failing.fail("update", times=1, errorCode=code)
    with pytest.raises(StoreRefused) as caught:
        stores.check_rights(SystemClock().now())
    assert caught.value.retryable


@pytest.mark.parametrize("code", [64, 75, 79, 100])
def test_majority_that_cannot_be_had_is_an_outage(
    stores: Stores, failing: FailPoints, code: int
) -> None:
    failing.fail("update", times=1, writeConcernError={"code": code, "errmsg": "no majority"})
    with pytest.raises(StoreUnavailable, match="no majority"):
        stores.check_rights(SystemClock().now())
