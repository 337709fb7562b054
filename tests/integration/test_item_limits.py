"""The rate limit is changed while everything runs: it holds at once, and for good."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from server.importing.healer import Healer
from shared.errors import QueueFull
from shared.queue import GroupLimit, JobQueue, JobState, NewJob, RateLimit, RedisConnection
from shared.queue.limits import read_group_limit, read_rate
from shared.store import ItemLimits, open_database
from tests.factories import make_data
from tests.fakes import FakeClock
from tests.harness import Harness

HOUR_MS = 3_600_000


@pytest.fixture
def make_harness(
    redis_client: RedisConnection, mongodb_url: str, mongo_database: Database[dict[str, Any]]
) -> Iterator[Any]:
    database = open_database(f"{mongodb_url}/{mongo_database.name}")

    def make(**settings: Any) -> Harness:
        limits = {"worker_rate_limit_max": 2, "worker_rate_limit_duration_ms": HOUR_MS}
        return Harness(redis_client, database, FakeClock(), **(limits | settings))

    yield make
    database.close()


@pytest.fixture
def harness(make_harness: Any) -> Harness:
    """Two items an hour by the environment, written to Redis as a server does at its start."""
    made: Harness = make_harness()
    made.server.process.base.item_limiter.apply()
    return made


def limit(harness: Harness, max_items: int, duration_ms: int = 1000, source: int = 0) -> None:
    limits = ItemLimits(max_items, duration_ms, source)
    harness.server.services.item_limiter.change(limits, by="no key", client="127.0.0.1")


def reset(harness: Harness) -> None:
    harness.server.services.item_limiter.reset(by="no key", client="127.0.0.1")


def add_items(harness: Harness, first: int, end: int, source: str = "loud") -> None:
    harness.item_queues[0].add_many(
        [
            NewJob(f"{source}#{n}", "item", make_data(str(n), source=source))
            for n in range(first, end)
        ]
    )


def count_stored(harness: Harness) -> int:
    return harness.database.collection("items").count_documents({})


def rates(harness: Harness) -> list[RateLimit | None]:
    return [read_rate(queue) for queue in harness.item_queues]


def test_a_higher_limit_holds_at_once_though_the_old_window_is_used_up(harness: Harness) -> None:
    add_items(harness, 0, 10)
    harness.work()
    assert count_stored(harness) == 2
    limit(harness, 5)
    harness.work()
    assert count_stored(harness) == 7


def test_a_lower_limit_holds_over_the_window_of_a_worker_with_another_one(
    make_harness: Any,
) -> None:
    harness: Harness = make_harness(worker_rate_limit_max=1000, worker_rate_limit_duration_ms=1000)
    limit(harness, 3, HOUR_MS)
    add_items(harness, 0, 10)
    harness.work()
    assert count_stored(harness) == 3
    ttl_ms = harness.redis.pttl(harness.item_queues[0].keys.limiter)
    assert ttl_ms > HOUR_MS / 2


def test_no_limit_holds_over_that_of_workers_and_a_reset_brings_it_back(harness: Harness) -> None:
    add_items(harness, 0, 5)
    limit(harness, 0)
    harness.work()
    assert count_stored(harness) == 5
    reset(harness)
    assert rates(harness) == [RateLimit(2, HOUR_MS)] * 2
    add_items(harness, 5, 10)
    harness.work()
    assert count_stored(harness) == 7


def test_a_change_outlives_the_restart_of_every_role_and_the_loss_of_redis(
    harness: Harness,
) -> None:
    harness.server.look()
    limit(harness, 7)
    harness.replace_roles()
    harness.server.process.base.item_limiter.apply()
    assert rates(harness) == [RateLimit(7, 1000)] * 2
    harness.lose_redis()
    assert rates(harness) == [None, None]
    harness.server.look()
    assert rates(harness) == [RateLimit(7, 1000)] * 2


def test_a_server_that_changed_nothing_shows_and_keeps_what_another_changed(
    harness: Harness,
) -> None:
    other = harness.new_server()
    other.look()
    limit(harness, 7)
    # As a server that is slower to write, or somebody with BullMQ's own call.
    for queue in harness.item_queues:
        queue.set_rate_limit(RateLimit(1, 1000))
    other.heal()
    assert rates(harness) == [RateLimit(7, 1000)] * 2
    assert other.services.item_limiter.known.limits == ItemLimits(7, 1000)


def test_a_reset_that_did_not_reach_redis_is_brought_there_by_any_server(
    harness: Harness,
) -> None:
    limit(harness, 7)
    other = harness.new_server()
    reset(harness)
    for queue in harness.item_queues:
        queue.set_rate_limit(RateLimit(7, 1000))
    other.heal()
    assert rates(harness) == [RateLimit(2, HOUR_MS)] * 2


def test_without_a_change_a_limit_that_an_operator_wrote_is_left_alone(harness: Harness) -> None:
    harness.item_queues[0].set_rate_limit(RateLimit(1, 500))
    harness.server.heal()
    harness.server.heal()
    assert read_rate(harness.item_queues[0]) == RateLimit(1, 500)


def test_the_limit_of_a_source_is_changed_too_and_workers_do_not_undo_it(
    make_harness: Any,
) -> None:
    harness: Harness = make_harness(worker_rate_limit_max=0, worker_source_rate_limit_max=1)
    limit(harness, 0, HOUR_MS, source=3)
    harness.redis.flushall()
    add_items(harness, 0, 10)
    harness.work()
    assert count_stored(harness) == 3
    assert read_group_limit(harness.item_queues[0]) == GroupLimit(3, HOUR_MS, "source")
    assert harness.item_queues[0].counts()[JobState.PRIORITIZED] == 7


def test_a_full_redis_that_takes_no_limit_does_not_stop_the_healing(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(harness, 7)
    harness.redis.hdel(harness.item_queues[0].keys.meta, "max", "duration")
    healed: list[str] = []

    def refuse(*_: object) -> None:
        raise QueueFull("Redis is full")

    with monkeypatch.context() as patched:
        patched.setattr(JobQueue, "set_rate_limit", refuse)
        patched.setattr(Healer, "sweep", lambda _: healed.append("swept"))
        harness.server.heal()
    assert healed == ["swept"]
    harness.server.heal()
    assert rates(harness) == [RateLimit(7, 1000)] * 2


def test_each_partition_gets_its_share(make_harness: Any) -> None:
    harness: Harness = make_harness(queue_partitions=2, queue_prefix="{bull}")
    limit(harness, 10)
    assert rates(harness) == [RateLimit(5, 1000)] * 4


def test_a_change_that_redis_did_not_get_is_safe_and_comes_later(harness: Harness) -> None:
    limiter = harness.server.process.base.item_limiter
    harness.server.crash_at(limiter, "apply", lambda: limit(harness, 9))
    assert rates(harness) == [RateLimit(2, HOUR_MS)] * 2
    harness.replace_roles()
    harness.server.heal()
    assert rates(harness) == [RateLimit(9, 1000)] * 2
