"""Whose fault a failure is: only an item's own failure may use one of its attempts."""

import pytest

from shared.errors import (
    ItemError,
    QueueError,
    QueueFull,
    QueueUnavailable,
    StoreError,
    StoreUnavailable,
    UnencodableJob,
)
from tests.fakes import FakeClock
from worker.outages import MAX_PAUSE_S, Owner, is_outage, make_breaker, owner_of, pause_s


@pytest.mark.parametrize(
    ("error", "owner", "outage"),
    [
        (ItemError("invalid", "no guid"), Owner.ITEM, False),
        (StoreUnavailable("no primary"), Owner.STORE, True),
        (StoreError("not authorized"), Owner.STORE, False),
        (QueueUnavailable("connection refused"), Owner.QUEUE, True),
        (QueueFull("at maxmemory"), Owner.QUEUE, True),
        (QueueError("WRONGTYPE"), Owner.QUEUE, False),
        (UnencodableJob("a#1", "a lone surrogate"), Owner.QUEUE, False),
        (OverflowError("int too large"), Owner.OURSELVES, False),
        (ConnectionError("a driver's own"), Owner.OURSELVES, False),
    ],
)
def test_each_error_has_one_owner(error: Exception, owner: Owner, outage: bool) -> None:
    assert owner_of(error) is owner
    assert is_outage(error) is outage


def test_pauses_grow_from_a_moment_to_five_seconds() -> None:
    assert 0.05 <= pause_s(0) <= 0.1
    assert MAX_PAUSE_S / 2 <= pause_s(1000) <= MAX_PAUSE_S


def test_the_breaker_tells_for_how_long_it_has_been_open() -> None:
    clock = FakeClock()
    breaker = make_breaker(clock)
    assert (breaker.is_open, breaker.open_for_s()) == (False, 0.0)
    breaker.trip("down")
    clock.advance(seconds=7)
    breaker.trip("still down")
    assert (breaker.is_open, breaker.open_for_s()) == (True, 7.0)
    breaker.close()
    breaker.close()
    assert (breaker.is_open, breaker.open_for_s()) == (False, 0.0)
