"""An indexer's document that makes no sense for a while keeps its imports and jobs waiting."""

from typing import Any

import pytest

from shared.store import ImportState
from tests.factories import make_data, make_job
from tests.harness import SOURCE, Harness
from tests.integration.test_foreign_documents import spoil, titles_of
from tests.integration.test_pulls import add_window, fetch_all, pulls_of, show


@pytest.mark.parametrize(
    ("field", "is_redis_lost"),
    [("takes", False), ("next_take_at", True), ("epoch", False), ("epoch", True)],
)
def test_nonsense_in_an_indexer_closes_none_of_its_imports(
    harness: Harness, field: str, is_redis_lost: bool
) -> None:
    begin_window(harness)
    before = read_indexer(harness)[field]
    spoil(harness, "intervals", {"_id": SOURCE}, field, "nonsense")
    if is_redis_lost:
        harness.lose_redis()
    for _ in range(2):
        harness.server.look()
        harness.clock.advance(seconds=61)
    assert {found.state for found in pulls_of(harness)} == {ImportState.IMPORTING}
    spoil(harness, "intervals", {"_id": SOURCE}, field, before)
    harness.come_to_rest()
    assert len(titles_of(harness, SOURCE)) == 4
    assert [found.counts["new"] for found in pulls_of(harness)] == [2, 2]


def test_items_of_an_epoch_that_cannot_be_read_wait_until_it_can(harness: Harness) -> None:
    begin_window(harness)
    epoch = read_indexer(harness)["epoch"]
    pulled = {"import_id": "i1", "indexer": SOURCE, "epoch": epoch}
    bad = {"source": SOURCE, "guid": "bad", "title": 5} | pulled
    harness.item_queues[0].add_many([make_job(bad), make_job(make_data("1", source=SOURCE))])
    spoil(harness, "intervals", {"_id": SOURCE}, "epoch", "nonsense")
    for _ in range(4):
        harness.work()
        harness.clock.advance(seconds=61)
    # No attempt was used, and whose item names no epoch was stored.
    assert titles_of(harness, SOURCE).keys() == {"1"}
    assert harness.stores.dead_letters.find_dead() == []
    spoil(harness, "intervals", {"_id": SOURCE}, "epoch", epoch)
    harness.come_to_rest()
    assert len(titles_of(harness, SOURCE)) == 5
    assert harness.stores.dead_letters.find_dead() == [f"{SOURCE}#bad"]
    assert [found.counts["new"] for found in pulls_of(harness)] == [2, 2]


def begin_window(harness: Harness) -> None:
    """Commit the import of the first of a window's two intervals, each of two items."""
    add_window(harness, 2)
    show(harness, 2)
    harness.server.dispatch()
    fetch_all(harness)


def read_indexer(harness: Harness) -> dict[str, Any]:
    found = harness.database.collection("intervals").find_one({"_id": SOURCE})
    assert found is not None
    return found
