"""What a worker holds: one lock a job, by the token that it was claimed with."""

import threading

import pytest

from shared.queue import HeldLocks, JobQueue, connect
from tests.factories import make_claimed
from tests.fakes import FakeClock

CLIENT = connect("redis://127.0.0.1:1")
QUEUE = JobQueue(CLIENT, "light", clock=FakeClock())
HEAVY = JobQueue(CLIENT, "heavy", clock=FakeClock())
OLD_JOB = make_claimed("x" * 10, id="a#1", token="old")
NEW_JOB = make_claimed("x" * 20, id="a#1", token="new")
OTHER_JOB = make_claimed("x" * 5, id="a#2", token="old")
OLD, NEW, OTHER = OLD_JOB.lock, NEW_JOB.lock, OTHER_JOB.lock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def held(clock: FakeClock) -> HeldLocks:
    return HeldLocks(clock)


def test_held_jobs_and_their_bytes_are_counted(held: HeldLocks) -> None:
    held.add(QUEUE, [OLD_JOB, OTHER_JOB])
    held.add(HEAVY, [OLD_JOB])
    assert (len(held), held.size_bytes) == (3, 25)
    assert held.by_queue() == [(QUEUE, [OLD, OTHER]), (HEAVY, [OLD])]
    held.remove(QUEUE, [OLD, OTHER])
    held.remove(HEAVY, [OLD])
    assert (len(held), held.size_bytes) == (0, 0)


def test_a_job_that_is_added_or_removed_twice_counts_once(held: HeldLocks) -> None:
    held.add(QUEUE, [OLD_JOB])
    held.add(QUEUE, [OLD_JOB])
    assert (len(held), held.size_bytes) == (1, 10)
    assert held.remove(QUEUE, [OLD]) == [OLD_JOB]
    assert held.remove(QUEUE, [OLD]) == []
    assert (len(held), held.size_bytes) == (0, 0)


def test_settling_under_an_old_token_does_not_forget_the_job_claimed_anew(
    held: HeldLocks,
) -> None:
    held.add(QUEUE, [OLD_JOB])
    held.add(QUEUE, [NEW_JOB])
    held.remove(QUEUE, [OLD])
    assert held.by_queue() == [(QUEUE, [NEW])]
    assert held.still_held(QUEUE, [OLD, NEW]) == {NEW}
    assert held.size_bytes == 20


def test_of_two_locks_of_one_job_the_newer_is_to_be_extended(held: HeldLocks) -> None:
    held.add(QUEUE, [OLD_JOB])
    held.add(QUEUE, [NEW_JOB])
    assert held.by_queue() == [(QUEUE, [NEW])]


def test_a_lost_lock_is_held_no_longer_and_is_reported_once(held: HeldLocks) -> None:
    held.add(QUEUE, [OLD_JOB])
    held.note_lost(QUEUE, [OLD])
    assert held.take_lost() == {OLD}
    assert held.take_lost() == set()
    assert (len(held), held.size_bytes) == (0, 0)


def test_jobs_past_a_limit_are_named_with_their_age(held: HeldLocks, clock: FakeClock) -> None:
    held.add(QUEUE, [OLD_JOB])
    clock.advance(seconds=5)
    held.add(QUEUE, [OTHER_JOB])
    clock.advance(seconds=6)
    assert held.held_longer_than(10) == [(OLD_JOB, 11)]


def test_waiting_for_a_place_ends_when_there_is_one_or_at_a_stop(held: HeldLocks) -> None:
    stopping = threading.Event()
    held.add(QUEUE, [OLD_JOB])
    held.wait_until_fewer(2, stopping)
    stopping.set()
    held.wait_until_fewer(1, stopping)
    assert len(held) == 1


def test_waiting_for_the_last_job_ends_at_the_deadline(held: HeldLocks, clock: FakeClock) -> None:
    held.add(QUEUE, [OLD_JOB])
    assert not held.wait_until_none(clock.monotonic_s())
    held.remove(QUEUE, [OLD])
    assert held.wait_until_none(clock.monotonic_s())
