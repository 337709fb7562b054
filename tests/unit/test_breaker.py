"""A breaker by itself: when it opens, whom it lets through, when it closes."""

from typing import Any

import pytest

from shared.queue import Breaker, Lock
from tests.fakes import FakeClock

RUN, OTHER = Lock("a", "t"), Lock("b", "t")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def breaker(clock: FakeClock, log: list[tuple[str, dict[str, Any]]]) -> Breaker:
    return Breaker(
        clock,
        failures=3,
        pause_s=30,
        is_trip=lambda error: isinstance(error, ConnectionError),
        name="warehouse",
        log_event=lambda event, **fields: log.append((event, fields)),
    )


def fail(breaker: Breaker, times: int = 1, lock: Lock = RUN) -> list[float | None]:
    return [breaker.note_failure(lock, ConnectionError("refused")) for _ in range(times)]


def let_through(breaker: Breaker, lock: Lock = RUN) -> int:
    admitted = breaker.admit(10)
    breaker.begin([lock] if admitted else [])
    return admitted


def test_it_opens_after_failures_in_a_row_and_says_why(
    breaker: Breaker, log: list[tuple[str, dict[str, Any]]]
) -> None:
    assert fail(breaker, 2) == [None, None]
    assert (breaker.is_open, breaker.admit(10), breaker.reason) == (False, 10, None)
    assert fail(breaker) == [None]
    assert (breaker.is_open, breaker.admit(10)) == (True, 0)
    assert breaker.reason == "warehouse: refused"
    assert log == [("breaker_opened", {"reason": "warehouse: refused"})]


def test_a_success_begins_the_count_anew_and_other_errors_say_nothing(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert breaker.note_failure(RUN, ValueError("no such address")) is None
    breaker.note_success(RUN)
    fail(breaker, 2)
    assert breaker.note_failure(RUN, ValueError("no such address")) is None
    assert not breaker.is_open
    fail(breaker)
    assert breaker.is_open


def test_what_fails_while_it_is_open_is_spared_and_what_goes_well_says_nothing(
    breaker: Breaker, clock: FakeClock
) -> None:
    fail(breaker, 3)
    assert fail(breaker, 2) == [0, 0]
    breaker.note_success(OTHER)
    assert breaker.is_open
    clock.advance(seconds=31)
    assert let_through(breaker) == 1
    assert fail(breaker, lock=OTHER) == [0]
    assert breaker.admit(10) == 0


def test_after_the_pause_one_run_is_let_through_and_closes_it(
    breaker: Breaker, clock: FakeClock, log: list[tuple[str, dict[str, Any]]]
) -> None:
    fail(breaker, 3)
    clock.advance(seconds=29)
    assert let_through(breaker) == 0
    clock.advance(seconds=1)
    assert let_through(breaker) == 1
    assert let_through(breaker, OTHER) == 0
    breaker.note_success(RUN)
    assert (breaker.is_open, breaker.reason, breaker.open_for_s()) == (False, None, 0.0)
    assert let_through(breaker) == 10
    assert log[-1] == ("breaker_closed", {"open_s": 30.0})
    assert fail(breaker, 2) == [None, None]
    assert not breaker.is_open


def test_a_trial_that_fails_begins_the_pause_anew_and_lets_another_job_be_next(
    breaker: Breaker, clock: FakeClock
) -> None:
    fail(breaker, 3)
    clock.advance(seconds=30)
    let_through(breaker)
    assert fail(breaker) == [30]
    clock.advance(seconds=29)
    assert let_through(breaker) == 0
    clock.advance(seconds=1)
    assert let_through(breaker) == 1
    assert breaker.open_for_s() == 60


def test_a_trial_that_says_nothing_lets_another_through(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 3)
    clock.advance(seconds=30)
    # Nothing to claim, then a run that fails by itself.
    assert breaker.admit(10) == 1
    breaker.begin([])
    assert let_through(breaker) == 1
    breaker.note_failure(RUN, ValueError("no such address"))
    breaker.leave(RUN)
    assert breaker.is_open
    assert let_through(breaker, OTHER) == 1


def test_who_finds_out_in_another_way_opens_and_closes_it(
    breaker: Breaker, clock: FakeClock
) -> None:
    breaker.trip("disk is full")
    breaker.trip("something else")
    clock.advance(seconds=7)
    assert (breaker.reason, breaker.open_for_s()) == ("disk is full", 7.0)
    breaker.close()
    breaker.close()
    assert (breaker.reason, breaker.admit(3)) == (None, 3)


def test_without_a_pause_it_stays_open_until_it_is_closed(clock: FakeClock) -> None:
    breaker = Breaker(clock)
    fail(breaker)
    clock.advance(days=30)
    assert breaker.admit(5) == 0
