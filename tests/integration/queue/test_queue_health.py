"""Whether a queue's parts fit together, and what Redis says of itself."""

import pytest

from shared.clock import SystemClock
from shared.queue import (
    JobQueue,
    JobState,
    QueueExaminer,
    RateLimit,
    connect,
    disconnect,
    examine_redis,
    wait_for_work,
)
from tests.fakes import FakeClock
from tests.queue_states import claim, lose_locks, make_job, seed_active, seed_waiting

PAGE = 1000


@pytest.fixture
def examiner(queue: JobQueue) -> QueueExaminer:
    return QueueExaminer(queue.client, queue.name, clock=queue.clock)


def test_a_queue_whose_parts_fit_together_is_not_suspicious(
    queue: JobQueue, examiner: QueueExaminer
) -> None:
    seed_active(queue, "a#1")
    seed_waiting(queue, "a#2", "a#3")
    queue.client.hset(queue.keys.meta, mapping={"max": 5, "duration": 1000})
    look = examiner.look(2)
    assert (look.counts[JobState.ACTIVE], look.counts[JobState.WAITING]) == (1, 2)
    assert (look.is_whole, look.is_suspicious, look.is_paused) == (True, False, False)
    assert look.rate_limit == RateLimit(5, 1000)


def test_what_lacks_its_hash_its_state_or_its_lock_is_found(
    queue: JobQueue, examiner: QueueExaminer
) -> None:
    seed_active(queue, "held#1", "stalled#1")
    lose_locks(queue, "stalled#1")
    seed_waiting(queue, "whole#1", "empty#1", "nowhere#1", "parked#1")
    queue.client.delete(queue.keys.job("empty#1"))
    queue.client.lrem(queue.keys.wait, 1, "nowhere#1")
    queue.client.lmove(queue.keys.wait, queue.keys.paused, "LEFT", "LEFT")
    look = examiner.look(100)
    assert look.is_whole
    assert look.is_suspicious
    assert look.without_hash == {"empty#1"}
    assert look.without_state == {"nowhere#1"}
    assert look.without_lock == {"stalled#1"}


@pytest.mark.parametrize("broken", ["hash", "state", "lock"])
def test_one_thing_that_does_not_fit_is_enough_for_another_look(
    queue: JobQueue, examiner: QueueExaminer, broken: str
) -> None:
    seed_active(queue, "a#1")
    if broken == "hash":
        queue.client.delete(queue.keys.job("a#1"))
    elif broken == "state":
        queue.client.delete(queue.keys.active)
    else:
        lose_locks(queue, "a#1")
    assert examiner.look(9).is_suspicious


def test_only_what_both_looks_have_seen_is_kept(queue: JobQueue, examiner: QueueExaminer) -> None:
    seed_active(queue, *[f"a#{n}" for n in range(6)])
    queue.client.delete(queue.keys.job("a#0"), queue.keys.job("a#1"))
    queue.client.lrem(queue.keys.active, 1, "a#2")
    queue.client.lrem(queue.keys.active, 1, "a#3")
    lose_locks(queue, "a#4", "a#5")
    first = examiner.look(99)
    queue.client.hset(queue.keys.job("a#0"), "name", "item")
    queue.client.lpush(queue.keys.active, "a#2")
    queue.client.set(queue.keys.lock("a#4"), "t2")
    both = first.and_later(examiner.look(99))
    assert both.without_hash == {"a#1"}
    assert both.without_state == {"a#3"}
    assert both.without_lock == {"a#5"}
    assert both.counts[JobState.ACTIVE] == 5


def test_a_look_at_some_jobs_of_many_calls_none_stateless(
    queue: JobQueue, examiner: QueueExaminer
) -> None:
    seed_waiting(queue, "a#1", "a#2")
    look = examiner.look(1)
    assert (look.is_whole, look.without_state) == (False, frozenset())


def test_a_redis_that_is_too_large_to_search_calls_no_job_stateless_that_was_not_seen(
    queue: JobQueue, examiner: QueueExaminer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.queue.health._MAX_SCANNED", 2 * PAGE)
    seed_waiting(queue, *[f"a#{n}" for n in range(4 * PAGE)])
    assert not examiner.look(4 * PAGE).is_whole
    monkeypatch.setattr("shared.queue.health._MAX_SCANNED", 9 * PAGE)
    assert examiner.look(4 * PAGE).is_whole


def test_jobs_are_looked_at_page_by_page_up_to_the_limit(
    queue: JobQueue, examiner: QueueExaminer
) -> None:
    ids = [f"a#{n:04}" for n in range(2 * PAGE + 100)]
    seed_waiting(queue, *ids)
    absent = [ids[0], ids[PAGE - 1], ids[PAGE], ids[2 * PAGE + 1]]
    queue.client.delete(*[queue.keys.job(job_id) for job_id in absent])
    assert examiner.find_absent(ids) == absent
    assert examiner.look(PAGE + 1).without_hash == set(absent[:3])
    assert examiner.look(9 * PAGE).without_hash == set(absent)
    assert list(examiner.read_waiting(PAGE + 2)) == [
        ids[n] for n in range(1, PAGE + 2) if n not in (PAGE - 1, PAGE)
    ]


def test_names_of_waiting_jobs_come_with_the_next_one_first(
    queue: JobQueue, examiner: QueueExaminer
) -> None:
    queue.add_many([make_job(f"a#{n}", name=f"n{n}") for n in range(3)])
    assert list(examiner.read_waiting(2).items()) == [("a#0", "n0"), ("a#1", "n1")]


def test_who_waits_for_work_is_counted_as_a_worker_of_that_queue_alone(
    queue: JobQueue, examiner: QueueExaminer, valkey_url: str
) -> None:
    others = examiner.count_workers()
    assert others is not None
    client = connect(valkey_url)
    for name in ("items", "items2"):
        wait_for_work(client, [JobQueue(client, name, clock=SystemClock())], 0.01)
    assert examiner.count_workers() == others + 1
    disconnect(client)


class MinuteClock(FakeClock):
    """Moves on by a minute each time that it is asked."""

    def now_ms(self) -> int:
        self.advance(minutes=1)
        return super().now_ms()


def test_redis_clock_is_compared_with_the_middle_of_the_question(queue: JobQueue) -> None:
    clock = MinuteClock()
    start_ms = FakeClock().now_ms()
    before_s, before_us = queue.client.time()
    report = examine_redis(queue.client, clock)
    after_s, after_us = queue.client.time()
    assert report.round_trip_ms == 60_000
    assert report.clock_ahead_ms is not None
    answered_ms = report.clock_ahead_ms + start_ms + 90_000
    assert before_s * 1000 + before_us // 1000 <= answered_ms <= after_s * 1000 + after_us // 1000


def test_redis_tells_of_itself(queue: JobQueue, clock: FakeClock) -> None:
    seed_waiting(queue, "a#1")
    claim(queue)
    report = examine_redis(queue.client, clock)
    assert (report.role, report.is_cluster, report.is_told) == ("master", False, True)
    assert (report.is_append_only, report.is_append_ok, report.is_snapshot_ok) == (
        False,
        True,
        True,
    )
    assert (report.eviction_policy, report.has_snapshots) == ("noeviction", False)
    assert report.used_bytes > 0
    assert report.version[0].isdigit()
