"""Signs of life of workers, on a real Valkey."""

import threading
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from shared.errors import QueueUnavailable
from shared.queue import (
    Breaker,
    HeldLocks,
    JobQueue,
    RedisConnection,
    WorkerSign,
    WorkerSigns,
    connect,
    find_workers,
)
from shared.queue.worker_signs import SIGN_TTL_MS
from shared.supervision import Supervisor
from tests.fakes import FakeClock
from worker.signalling import Signaller, item_signs

SIGN = WorkerSign("host-1-abc", ("items", "items_heavy"), held_jobs=3, up_s=60.5)


class SteppedClock(FakeClock):
    """Sets the event that is waited for after so many waits."""

    def __init__(self, rounds: int, look: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.waits = 0
        self._rounds = rounds
        self._look = look

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.waits += 1
        self._look()
        if self.waits == self._rounds:
            event.set()
        return super().wait(event, timeout_s)


@pytest.fixture
def signs(redis_client: RedisConnection) -> WorkerSigns:
    return WorkerSigns(redis_client)


def test_signs_are_read_as_they_were_left_the_last_one_of_each_worker(signs: WorkerSigns) -> None:
    assert signs.read() == []
    stopped = WorkerSign("host-2-é", ("items",), 0, 1.0, "MongoDB is away", 2.5)
    signs.leave(stopped)
    signs.leave(SIGN)
    signs.leave(replace(SIGN, held_jobs=9))
    assert signs.read() == [replace(SIGN, held_jobs=9), stopped]
    assert find_workers(signs.read(), "items_heavy") == [replace(SIGN, held_jobs=9)]
    assert [sign.is_breaker_open for sign in signs.read()] == [False, True]


def test_sign_of_a_worker_that_stops_is_taken_away(signs: WorkerSigns) -> None:
    signs.leave(SIGN)
    signs.take_away(SIGN.worker_id)
    assert signs.read() == []


def test_signs_vanish_by_themselves(signs: WorkerSigns, redis_client: RedisConnection) -> None:
    signs.leave(SIGN)
    keys = sorted(redis_client.keys("*"))
    assert keys == [b"bull:own:workers", b"bull:own:workers:host-1-abc"]
    for key in keys:
        assert 0 < redis_client.pttl(key) <= SIGN_TTL_MS


def test_worker_that_died_is_forgotten(signs: WorkerSigns, redis_client: RedisConnection) -> None:
    signs.leave(SIGN)
    signs.leave(replace(SIGN, worker_id="other"))
    redis_client.delete("bull:own:workers:host-1-abc")
    assert [sign.worker_id for sign in signs.read()] == ["other"]
    assert redis_client.smembers("bull:own:workers") == {b"other"}


def test_sign_of_a_newer_version_is_read(signs: WorkerSigns, redis_client: RedisConnection) -> None:
    signs.leave(SIGN)
    key = "bull:own:workers:host-1-abc"
    redis_client.set(key, orjson.dumps(orjson.loads(redis_client.get(key)) | {"mood": "good"}))
    assert signs.read() == [SIGN]


@pytest.mark.parametrize("written", ["{}", "[]", "no JSON", '{"queues": 1}'])
def test_sign_that_cannot_be_read_hides_no_other(
    signs: WorkerSigns, redis_client: RedisConnection, written: str
) -> None:
    signs.leave(SIGN)
    signs.leave(replace(SIGN, worker_id="odd"))
    redis_client.set("bull:own:workers:odd", written)
    assert signs.read() == [SIGN]


@pytest.mark.parametrize(
    "field",
    [
        {"worker_id": 1},
        {"queues": [1]},
        {"held_jobs": 1.5},
        {"held_jobs": "1"},
        {"up_s": "1"},
        {"breaker_reason": 1},
        {"breaker_open_s": None},
        {"failing_threads": [1]},
    ],
)
def test_sign_with_one_field_of_another_kind_is_not_shown(
    signs: WorkerSigns, redis_client: RedisConnection, field: dict[str, object]
) -> None:
    signs.leave(SIGN)
    key = "bull:own:workers:host-1-abc"
    redis_client.set(key, orjson.dumps(orjson.loads(redis_client.get(key)) | field))
    assert signs.read() == []


def test_worker_says_what_it_holds_and_what_stops_it(
    redis_client: RedisConnection, signs: WorkerSigns, queue: JobQueue, clock: FakeClock
) -> None:
    breaker, held = Breaker(clock), HeldLocks(clock)
    supervisor = quiet_supervisor(clock)
    describe = item_signs(["items"], [held], breaker, supervisor)
    signaller = Signaller(signs, describe, clock, supervisor)
    clock.advance(seconds=5)
    signaller.signal()
    expected = WorkerSign(signaller.worker_id, ("items",), 0, 5.0)
    assert signs.read() == [expected]
    breaker.trip("MongoDB is away")
    clock.advance(seconds=7)
    signaller.signal()
    assert signs.read() == [
        replace(expected, up_s=12.0, breaker_reason="MongoDB is away", breaker_open_s=7.0)
    ]
    breaker.close()
    signaller.signal()
    assert signs.read() == [replace(expected, up_s=12.0)]


def quiet_supervisor(clock: FakeClock) -> Supervisor:
    return Supervisor(clock, lambda *_, **__: None)


def run_until_stopped(signs: WorkerSigns, queue: JobQueue, clock: FakeClock) -> None:
    supervisor = quiet_supervisor(clock)
    describe = item_signs(["items"], [HeldLocks(clock)], Breaker(clock), supervisor)
    signaller = Signaller(signs, describe, clock, supervisor)
    signaller.start()
    assert signaller._thread is not None
    signaller._thread.join(10.0)
    assert supervisor.failures() == {"signaller": 0}


def test_signaller_outlives_an_outage_and_leaves_nothing_behind(
    signs: WorkerSigns, queue: JobQueue
) -> None:
    clock = SteppedClock(rounds=3)
    away = WorkerSigns(connect("redis://127.0.0.1:1", socket_timeout_s=0.1))
    with pytest.raises(QueueUnavailable):
        away.read()
    run_until_stopped(away, queue, clock)
    assert clock.waits == 3

    seen: list[int] = []
    clock = SteppedClock(rounds=2, look=lambda: seen.append(len(signs.read())))
    run_until_stopped(signs, queue, clock)
    assert seen == [1, 1]
    assert signs.read() == []
