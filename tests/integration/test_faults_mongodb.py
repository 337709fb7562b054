"""MongoDB fails in every way it can: no attempt is used, nothing is settled too early or twice."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase
from structlog.testing import capture_logs

from shared.clock import SystemClock
from shared.errors import StoreUnavailable
from shared.queue import JobState, RedisConnection
from shared.store import ItemWrite, Stores, WriteReport, open_database
from shared.store.database import Database
from shared.store.items import ItemStore
from tests.factories import Bench, make_data
from tests.failpoints import (
    NO_DISK,
    NOT_PRIMARY,
    SHUTTING_DOWN,
    UNAUTHORIZED,
    WRITE_CONCERN,
    FailPoints,
    refuse_titles,
)
from tests.tcp_proxy import Mode, TcpProxy

WAIT_S = 20.0
CURSOR_NOT_FOUND, NO_MAJORITY_YET, TEMPORARILY_UNAVAILABLE = 43, 134, 365


def some_data(count: int = 5) -> list[dict[str, Any]]:
    return [make_data(str(number)) for number in range(count)]


def assert_all_home(bench: Bench, count: int = 5) -> None:
    """All are stored once, nothing is left, and nobody was charged for the store's fault."""
    assert len(bench.documents()) == count
    assert bench.left() == {}
    assert bench.dead() == {}
    assert len(bench.held) == 0
    assert bench.queue.read_totals().get("retried", 0) == 0
    assert bench.queue.read_totals()["completed"] == count


@pytest.fixture
def brisk(
    redis_client: RedisConnection,
    mongodb_url: str,
    mongo_database: MongoDatabase[dict[str, Any]],
    driver_looks_soon: None,
) -> Iterator[Bench]:
    """A worker whose driver soon looks again for a store that failed."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb_url, heartbeatFrequencyMS=50)
    bench = Bench(redis_client, Stores.of(Database(client, mongo_database.name)))
    yield bench
    bench.close()
    client.close()


# A new item is inserted, a stored one updated.
COMMANDS = {"write": ("insert", "update"), "find": ("find",)}


@pytest.mark.parametrize(
    ("command", "times", "fault"),
    [
        ("write", 1, {"errorCode": NOT_PRIMARY}),
        ("write", 3, {"errorCode": NOT_PRIMARY}),
        ("write", 1, {"errorCode": SHUTTING_DOWN}),
        ("write", 12, {"errorCode": UNAUTHORIZED}),
        ("write", 12, {"errorCode": NO_DISK}),
        ("find", 3, {"errorCode": CURSOR_NOT_FOUND}),
        ("find", 3, {"errorCode": NO_MAJORITY_YET}),
        ("write", 3, {"errorCode": TEMPORARILY_UNAVAILABLE}),
        ("write", 1, {"closeConnection": True}),
        ("write", 3, {"closeConnection": True}),
        ("find", 3, {"closeConnection": True}),
    ],
)
def test_a_store_that_fails_for_a_while_costs_no_attempt(
    brisk: Bench, failing: FailPoints, fault: dict[str, Any], command: str, times: int
) -> None:
    brisk.add(*some_data())
    taken = brisk.take()
    failing.fail(*COMMANDS[command], times=times, **fault)
    brisk.finish(taken)
    assert_all_home(brisk)


def test_a_store_that_stays_away_gets_its_jobs_handed_back_untried(
    bench: Bench, failing: FailPoints
) -> None:
    bench.add(*some_data())
    taken = bench.take()
    failing.fail(*COMMANDS["write"], times=None, errorCode=NO_DISK)
    bench.finish(taken)
    assert bench.breaker.is_open
    assert bench.breaker.open_for_s() > 300
    assert bench.left() == {"waiting": 5}
    assert len(bench.held) == 0
    assert bench.consumer.step() == []
    failing.off()
    bench.work()
    assert_all_home(bench)


def test_deaths_wait_for_a_store_that_refuses_everybody(bench: Bench, failing: FailPoints) -> None:
    bench.add(make_data("bad", title=5))
    taken = bench.take()
    failing.fail(*COMMANDS["write"], times=5, errorCode=UNAUTHORIZED)
    bench.finish(taken)
    assert list(bench.dead()) == ["bad"]
    assert bench.left() == {}
    assert len(bench.held) == 0


def test_what_no_majority_confirmed_is_not_settled_before_a_clean_retry(
    bench: Bench, failing: FailPoints
) -> None:
    bench.add(*some_data())
    taken = bench.take()
    unconfirmed = {"code": WRITE_CONCERN, "errmsg": "waiting for replication timed out"}
    failing.fail(*COMMANDS["write"], times=None, writeConcernError=unconfirmed)
    with pytest.raises(StoreUnavailable):
        bench.storer.store(taken.items)
    assert len(bench.documents()) == 5
    assert bench.left() == {"active": 5}
    failing.off()
    bench.finish(taken)
    assert_all_home(bench)


def test_a_death_that_no_majority_confirmed_does_not_move_the_job(
    bench: Bench, failing: FailPoints
) -> None:
    bench.add(make_data("bad", title=5))
    taken = bench.take()
    unconfirmed = {"code": WRITE_CONCERN, "errmsg": "waiting for replication timed out"}
    failing.fail(*COMMANDS["write"], times=2, writeConcernError=unconfirmed)
    bench.finish(taken)
    assert bench.left() == {}
    assert list(bench.dead()) == ["bad"]
    letter = bench.stores.dead_letters.get("lwn#bad")
    assert letter is not None
    assert len(letter.history) == 1


@pytest.fixture
def impatient(
    redis_client: RedisConnection, mongodb_url: str, mongo_database: MongoDatabase[dict[str, Any]]
) -> Iterator[Bench]:
    """A worker whose driver soon gives a call up."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb_url, socketTimeoutMS=250)
    bench = Bench(redis_client, Stores.of(Database(client, mongo_database.name)))
    yield bench
    bench.close()
    client.close()


def test_a_call_whose_answer_comes_too_late_is_repeated(
    impatient: Bench, failing: FailPoints
) -> None:
    impatient.add(*some_data())
    taken = impatient.take()
    # Twice, because the driver itself repeats a write once.
    failing.fail(*COMMANDS["write"], times=2, blockConnection=True, blockTimeMS=1000)
    with pytest.raises(StoreUnavailable):
        impatient.storer.store(taken.items)
    assert impatient.left() == {"active": 5}
    impatient.finish(taken)
    assert_all_home(impatient)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        threading.Event().wait(0.02)


def test_an_outage_at_peak_stops_the_claims_and_costs_nobody_an_attempt(
    redis_client: RedisConnection,
    mongodb_url: str,
    mongo_database: MongoDatabase[dict[str, Any]],
    driver_looks_soon: None,
) -> None:
    soon = "directConnection=true&serverSelectionTimeoutMS=200&heartbeatFrequencyMS=50"
    with TcpProxy(mongodb_url) as proxy:
        database = open_database(f"{proxy.url}/{mongo_database.name}?{soon}")
        bench = Bench(
            redis_client, Stores.of(database), SystemClock(), batch_size=20, concurrency=2
        )
        bench.max_age_s = 0.1
        bench.add(*some_data(300))
        bench.pool.start()
        stop = threading.Event()
        consumer = threading.Thread(target=bench.consumer.run, args=(stop,), daemon=True)
        consumer.start()
        try:
            wait_until(lambda: len(bench.queue.read_totals()) and bench.left()["waiting"] < 280)
            proxy.set_mode(Mode.REFUSE)
            wait_until(lambda: bench.breaker.is_open)
            in_hand = bench.left()
            assert len(bench.held) <= 40
            threading.Event().wait(0.5)
            assert bench.left() == in_hand
            assert bench.queue.read_totals().get("retried", 0) == 0
            proxy.set_mode(Mode.PASS)
            # Five seconds at most on a quiet machine.
            wait_until(lambda: not bench.breaker.is_open)
            wait_until(lambda: bench.left() == {})
            assert_all_home(bench, 300)
            assert sum(bench.dlq.counts().values()) == 0
        finally:
            stop.set()
            consumer.join(10)
            bench.close()
            database.close()


def test_a_flush_longer_than_the_lock_keeps_its_jobs(
    redis_client: RedisConnection, stores: Stores, failing: FailPoints
) -> None:
    bench = Bench(redis_client, stores, SystemClock(), lock_ms=1000)
    bench.add(*some_data())
    taken = bench.take()
    bench.heartbeat.start()
    bench.pool.start()
    failing.fail(*COMMANDS["write"], times=1, blockConnection=True, blockTimeMS=1600)
    bench.pool.submit(lambda: bench.finish(taken))
    reclaimed = 0
    while not bench.pool.wait_until_idle(0.1):
        reclaimed += bench.queue.reclaim_stalled(max_stalled=2).requeued
    bench.heartbeat.stop()
    bench.close()
    assert reclaimed == 0
    assert_all_home(bench)


# Single items that the server refuses.


def test_the_server_refuses_single_items_and_takes_the_others_once(
    bench: Bench, mongo_database: MongoDatabase[dict[str, Any]]
) -> None:
    refuse_titles(mongo_database, "bad")
    items = mongo_database["items"]
    items.create_index("link", unique=True)
    bench.import_items(make_data("first", link="https://x.org/taken"))
    bad = [make_data("bad", title="bad"), make_data("twin", link="https://x.org/taken")]
    bench.add(*some_data(), *bad)
    bench.work()
    after_first = bench.documents()
    assert len(after_first) == 6
    assert bench.left() == {"delayed": 2}
    delays = []
    while bench.left():
        views = bench.queue.list_jobs(JobState.DELAYED, 0, 10)
        delays.append([view.delay_ms for view in views])
        bench.clock.advance(seconds=delays[-1][0] / 1000)  # type: ignore[attr-defined]
        bench.work()
    assert delays == [[1000, 1000], [2000, 2000]]
    assert {guid: letter.attempts for guid, letter in bench.dead().items()} == {"bad": 3, "twin": 3}
    assert {letter.error_type for letter in bench.dead().values()} == {"rejected_by_store"}
    assert bench.documents() == after_first
    assert bench.queue.read_totals() == {"completed": 6, "failed": 2, "retried": 4}
    assert sorted(view.id for view in bench.dlq.list_jobs(JobState.WAITING, 0, 10)) == [
        "lwn#bad",
        "lwn#twin",
    ]


class SpoiledBy(ItemStore):
    """Refuses whatever batch one item is in, though other writes succeed."""

    def __init__(self, database: Database, item_id: str, error: Exception) -> None:
        super().__init__(database)
        self._item_id = item_id
        self._error = error
        self.calls = 0

    def write_many(self, writes: Any) -> WriteReport:
        self.calls += 1
        if any(write.item_id == self._item_id for write in writes):
            raise self._error
        return super().write_many(writes)


@pytest.mark.parametrize(
    "error", [StoreUnavailable("exceeded time limit"), ValueError("a defect of ours")]
)
def test_a_batch_that_fails_though_the_store_takes_writes_is_bisected(
    redis_client: RedisConnection, stores: Stores, error: Exception
) -> None:
    spoiled = SpoiledBy(stores.database, "lwn#37", error)
    bench = Bench(redis_client, replace(stores, items=spoiled))
    bench.add(*some_data(100))
    with capture_logs():
        bench.work()
    assert len(bench.documents()) == 99
    assert bench.left() == {"delayed": 1}
    assert not bench.breaker.is_open
    assert spoiled.calls < 25
    for _ in range(2):
        bench.clock.advance(seconds=60)  # type: ignore[attr-defined]
        with capture_logs():
            bench.work()
    assert {guid: letter.attempts for guid, letter in bench.dead().items()} == {"37": 3}
    assert bench.left() == {}


class LosingRaces(ItemStore):
    """Loses the guard of one item to a newer revision, between its read and its write."""

    def __init__(self, database: Database, races: int) -> None:
        super().__init__(database)
        self._races = races

    def write_many(self, writes: Any) -> WriteReport:
        if self._races and writes:
            self._races -= 1
            rival: ItemWrite = replace(writes[0], revision=writes[0].revision - 1)
            super().write_many([rival])
        return super().write_many(writes)


def test_an_item_that_loses_a_race_is_read_and_decided_again(
    redis_client: RedisConnection, stores: Stores
) -> None:
    bench = Bench(redis_client, replace(stores, items=LosingRaces(stores.database, 1)))
    bench.add(*some_data(3), revision=9)
    bench.work()
    assert_all_home(bench, 3)
    assert {one["revision"] for one in bench.documents().values()} == {9}


def test_a_letter_in_the_way_is_cleared_with_what_is_stored(bench: Bench) -> None:
    bench.import_items(make_data("1", title=5))
    assert list(bench.dead()) == ["1"]
    bench.import_items(make_data("1"), revision=2)
    assert bench.dead() == {}
    assert sum(bench.dlq.counts().values()) == 0
