"""A store goes away at each step of a worker, for a while: nobody is charged, all are stored once.

The worker's own loop runs, through a proxy to each store, on a simulated clock: what waits moves
the time, and so ends the outage, and lets the heartbeat and the upkeep run beside the flushes.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase

from shared.errors import QueueError
from shared.queue import JobQueue, JobState, RedisConnection, connect, disconnect
from shared.queue.connection import script_names, script_text
from shared.settings import Settings
from shared.store import Stores
from shared.store.database import Database
from tests.factories import make_data, make_job, make_letter_of
from tests.failpoints import refuse_titles
from tests.fakes import FakeClock
from tests.integration.outage_cases import (
    STEPS,
    STEPS_OF_FAILURES,
    cases_of,
    lengths,
    redis_call,
)
from tests.roles import InlinePool
from tests.tcp_proxy import Mode, TcpProxy
from worker.process import WorkerProcess

LIGHT, HEAVY, DEAD = "job_import_queue", "job_import_queue_heavy", "job_import_queue_dlq"
# They live for 30 s.
LONGER_THAN_LOCKS_S = 40
# Real seconds that a call to a silent store takes here.
TIMEOUT_S = 0.05
# Simulated seconds after which whatever has not ended hangs.
GIVE_UP_S = 1200.0


class OutageClock(FakeClock):
    """Moves by itself when somebody waits, and calls ``beside`` each time."""

    def __init__(self) -> None:
        super().__init__()
        self.beside: Callable[[], None] = lambda: None

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        super().wait(event, timeout_s)
        self.beside()
        return event.is_set()


class TickingPool(InlinePool):
    """Flushes on the thread of the loop; when there is nothing to flush, time passes."""

    def __init__(self, clock: OutageClock) -> None:
        super().__init__()
        self._clock = clock

    def wait_for_change(self, seen_finished: int, timeout_s: float) -> None:
        self.run_all()
        self._clock.wait(threading.Event(), timeout_s)

    def wait_until_idle(self, timeout_s: float) -> bool:
        self.run_all()
        return True

    def close(self) -> None:
        """It has no threads."""


@dataclass
class Line:
    """One worker behind a proxy to each store, and direct views of both."""

    redis: RedisConnection
    stores: Stores
    redis_proxy: TcpProxy
    mongodb_proxy: TcpProxy
    worker_redis: RedisConnection
    worker_stores: Stores
    clock: OutageClock = field(default_factory=OutageClock)
    stop: threading.Event = field(default_factory=threading.Event)
    outages: list[tuple[TcpProxy, float]] = field(default_factory=list)
    watched: list[TcpProxy] = field(default_factory=list)
    charges: list[str] = field(default_factory=list)
    may_die: frozenset[str] = frozenset()
    loses_locks: bool = False

    def __post_init__(self) -> None:
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            worker_rate_limit_max=0,
            worker_flush_ms=0,
            worker_max_stalled=0,
        )
        pool = TickingPool(self.clock)
        with mock.patch("worker.process.FlushPool", return_value=pool):
            self.process = WorkerProcess(
                settings, self.worker_redis, self.worker_stores, self.clock
            )
        self.queue = JobQueue(self.redis, LIGHT, clock=self.clock)
        self.dead_letters = JobQueue(self.redis, DEAD, clock=self.clock)
        self.clock.beside = self._look
        self._next_beat_s = 0.0

    def proxy_of(self, store: str) -> TcpProxy:
        return {"redis": self.redis_proxy, "mongodb": self.mongodb_proxy}[store]

    def break_at(
        self, step: tuple[str, bytes], store: str, mode: Mode, lasts_s: float, *, after: bool
    ) -> None:
        """Let a store go away when the worker comes to a step, for so many seconds."""

        def begin() -> None:
            broken = self.proxy_of(store)
            self.outages.append((broken, self.clock.monotonic_s() + lasts_s))
            broken.set_mode(mode)

        watched = self.proxy_of(step[0])
        watched.when_sent(step[1], begin, after=after)
        self.watched.append(watched)

    def run(self) -> None:
        """Let the worker work until its queues are empty and the outage is over."""
        end_s = self.clock.monotonic_s() + GIVE_UP_S

        def wait_for_work(*_: Any) -> bool:
            self.clock.wait(self.stop, 1.0)
            assert self.clock.monotonic_s() < end_s, f"it hangs: {self.left()}"
            if self._is_done():
                self.stop.set()
            return True

        with mock.patch("worker.consumer.wait_for_work", wait_for_work):
            self.process.parts.consumer.run(self.stop)
        assert not any(one.is_armed for one in self.watched), "it never came to that step"

    def documents(self) -> list[str]:
        found = self.stores.database.collection("items").find({}, {"_id": 1})
        return sorted(one["_id"] for one in found)

    def _is_done(self) -> bool:
        return not self.outages and not self.left()

    def left(self) -> dict[str, int]:
        """Return how many jobs are not done, by state. Done ones of Node's are kept."""
        counts = self.queue.counts()
        return {state: n for state, n in counts.items() if n and state is not JobState.COMPLETED}

    def _look(self) -> None:
        """What happens while somebody waits: the outage's end, heartbeat, upkeep, and a look."""
        now_s = self.clock.monotonic_s()
        for outage in [one for one in self.outages if now_s >= one[1]]:
            if self.loses_locks:
                for key in self.redis.scan_iter(f"bull:{LIGHT}:*:lock"):
                    self.redis.delete(key)
            self.outages.remove(outage)
            outage[0].set_mode(Mode.PASS)
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + 10.0
            with suppress(QueueError):
                self.process.parts.heartbeat.beat()
            self.process.parts.upkeep.run_once()
        self._note_charges()

    def _note_charges(self) -> None:
        """Look past the proxies whether anybody was charged with anything."""
        for letter in self.stores.database.collection("dead_letters").find():
            if letter["guid"] not in self.may_die:
                self.charges.append(f"dead letter: {letter['_id']}: {letter['reason']}")
        for key in self.redis.scan_iter(f"bull:{LIGHT}:lwn#*"):
            guid = key.partition(b"#")[2].decode()
            if guid not in self.may_die and not guid.endswith(":lock"):
                done, *charged = self.redis.hmget(key, "finishedOn", "atm", "stc", "solo", "defa")
                if not done and any(charged):
                    self.charges.append(f"{key!r}: {charged}")


@pytest.fixture
def line(
    redis_client: RedisConnection,
    valkey_url: str,
    stores: Stores,
    mongodb_url: str,
    mongo_database: MongoDatabase[dict[str, Any]],
    driver_looks_soon: None,
) -> Iterator[Line]:
    timeout_ms = int(TIMEOUT_S * 1000)
    with TcpProxy(valkey_url) as redis_proxy, TcpProxy(mongodb_url) as mongodb_proxy:
        worker_redis = connect(redis_proxy.url, socket_timeout_s=TIMEOUT_S)
        client: MongoClient[dict[str, Any]] = MongoClient(
            mongodb_proxy.url,
            # Else it would learn the store's own address, and go there past the proxy.
            directConnection=True,
            socketTimeoutMS=timeout_ms * 5,
            connectTimeoutMS=timeout_ms * 2,
            serverSelectionTimeoutMS=20,
            heartbeatFrequencyMS=20,
        )
        worker_stores = Stores.of(Database(client, mongo_database.name))
        try:
            line = Line(
                redis_client, stores, redis_proxy, mongodb_proxy, worker_redis, worker_stores
            )
            warm_up(line)
            yield line
        finally:
            disconnect(worker_redis)
            client.close()


def warm_up(line: Line) -> None:
    """Have all scripts loaded, so that a call names them by their digests alone."""
    for name in script_names():
        line.redis.script_load(script_text(name))
    line.stores.ensure_indexes()


def add_good(line: Line) -> list[str]:
    """Add items of imports, and jobs as Node's BullMQ adds them: no options, no revision."""
    ours = [make_job(make_data(f"i{n}", import_id="i1"), attempts=1 + n % 3) for n in range(12)]
    foreign = [make_job(make_data(f"f{n}"), None) for n in range(6)]
    line.queue.add_many([*ours, *foreign])
    for number, job in enumerate(foreign):
        key = line.queue.keys.job(job.id)
        line.redis.hset(key, "opts", '{"attempts":0}' if number % 2 else "{}")
    return sorted(job.id for job in [*ours, *foreign])


def add_some_bad(line: Line) -> list[str]:
    """Add items that fail by their own fault beside good ones; return the ids of the good ones.

    ``bad`` cannot be read; MongoDB refuses ``poison``; ``healed`` has died before and is good now.
    """
    refuse_titles(line.stores.database.collection("items").database, "poison")
    line.stores.dead_letters.record_many([make_letter_of("healed")])
    line.dead_letters.add_many([make_job(make_data("healed"))])
    line.may_die = frozenset({"bad", "poison1", "poison2", "healed"})
    line.queue.add_many(
        [
            make_job(make_data("bad", title=5), attempts=3),
            make_job(make_data("poison1", title="poison"), attempts=1),
            make_job(make_data("poison2", title="poison"), attempts=2),
            make_job(make_data("healed"), revision=2),
        ]
    )
    return sorted([*add_good(line), "lwn#healed"])


def assert_each_died_once(line: Line) -> None:
    """Those that fail by their own fault were tried as often as they may be, and died once."""
    letters = list(line.stores.database.collection("dead_letters").find())
    assert {letter["guid"]: letter["attempts"] for letter in letters} == {
        "bad": 1,
        "poison1": 1,
        "poison2": 2,
    }
    assert [len(letter["history"]) for letter in letters] == [1, 1, 1]
    shown = {view.id for view in line.dead_letters.list_jobs(JobState.WAITING, 0, 10)}
    assert shown == {"lwn#bad", "lwn#poison1", "lwn#poison2"}
    totals = line.queue.read_totals()
    assert (totals["failed"], totals["retried"]) == (3, 1)


def assert_all_stored_and_none_charged(line: Line, ids: list[str]) -> None:
    assert line.charges == []
    assert line.documents() == ids
    assert line.left() == {}
    totals = line.queue.read_totals()
    assert totals["completed"] == len(ids)
    if not line.may_die:
        assert not any(line.dead_letters.counts().values())
        assert not totals.get("retried")
    assert len(line.process.parts.consumer_parts.held) == 0
    assert not line.process.parts.consumer_parts.breaker.is_open


@pytest.mark.parametrize(("store", "step", "mode", "after"), cases_of(STEPS))
def test_an_outage_at_any_step_costs_nobody_an_attempt(
    line: Line, store: str, step: str, mode: Mode, after: bool
) -> None:
    ids = add_good(line)
    line.break_at(STEPS[step], store, mode, 5, after=after)
    line.run()
    assert_all_stored_and_none_charged(line, ids)


@pytest.mark.parametrize(("step", "store", "lasts_s"), lengths())
def test_an_outage_of_any_length_costs_nobody_an_attempt(
    line: Line, step: str, store: str, lasts_s: int
) -> None:
    ids = add_good(line)
    line.break_at(STEPS[step], store, Mode.REFUSE, lasts_s, after=False)
    line.run()
    assert_all_stored_and_none_charged(line, ids)


@pytest.mark.parametrize(
    ("mode", "step"),
    [
        (Mode.REFUSE, "claim"),
        (Mode.REFUSE, "write"),
        (Mode.REFUSE, "settle"),
        (Mode.SILENT, "claim"),
        pytest.param(Mode.SILENT, "write", marks=pytest.mark.long),
        pytest.param(Mode.SILENT, "settle", marks=pytest.mark.long),
    ],
)
def test_locks_that_run_out_in_an_outage_are_no_fault_of_their_jobs(
    line: Line, mode: Mode, step: str
) -> None:
    ids = add_good(line)
    line.loses_locks = True
    line.break_at(STEPS[step], "redis", mode, LONGER_THAN_LOCKS_S, after=step == "claim")
    line.run()
    assert_all_stored_and_none_charged(line, ids)


@pytest.mark.parametrize(("store", "step", "mode", "after"), cases_of(STEPS_OF_FAILURES))
def test_an_outage_while_failures_are_settled_charges_each_just_once(
    line: Line, store: str, step: str, mode: Mode, after: bool
) -> None:
    ids = add_some_bad(line)
    line.break_at(STEPS_OF_FAILURES[step], store, mode, 5, after=after)
    line.run()
    assert_all_stored_and_none_charged(line, ids)
    assert_each_died_once(line)


@pytest.mark.parametrize(
    "mode", [Mode.REFUSE, Mode.SILENT, pytest.param(Mode.CUT, marks=pytest.mark.long)]
)
def test_an_outage_of_redis_at_a_heartbeat_within_one_of_mongodb_costs_nobody_an_attempt(
    line: Line, mode: Mode
) -> None:
    ids = add_good(line)
    line.break_at(STEPS["write"], "mongodb", mode, 40, after=False)
    line.break_at(redis_call("extend"), "redis", mode, 15, after=False)
    line.run()
    assert_all_stored_and_none_charged(line, ids)


def test_an_outage_of_redis_at_the_release_of_what_mongodb_kept_waiting_costs_nobody_an_attempt(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.storing.GIVE_UP_AFTER_S", 20.0)
    ids = add_good(line)
    line.break_at(STEPS["write"], "mongodb", Mode.REFUSE, 40, after=False)
    line.break_at(redis_call("release"), "redis", Mode.REFUSE, 15, after=False)
    line.run()
    assert_all_stored_and_none_charged(line, ids)
