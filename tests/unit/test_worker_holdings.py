"""What a worker holds: one lock a job, by the token that it was claimed with."""

import pytest

from shared.queue import JobQueue, Lock, connect
from tests.fakes import FakeClock
from worker.breaker import Breaker
from worker.holdings import Holdings

CLIENT = connect("redis://127.0.0.1:1")
QUEUE = JobQueue(CLIENT, "light", clock=FakeClock())
HEAVY = JobQueue(CLIENT, "heavy", clock=FakeClock())
OLD, NEW = Lock("a#1", "old"), Lock("a#1", "new")


@pytest.fixture
def holdings() -> Holdings:
    return Holdings([QUEUE, HEAVY])


def test_jobs_and_bytes_in_hand_are_counted(holdings: Holdings) -> None:
    holdings.add(QUEUE, {OLD: 10, Lock("a#2", "old"): 5})
    holdings.add(HEAVY, {OLD: 1})
    assert len(holdings) == 3
    assert holdings.by_queue() == [(QUEUE, [OLD, Lock("a#2", "old")]), (HEAVY, [OLD])]
    holdings.remove(QUEUE, [OLD, Lock("a#2", "old")])
    holdings.remove(HEAVY, [OLD])
    assert (len(holdings), holdings.held_bytes) == (0, 0)


def test_settling_under_an_old_token_does_not_forget_the_job_claimed_anew(
    holdings: Holdings,
) -> None:
    holdings.add(QUEUE, {OLD: 10})
    holdings.add(QUEUE, {NEW: 20})
    holdings.remove(QUEUE, [OLD])
    assert holdings.by_queue() == [(QUEUE, [NEW])]
    assert holdings.held_bytes == 20


def test_a_lost_lock_leaves_the_hand_and_is_reported_once(holdings: Holdings) -> None:
    holdings.add(QUEUE, {OLD: 10})
    holdings.mark_lost(QUEUE, [OLD])
    assert holdings.take_lost() == {OLD}
    assert holdings.take_lost() == set()
    assert (len(holdings), holdings.held_bytes) == (0, 0)


def test_the_breaker_tells_for_how_long_it_has_been_open() -> None:
    clock = FakeClock()
    breaker = Breaker(clock)
    assert (breaker.is_open, breaker.open_for_s()) == (False, 0.0)
    breaker.trip("down")
    clock.advance(seconds=7)
    breaker.trip("still down")
    assert (breaker.is_open, breaker.open_for_s()) == (True, 7.0)
    breaker.close()
    breaker.close()
    assert (breaker.is_open, breaker.open_for_s()) == (False, 0.0)
