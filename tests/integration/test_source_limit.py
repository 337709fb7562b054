"""The limit of items of one source, from the settings to the documents."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from shared.queue import GroupLimit, JobState, RedisConnection
from shared.queue.limits import read_group_limit
from shared.store import open_database
from tests.fakes import FakeClock
from tests.harness import Harness

LOUD, QUIET = "loud", "quiet"
WINDOW_MS = 60_000


@pytest.fixture
def harness(
    redis_client: RedisConnection, mongodb_url: str, mongo_database: Database[dict[str, Any]]
) -> Iterator[Harness]:
    """A Feedmill where two items of a source start a minute, its limits written."""
    database = open_database(f"{mongodb_url}/{mongo_database.name}")
    made = Harness(
        redis_client,
        database,
        FakeClock(),
        worker_source_rate_limit_max=2,
        worker_rate_limit_duration_ms=WINDOW_MS,
    )
    made.server.look()
    yield made
    database.close()


def titles(count: int) -> dict[str, str]:
    return {f"item-{number}": f"Title {number}" for number in range(count)}


def stored(harness: Harness, source: str) -> list[str]:
    found = harness.database.collection("items").find({"source": source})
    return sorted(document["guid"] for document in found)


def end_windows(harness: Harness) -> None:
    for key in harness.redis.scan_iter(match="*own:started:*"):
        harness.redis.delete(key)
    harness.clock.advance(seconds=WINDOW_MS / 1000 + 1)


def test_a_source_with_many_items_does_not_hold_up_another(harness: Harness) -> None:
    harness.subscribe(titles(5), LOUD)
    harness.subscribe(titles(1), QUIET)
    harness.poll(source=LOUD)
    harness.poll(source=QUIET)
    harness.work()
    assert stored(harness, LOUD) == ["item-0", "item-1"]
    assert stored(harness, QUIET) == ["item-0"]
    assert harness.item_queues[0].counts()[JobState.PRIORITIZED] == 3
    end_windows(harness)
    harness.work()
    assert stored(harness, LOUD) == ["item-0", "item-1", "item-2", "item-3"]


def test_a_redis_that_was_lost_gets_the_limit_with_the_items(harness: Harness) -> None:
    harness.subscribe(titles(5), LOUD)
    harness.poll(source=LOUD)
    harness.lose_redis()
    assert read_group_limit(harness.item_queues[0]) is None
    harness.server.look()
    assert read_group_limit(harness.item_queues[0]) == GroupLimit(2, WINDOW_MS, "source")
    harness.work()
    assert len(stored(harness, LOUD)) == 2
