"""How many workers an item queue can use, and how fast one worker is taken to be."""

import pytest

from server.api.workers_wanted import (
    ASSUMED_PER_WORKER,
    HALF_LIFE_S,
    LEARN_S,
    Load,
    WorkerSpeed,
    count_workers_wanted,
)
from tests.fakes import FakeClock

PER_WORKER = 50.0  # so one works off 3,000 in the minute that a backlog may take


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        (Load(0, 0), 1),
        (Load(0, 9), 1),
        (Load(3000, 1), 1),
        (Load(3001, 1), 2),
        (Load(30_000, 1), 10),
    ],
)
def test_as_many_are_wanted_as_work_off_the_backlog_in_a_minute(load: Load, wanted: int) -> None:
    assert count_workers_wanted(load, PER_WORKER) == wanted


@pytest.mark.parametrize(
    ("limit_per_s", "wanted"), [(1.0, 1), (50.0, 1), (51.0, 2), (175.0, 4), (10_000.0, 10)]
)
def test_not_more_are_wanted_than_the_rate_limit_lets_work(limit_per_s: float, wanted: int) -> None:
    assert count_workers_wanted(Load(30_000, 1, limit_per_s), PER_WORKER) == wanted


def test_a_paused_queue_wants_one() -> None:
    assert count_workers_wanted(Load(30_000, 10, is_paused=True), PER_WORKER) == 1


@pytest.mark.parametrize(("workers", "wanted"), [(0, 1), (3, 3), (20, 10)])
def test_not_more_than_there_are_are_wanted_while_mongodb_stores_nothing(
    workers: int, wanted: int
) -> None:
    assert count_workers_wanted(Load(30_000, workers, is_store_away=True), PER_WORKER) == wanted


def learn(
    speed: WorkerSpeed, clock: FakeClock, rate: float | None, workers: int = 1, *, is_busy: bool
) -> float:
    """Let a minute go by with this rate; return what one worker is taken for."""
    for _ in range(int(LEARN_S / 2) + 1):
        clock.advance(seconds=2)
        learned = speed.learn(rate, workers, is_busy=is_busy)
    return learned


def test_a_speed_is_assumed_until_workers_have_been_busy_for_a_minute() -> None:
    clock = FakeClock()
    speed = WorkerSpeed(clock)
    assert speed.learn(None, 0, is_busy=False) == ASSUMED_PER_WORKER
    assert learn(speed, clock, 7.0, is_busy=False) == ASSUMED_PER_WORKER
    assert speed.learn(30.0, 1, is_busy=True) == ASSUMED_PER_WORKER
    assert learn(speed, clock, 30.0, is_busy=True) == 30.0


def test_the_rate_is_shared_by_all_workers() -> None:
    clock = FakeClock()
    assert learn(WorkerSpeed(clock), clock, 120.0, 4, is_busy=True) == 30.0


def test_a_rate_that_something_else_limits_does_not_make_workers_look_slow() -> None:
    clock = FakeClock()
    speed = WorkerSpeed(clock)
    learn(speed, clock, 80.0, is_busy=True)
    assert learn(speed, clock, 5.0, is_busy=False) == 80.0


def test_a_faster_worker_is_believed_at_once_and_a_slower_one_by_and_by() -> None:
    clock = FakeClock()
    speed = WorkerSpeed(clock)
    learn(speed, clock, 80.0, is_busy=True)
    assert speed.learn(400.0, 1, is_busy=True) == 400.0
    after_a_minute = learn(speed, clock, 40.0, is_busy=True)
    assert after_a_minute == pytest.approx(400 * 0.5 ** (LEARN_S / HALF_LIFE_S), rel=0.02)
    for _ in range(60):
        learned = learn(speed, clock, 40.0, is_busy=True)
    assert learned == 40.0


def test_workers_that_store_nothing_have_some_speed() -> None:
    clock = FakeClock()
    assert learn(WorkerSpeed(clock), clock, 0.0, is_busy=True) > 0
