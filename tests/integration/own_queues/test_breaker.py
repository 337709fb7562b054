"""A worker whose jobs need something that is away, on a real Valkey."""

import logging
import threading
from typing import Any

import pytest

from feedmill import Breaker, InvalidJobOptions, Job, Queue, Worker, configure, queue
from feedmill.apps import AppWorkers
from feedmill.configuring import close_place
from feedmill.rules import Weight
from shared.queue import RedisConnection
from tests.fakes import FakeClock
from tests.processes import wait_until
from worker.signalling import why_stopped


class Warehouse:
    """What orders are shipped from; away until it opens."""

    def __init__(self) -> None:
        self.is_away = True
        self.shipped: list[str] = []
        self.asked: list[str] = []

    def ship(self, job: Job[Any]) -> None:
        self.asked.append(job.id)
        if job.name == "bad":
            raise ValueError("no such article")
        if self.is_away:
            raise ConnectionError("nobody answers")
        self.shipped.append(job.id)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def orders(redis_client: RedisConnection, clock: FakeClock) -> Queue:
    return Queue("orders", redis_client, clock=clock, default_job_options={"attempts": 4})


@pytest.fixture
def warehouse() -> Warehouse:
    return Warehouse()


def make_breaker(clock: FakeClock | None = None, **options: Any) -> Breaker:
    rules = {"failures": 2, "pause_s": 30.0, "is_trip": lambda e: isinstance(e, OSError)}
    return Breaker("warehouse", clock=clock, **(rules | options))


def work(worker: Worker) -> int:
    done = 0
    while worker.step():
        done += 1
    return done


def add(orders: Queue, *job_ids: str, name: str = "ship") -> None:
    orders.add_bulk([{"name": name, "opts": {"job_id": job_id}} for job_id in job_ids])


def attempts(orders: Queue) -> dict[str, int]:
    return {job.id: job.attempts_made for job in orders.get_jobs()}


def test_no_job_is_started_and_none_uses_an_attempt_while_what_they_need_is_away(
    orders: Queue, warehouse: Warehouse, clock: FakeClock
) -> None:
    add(orders, "a", "b", "c", "d")
    breaker = make_breaker(clock)
    worker = Worker(orders, warehouse.ship, breaker=breaker)
    assert work(worker) == 2
    assert attempts(orders) == {"a": 1, "b": 1, "c": 0, "d": 0}
    assert worker.breaker is breaker
    assert breaker.reason == "warehouse: nobody answers"
    for _ in range(3):
        clock.advance(seconds=30)
        assert work(worker) == 1
    # Each pause another one was tried, and waits now.
    assert warehouse.asked == ["a", "b", "c", "d", "a"]
    assert attempts(orders) == {"a": 1, "b": 1, "c": 0, "d": 0}
    warehouse.is_away = False
    clock.advance(seconds=30)
    assert work(worker) == 4
    assert sorted(warehouse.shipped) == ["a", "b", "c", "d"]
    assert not breaker.is_open


def test_a_job_that_runs_when_it_opens_goes_back_to_the_front(
    orders: Queue, warehouse: Warehouse, clock: FakeClock
) -> None:
    add(orders, "slow", "a", "b", "c")
    breaker = make_breaker(clock)
    other = Worker(orders, warehouse.ship, breaker=breaker)

    def ship_slowly(job: Job[Any]) -> None:
        work(other)
        raise ConnectionError("nobody answers")

    Worker(orders, ship_slowly, breaker=breaker).step()
    assert [job.id for job in orders.get_waiting()] == ["slow", "c", "a", "b"]
    assert attempts(orders) == {"slow": 0, "a": 1, "b": 1, "c": 0}


def test_of_several_workers_that_share_it_one_tries(
    orders: Queue, warehouse: Warehouse, clock: FakeClock
) -> None:
    add(orders, "a", "b")
    breaker = make_breaker(clock)
    breaker.trip("somebody said so")
    clock.advance(seconds=31)
    other = Worker(orders, warehouse.ship, breaker=breaker)
    others_worked: list[int] = []

    def ship(job: Job[Any]) -> None:
        others_worked.append(work(other))

    assert Worker(orders, ship, breaker=breaker).step()
    assert others_worked == [0]
    warehouse.is_away = False
    assert work(other) == 1


def test_a_job_that_fails_by_itself_neither_opens_nor_closes_it(
    orders: Queue, warehouse: Warehouse, clock: FakeClock
) -> None:
    add(orders, "x", name="bad")
    breaker = make_breaker(clock)
    worker = Worker(orders, warehouse.ship, breaker=breaker)
    worker.step()
    worker.step()
    assert not breaker.is_open
    breaker.trip("down")
    clock.advance(seconds=31)
    assert work(worker) == 2
    assert breaker.is_open
    job = orders.get_job("x")
    assert job is not None
    assert (job.attempts_made, job.is_failed()) == (4, True)
    warehouse.is_away = False
    add(orders, "y")
    assert work(worker) == 1
    assert not breaker.is_open


def test_of_a_batch_one_job_is_tried_and_what_fails_uses_no_attempt(
    orders: Queue, warehouse: Warehouse, clock: FakeClock
) -> None:
    sizes: list[int] = []

    def ship_all(jobs: list[Job[Any]]) -> None:
        sizes.append(len(jobs))
        for job in jobs:
            warehouse.ship(job)

    add(orders, *"abcdef")
    breaker = make_breaker(clock)
    worker = Worker(orders, ship_all, batch=10, breaker=breaker)
    assert work(worker) == 1
    # Two of them opened it, so the others are spared.
    assert attempts(orders) == {"a": 1, "b": 1, "c": 0, "d": 0, "e": 0, "f": 0}
    clock.advance(seconds=30)
    assert work(worker) == 1
    warehouse.is_away = False
    clock.advance(seconds=30)
    assert work(worker) == 2
    assert (sizes, breaker.is_open) == ([6, 1, 1, 5], False)
    assert sum(attempts(orders).values()) == 8


def test_a_rule_that_fails_costs_no_job_and_lets_others_be_tried(
    orders: Queue, warehouse: Warehouse, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def ask_nobody(error: BaseException) -> bool:
        raise RuntimeError("no answer")

    add(orders, "a")
    breaker = make_breaker(clock, is_trip=ask_nobody)
    worker = Worker(orders, warehouse.ship, breaker=breaker)
    breaker.trip("down")
    clock.advance(seconds=31)
    with caplog.at_level(logging.WARNING, "feedmill"):
        assert work(worker) == 4
    assert attempts(orders) == {"a": 4}
    assert "retry_rule_failed" in caplog.text


def test_a_claim_that_fails_lets_the_next_one_try(
    orders: Queue, warehouse: Warehouse, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(orders, "a")
    breaker = make_breaker(clock)
    breaker.trip("down")
    clock.advance(seconds=31)
    worker = Worker(orders, warehouse.ship, breaker=breaker)
    with monkeypatch.context() as patch, pytest.raises(ConnectionResetError):
        patch.setattr(orders.core, "claim", lambda **_: (_ for _ in ()).throw(ConnectionResetError))
        worker.step()
    warehouse.is_away = False
    assert work(worker) == 1
    assert not breaker.is_open


def test_a_started_worker_goes_on_by_itself_when_what_it_needs_is_back(
    redis_client: RedisConnection, warehouse: Warehouse
) -> None:
    orders = Queue("orders", redis_client, default_job_options={"attempts": 3})
    add(orders, *[f"n{number}" for number in range(20)])
    breaker = make_breaker(pause_s=0.05)
    opened = threading.Event()

    def ship(job: Job[Any]) -> None:
        if breaker.is_open:
            opened.set()
        warehouse.ship(job)

    worker = Worker(orders, ship, breaker=breaker, concurrency=4)
    worker.start()
    try:
        assert opened.wait(10)
        warehouse.is_away = False
        wait_until(lambda: len(warehouse.shipped) == 20, "all is shipped")
    finally:
        worker.close(5.0)
    assert sorted(warehouse.shipped) == sorted(f"n{number}" for number in range(20))
    assert not orders.get_failed()


def test_why_the_queue_of_an_app_stands_still_is_in_its_worker_s_sign(
    redis_client: RedisConnection, clock: FakeClock
) -> None:
    breaker = make_breaker(clock)

    @queue("orders", breaker=breaker)
    def ship(job: Job[str]) -> None:
        pass

    configure(redis_client)
    workers = AppWorkers([ship], set(Weight), "w-1")
    close_place()
    assert why_stopped(workers.breakers()["orders"]) == (None, 0.0)
    breaker.trip("nobody answers")
    clock.advance(seconds=7)
    assert why_stopped(workers.breakers()["orders"]) == ("nobody answers", 7.0)


@pytest.mark.parametrize("options", [{"failures": 0}, {"pause_s": 0.0}])
def test_a_breaker_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobOptions, match=next(iter(options))):
        make_breaker(**options)
