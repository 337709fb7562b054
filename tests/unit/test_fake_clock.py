"""The fake clock moves only when it is told to, and never back."""

import threading
from datetime import UTC, datetime, timedelta

from tests.fakes import FakeClock

START = datetime(2026, 11, 2, 8, tzinfo=UTC)


def test_clock_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(START)
    assert (clock.now(), clock.now()) == (START, START)
    clock.advance(hours=1, seconds=0.5)
    assert clock.now() == START + timedelta(hours=1, milliseconds=500)


def test_clock_advances_to_a_moment_but_not_back_to_one() -> None:
    clock = FakeClock(START)
    started_s = clock.monotonic_s()
    clock.advance_to(START + timedelta(minutes=1))
    clock.advance_to(START)
    assert clock.now() == START + timedelta(minutes=1)
    assert clock.monotonic_s() - started_s == 60


def test_wait_lets_the_time_pass_unless_the_event_is_set() -> None:
    clock, event = FakeClock(START), threading.Event()
    assert not clock.wait(event, 5)
    event.set()
    assert clock.wait(event, 5)
    assert clock.now() == START + timedelta(seconds=5)
