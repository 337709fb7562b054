"""Whoever scrapes how often: the record is asked once in a while."""

import pytest

from server.api.metrics import Remembered
from shared.errors import StoreUnavailable
from tests.fakes import FakeClock


def test_an_answer_is_remembered_until_it_is_too_old() -> None:
    clock, asked = FakeClock(), iter(range(10))
    remembered = Remembered(lambda: next(asked), 15.0, clock)
    assert [remembered.get(), remembered.get()] == [0, 0]
    clock.advance(seconds=14.9)
    assert remembered.get() == 0
    clock.advance(seconds=0.1)
    assert [remembered.get(), remembered.get()] == [1, 1]


def test_what_takes_long_is_asked_more_seldom() -> None:
    clock, asked = FakeClock(), iter(range(10))

    def ask() -> int:
        clock.advance(seconds=2)
        return next(asked)

    remembered = Remembered(ask, 15.0, clock)
    assert remembered.get() == 0
    clock.advance(seconds=37.9)
    assert remembered.get() == 0
    clock.advance(seconds=0.1)
    assert remembered.get() == 1


def test_a_failure_is_not_remembered() -> None:
    failures = [StoreUnavailable("MongoDB cannot serve")]

    def ask() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    remembered = Remembered(ask, 15.0, FakeClock())
    with pytest.raises(StoreUnavailable):
        remembered.get()
    assert remembered.get() == "answer"
