"""The limit of items of one source, from the settings to the documents."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from shared.queue import GroupLimit, JobState, NewJob, RedisConnection
from shared.queue.limits import read_group_limit
from shared.store import open_database
from tests.factories import make_data
from tests.fakes import FakeClock
from tests.harness import Harness

LOUD, QUIET = "loud", "quiet"
WINDOW_MS = 60_000


@pytest.fixture
def harness(
    redis_client: RedisConnection, mongodb_url: str, mongo_database: Database[dict[str, Any]]
) -> Iterator[Harness]:
    """A Feedmill where two items of a source start a minute, nobody has begun yet."""
    database = open_database(f"{mongodb_url}/{mongo_database.name}")
    made = Harness(
        redis_client,
        database,
        FakeClock(),
        worker_source_rate_limit_max=2,
        worker_rate_limit_duration_ms=WINDOW_MS,
    )
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


def test_a_worker_keeps_the_limit_where_no_server_has_written_it(harness: Harness) -> None:
    queue = harness.item_queues[0]
    queue.add_many([NewJob(f"loud#{n}", "item", make_data(str(n), source=LOUD)) for n in range(5)])
    harness.work()
    assert len(stored(harness, LOUD)) == 2


def test_a_redis_that_was_lost_gets_the_limit_with_the_items(harness: Harness) -> None:
    harness.subscribe(titles(5), LOUD)
    harness.poll(source=LOUD)
    harness.server.look()
    harness.lose_redis()
    assert read_group_limit(harness.item_queues[0]) is None
    harness.server.look()
    assert read_group_limit(harness.item_queues[0]) == GroupLimit(2, WINDOW_MS, "source")
    harness.work()
    assert len(stored(harness, LOUD)) == 2
