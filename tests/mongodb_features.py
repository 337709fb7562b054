"""What tests need of a MongoDB beyond what Feedmill needs, and which servers lack it.

``TEST_MONGODB_URL`` may name any server that speaks MongoDB's protocol. Each feature is tried on it
once; what it lacks, the tests named here skip, and those that :func:`require` it, and say so.
Nothing goes by the server's name.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import cache
from typing import Any

import pytest
from pymongo import MongoClient, UpdateOne
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

_THREADS, _UPDATES = 8, 25
_OTHER_OPTIONS = "test_index_with_other_options_is_named_with_the_difference_and_the_remedy"


class Feature(StrEnum):
    """What a server may lack, in the words of a skipped test's reason."""

    FAIL_POINTS = "fail points"
    VALIDATORS = "validators of documents (collMod)"
    SPARSE_INDEXES = "sparse indexes"
    PARTIAL_INDEXES = "partial indexes"
    EXPIRING_INDEXES = "indexes that delete documents (expireAfterSeconds)"
    DUPLICATES_NAMED = "code 11000 where documents keep an index from being unique"
    ATOMIC_UPDATES = "updates of one document that are atomic to one another"
    COUNTS_BESIDE_ERRORS = "nModified beside write errors"
    NULL_ON_INSERT = "null set on insert"
    ODD_NUMBERS = "numbers that are none"


@cache
def missing_features() -> frozenset[Feature]:
    """Return what the server of ``TEST_MONGODB_URL`` lacks; the tests' own store lacks nothing."""
    url = os.environ.get("TEST_MONGODB_URL")
    if not url:
        return frozenset()
    client: MongoClient[dict[str, Any]] = MongoClient(url, serverSelectionTimeoutMS=10_000)
    with client:
        database = client[f"test_features_{os.getpid()}"]
        missing = frozenset(feature for feature in Feature if not _has(feature, database))
        client.drop_database(database.name)
    return missing


def require(feature: Feature) -> None:
    """Skip the test that runs, by its name, where the server lacks a feature."""
    if feature in missing_features():
        name = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition(" (")[0]
        pytest.skip(f"{name} needs {feature}")


def require_all_for(*names: str) -> None:
    """Skip the test with one of these names where the server lacks what it needs."""
    for feature, needing in NEEDED_BY.items():
        if not needing.isdisjoint(names):
            require(feature)


def _has(feature: Feature, database: Database[dict[str, Any]]) -> bool:
    try:
        return _TRIALS[feature](database)
    except (PyMongoError, KeyError):
        # A KeyError is the driver's: the answer lacks a field that it takes for granted.
        return False


def _try_fail_points(database: Database[dict[str, Any]]) -> bool:
    database.client.admin.command("configureFailPoint", "failCommand", mode="off")
    return True


def _try_validators(database: Database[dict[str, Any]]) -> bool:
    database.create_collection("validated")
    database.command("collMod", "validated", validator={"title": {"$ne": "poison"}})
    return True


def _try_sparse_indexes(database: Database[dict[str, Any]]) -> bool:
    database["sparse"].create_index("key", sparse=True)
    return bool(database["sparse"].index_information()["key_1"].get("sparse"))


def _try_partial_indexes(database: Database[dict[str, Any]]) -> bool:
    database["partial"].create_index("key", partialFilterExpression={"n": {"$exists": True}})
    return True


def _try_expiring_indexes(database: Database[dict[str, Any]]) -> bool:
    database["expiring"].create_index("at", expireAfterSeconds=3600)
    return True


def _try_duplicates_named(database: Database[dict[str, Any]]) -> bool:
    database["twins"].insert_many([{"n": 1}, {"n": 1}])
    try:
        database["twins"].create_index("n", unique=True)
    except OperationFailure as exc:
        return exc.code == 11000
    return False


def _try_atomic_updates(database: Database[dict[str, Any]]) -> bool:
    database["counted"].insert_one({"_id": 1, "n": 0})

    def raise_it(_: int) -> None:
        for _ in range(_UPDATES):
            database["counted"].update_one({"_id": 1}, {"$inc": {"n": 1}})

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(raise_it, range(_THREADS)))
    counted = database["counted"].find_one()
    return counted is not None and counted["n"] == _THREADS * _UPDATES


def _try_counts_beside_errors(database: Database[dict[str, Any]]) -> bool:
    database["guarded"].insert_one({"_id": 1, "revision": 2})
    stale = UpdateOne({"_id": 1, "revision": {"$lt": 1}}, {"$set": {"revision": 1}}, upsert=True)
    try:
        database["guarded"].bulk_write([stale], ordered=False)
    except PyMongoError:
        return True
    return False


def _try_null_on_insert(database: Database[dict[str, Any]]) -> bool:
    nulls = {"$setOnInsert": {"nothing": None}, "$set": {"n": 1}}
    database["nulls"].update_one({"_id": 1}, nulls, upsert=True)
    return "nothing" in (database["nulls"].find_one() or {})


def _try_odd_numbers(database: Database[dict[str, Any]]) -> bool:
    database["numbers"].insert_many([{"n": float("inf")}, {"n": float("nan")}])
    return True


_TRIALS: Mapping[Feature, Callable[[Database[dict[str, Any]]], bool]] = {
    Feature.FAIL_POINTS: _try_fail_points,
    Feature.VALIDATORS: _try_validators,
    Feature.SPARSE_INDEXES: _try_sparse_indexes,
    Feature.PARTIAL_INDEXES: _try_partial_indexes,
    Feature.EXPIRING_INDEXES: _try_expiring_indexes,
    Feature.DUPLICATES_NAMED: _try_duplicates_named,
    Feature.ATOMIC_UPDATES: _try_atomic_updates,
    Feature.COUNTS_BESIDE_ERRORS: _try_counts_beside_errors,
    Feature.NULL_ON_INSERT: _try_null_on_insert,
    Feature.ODD_NUMBERS: _try_odd_numbers,
}

# Names of tests, with parameters where only some need it.
NEEDED_BY: Mapping[Feature, frozenset[str]] = {
    Feature.VALIDATORS: frozenset(
        {"test_a_dead_item_whose_guid_moves_has_one_dead_letter_and_none_when_it_is_stored"}
    ),
    Feature.SPARSE_INDEXES: frozenset(
        {
            "test_duplicates_of_an_earlier_version_work_on_and_the_oldest_has_the_urls",
            "test_every_wanted_index_is_made_once_and_for_all",
            f"{_OTHER_OPTIONS}[by_somebody-options1-sparse]",
            f"{_OTHER_OPTIONS}[modified_at_-1__id_-1-options1-sparse]",
            "test_urls_are_the_same_as_a_whole_and_in_order",
        }
    ),
    Feature.PARTIAL_INDEXES: frozenset(
        {
            f"{_OTHER_OPTIONS}[by_somebody-options2-partialFilterExpression=]",
            f"{_OTHER_OPTIONS}[modified_at_-1__id_-1-options2-partialFilterExpression=]",
        }
    ),
    Feature.EXPIRING_INDEXES: frozenset({"test_index_that_deletes_documents_is_found"}),
    Feature.DUPLICATES_NAMED: frozenset(
        {"test_documents_that_keep_an_index_from_being_unique_are_told"}
    ),
    Feature.ATOMIC_UPDATES: frozenset(
        {
            "test_revisions_drawn_by_many_at_once_are_never_given_twice",
            "test_feeds_that_are_given_one_url_at_once_do_not_all_get_it",
            "test_many_starts_at_once_make_one_import",
            "test_starts_of_one_url_share_one_feed_and_one_import",
            "test_workers_that_flush_at_once_leave_the_highest_revision",
        }
    ),
    Feature.COUNTS_BESIDE_ERRORS: frozenset(
        {
            "test_a_feed_of_unreadable_items_is_recorded_in_calls_that_end_in_time",
            "test_the_last_ten_ends_are_kept_and_the_highest_revision_is_on_top",
            "test_recording_the_same_end_again_changes_nothing",
            "test_a_death_of_the_same_revision_does_not_undo_a_removal",
            "test_a_redis_that_was_lost_and_is_full_is_matched_when_it_has_room",
            "test_an_equal_revision_does_not_replace_a_removal",
            "test_an_equal_revision_of_another_import_replaces_a_death",
            "test_many_ends_go_their_own_ways_in_one_call",
            "test_the_death_of_a_strict_reading_is_above_those_of_lenient_ones",
            "test_the_higher_revision_is_on_top_whichever_comes_first",
            "test_the_pages_of_items_show_every_value_as_the_text_that_it_is",
            "test_the_same_death_recorded_twice_changes_nothing",
        }
    ),
    Feature.NULL_ON_INSERT: frozenset(
        {
            "test_a_foreign_job_that_comes_later_wins_over_what_was_stored_before",
            "test_counters_of_a_document_that_was_deleted_meanwhile_bring_the_whole_item",
        }
    ),
    Feature.ODD_NUMBERS: frozenset({"test_item_with_any_value_is_shown"}),
}
