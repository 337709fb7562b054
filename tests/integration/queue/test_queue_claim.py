"""Claiming: many at once, within every limit, and never a ghost."""

import pytest

from shared.queue import BlockedBy, JobQueue, JobState, RateLimit, Retry
from shared.queue.limits import limit_rate, read_rate
from tests.fakes import FakeClock
from tests.queue_states import (
    active,
    claim,
    events,
    job_fields,
    line,
    make_job,
    scripts_of,
    seed_active,
    seed_stalled,
    seed_waiting,
)

PER_MINUTE = RateLimit(max_jobs=2, duration_ms=60_000)


def ids_of(queue: JobQueue, token: str = "t1", **options: object) -> list[str]:
    return [job.id for job in claim(queue, token, **options).jobs]  # type: ignore[arg-type]


def test_a_claim_locks_what_it_takes(queue: JobQueue, clock: FakeClock) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    claimed = claim(queue, limit=2)
    assert [job.id for job in claimed.jobs] == ["a#1", "a#2"]
    assert (claimed.blocked_by, claimed.retry_in_ms) == (None, None)
    assert (line(queue), active(queue)) == (["a#3"], ["a#1", "a#2"])
    assert queue.client.get("bull:items:a#1:lock") == b"t1"
    assert 0 < queue.client.pttl("bull:items:a#1:lock") <= 30_000
    fields = job_fields(queue, "a#1")
    assert (fields["ats"], fields["processedOn"]) == ("1", str(clock.now_ms()))
    assert events(queue)[-2:] == ["active a#1", "active a#2"]


def test_a_claimed_job_tells_all_that_its_worker_needs(queue: JobQueue, clock: FakeClock) -> None:
    job = seed_active(queue, "a#1", revision=7)[0]
    assert (job.name, job.raw_data, job.revision, job.tally) == (
        "item",
        '{"guid":"a#1"}',
        7,
        "import-1",
    )
    assert (job.attempts_made, job.attempts_started, job.max_attempts) == (0, 1, 3)
    assert job.backoff == {"type": "exponential", "delay": 1000}
    assert (job.stalled_count, job.is_solo, job.deferred_failure) == (0, False, None)
    assert (job.token, job.timestamp_ms) == ("t1", clock.now_ms())


def test_a_claim_that_reads_all_returns_what_lies_in_redis(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    queue.client.hset(queue.keys.job("a#2"), mapping={"rjk": "daily", "priority": "3", "pb": "old"})
    first, second = claim(queue, reads_whole=True, worker_name="w-7").jobs
    assert queue.get_jobs(["a#1", "a#2"]) == [first.view, second.view]
    assert (first.scheduler_id, second.scheduler_id) == (None, "daily")
    assert second.view is not None
    assert (second.view.processed_by, second.view.attempts_started) == ("w-7", 1)


def test_a_claim_that_reads_all_knows_of_each_job_what_any_other_knows(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    queue.client.hset(queue.keys.job("a#2"), "solo", "1")
    queue.client.hset(queue.keys.job("a#3"), mapping={"defa": "stalled", "solo": "1"})
    whole = [job for token in "xyz" for job in claim(queue, token, reads_whole=True).jobs]
    assert [(job.id, job.is_solo, job.deferred_failure) for job in whole] == [
        ("a#1", False, None),
        ("a#2", True, None),
        ("a#3", False, "stalled"),
    ]
    queue.release_many([job.lock for job in whole])
    other = [job for token in "uvw" for job in claim(queue, token).jobs]
    assert [job._replace(token="", attempts_started=1, view=None) for job in whole] == [
        job._replace(token="", attempts_started=1) for job in other
    ]


def test_a_repeated_claim_that_reads_all_answers_the_same(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    first = claim(queue, "t1", limit=1, reads_whole=True, worker_name="w-7")
    assert claim(queue, "t1", limit=1, reads_whole=True, worker_name="w-7") == first
    assert line(queue) == ["a#2"]


def test_a_claim_that_reads_all_drops_ids_without_a_job(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.client.rpush(queue.keys.wait, "ghost")
    queue.client.rpush(queue.keys.wait, "text")
    queue.client.set(queue.keys.job("text"), "no hash")
    assert ids_of(queue, reads_whole=True) == ["a#1"]
    assert queue.client.exists(queue.keys.job("ghost")) == 0


def test_a_worker_without_a_name_leaves_that_of_the_last_one(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.release_many([job.lock for job in claim(queue, "t1", worker_name="w-7").jobs])
    claim(queue, "t2")
    assert job_fields(queue, "a#1")["pb"] == "w-7"


def test_an_empty_queue_says_so(queue: JobQueue) -> None:
    claimed = claim(queue)
    assert (claimed.jobs, claimed.blocked_by, claimed.retry_in_ms) == ([], BlockedBy.EMPTY, None)


def test_an_empty_queue_says_when_the_next_delayed_job_is_due(
    queue: JobQueue, clock: FakeClock
) -> None:
    seed_active(queue, "a#1")
    queue.retry_many([Retry("a#1", "t1", "boom", "", 5_000)])
    clock.advance(seconds=2)
    assert claim(queue, "t2").retry_in_ms == 3_000


def test_due_jobs_are_promoted_before_claiming(queue: JobQueue, clock: FakeClock) -> None:
    seed_active(queue, "a#1")
    queue.retry_many([Retry("a#1", "t1", "boom", "", 5_000)])
    seed_waiting(queue, "a#2")
    clock.advance(seconds=5)
    assert ids_of(queue, "t2") == ["a#2", "a#1"]


def test_a_claim_stops_at_the_bytes_it_may_hold(queue: JobQueue) -> None:
    queue.add_many([make_job(f"a#{n}", data={"text": "x" * 1000}) for n in range(4)])
    assert ids_of(queue, max_bytes=2_500) == ["a#0", "a#1"]
    assert line(queue) == ["a#2", "a#3"]


def test_one_job_is_claimed_however_large_it_is(queue: JobQueue) -> None:
    queue.add_many([make_job("a#1", data={"text": "x" * 1000}), make_job("a#2")])
    assert ids_of(queue, max_bytes=10) == ["a#1"]


def test_a_claim_of_all_of_each_job_counts_all_of_it(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    for job_id in ("a#1", "a#2", "a#3"):
        queue.client.hset(queue.keys.job(job_id), "stacktrace", "x" * 1_000)
    assert ids_of(queue, max_bytes=2_900, reads_whole=True) == ["a#1", "a#2"]
    assert ids_of(queue, token="t2", max_bytes=2_900, reads_whole=True) == ["a#3"]


def test_a_paused_queue_gives_nothing(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.pause()
    assert claim(queue).blocked_by is BlockedBy.PAUSED
    queue.resume()
    assert ids_of(queue) == ["a#1"]


def test_a_global_concurrency_bounds_what_is_claimed_in_all(queue: JobQueue) -> None:
    queue.client.hset(queue.keys.meta, "concurrency", 2)
    seed_waiting(queue, "a#1", "a#2", "a#3")
    first = claim(queue)
    assert (len(first.jobs), first.blocked_by) == (2, BlockedBy.CONCURRENCY)
    assert claim(queue, "t2").blocked_by is BlockedBy.CONCURRENCY


def test_the_rate_limit_holds_over_all_claims_of_a_window(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    assert ids_of(queue, "t1", limit=1, rate_limit=PER_MINUTE) == ["a#1"]
    second = claim(queue, "t2", rate_limit=PER_MINUTE)
    assert [job.id for job in second.jobs] == ["a#2"]
    assert second.blocked_by is BlockedBy.RATE_LIMIT
    third = claim(queue, "t3", rate_limit=PER_MINUTE)
    assert third.jobs == []
    assert third.retry_in_ms is not None
    assert 0 < third.retry_in_ms <= 60_000


def test_the_rate_limit_ends_with_its_window(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    claim(queue, "t1", rate_limit=PER_MINUTE)
    queue.client.delete(queue.keys.limiter)
    assert ids_of(queue, "t2", rate_limit=PER_MINUTE) == ["a#3"]


def test_a_limit_of_the_queue_goes_before_that_of_the_claim(queue: JobQueue) -> None:
    queue.set_rate_limit(RateLimit(max_jobs=1, duration_ms=60_000))
    seed_waiting(queue, "a#1", "a#2")
    assert ids_of(queue, "t1", rate_limit=PER_MINUTE) == ["a#1"]
    assert 0 < queue.sample().rate_limit_ttl_ms <= 60_000
    queue.client.incr(queue.keys.limiter)
    assert 0 < queue.sample().rate_limit_ttl_ms <= 60_000
    queue.set_rate_limit(None)
    assert queue.sample().rate_limit_ttl_ms == 0
    assert ids_of(queue, "t2") == ["a#2"]


def test_a_limit_that_changes_begins_a_new_window_in_one_step(queue: JobQueue) -> None:
    limit_rate(queue, RateLimit(1, 86_400_000))
    seed_waiting(queue, "a#1", "a#2", "a#3")
    assert ids_of(queue, "t1") == ["a#1"]
    assert ids_of(queue, "t2") == []
    assert scripts_of(queue, lambda: limit_rate(queue, RateLimit(1, 60_000))) == 1
    assert ids_of(queue, "t3") == ["a#2"]
    assert 0 < queue.client.pttl(queue.keys.limiter) <= 60_000
    limit_rate(queue, None)
    assert read_rate(queue) is None
    assert ids_of(queue, "t4") == ["a#3"]


def test_a_limit_that_is_there_already_keeps_its_window(queue: JobQueue) -> None:
    limit_rate(queue, PER_MINUTE)
    seed_waiting(queue, "a#1", "a#2", "a#3")
    ids_of(queue, "t1")
    limit_rate(queue, PER_MINUTE)
    assert ids_of(queue, "t2") == []


def test_a_limiter_that_lost_its_end_does_not_hold_for_ever(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.client.set(queue.keys.limiter, 99)
    assert ids_of(queue, rate_limit=PER_MINUTE) == ["a#1"]


@pytest.mark.parametrize("max_jobs", [0, -1])
def test_no_jobs_a_window_means_no_limit(queue: JobQueue, max_jobs: int) -> None:
    queue.set_rate_limit(PER_MINUTE)
    queue.set_rate_limit(RateLimit(max_jobs=max_jobs, duration_ms=1000))
    assert not queue.client.hexists(queue.keys.meta, "max")
    seed_waiting(queue, "a#1", "a#2")
    assert len(ids_of(queue, rate_limit=RateLimit(max_jobs, 1000))) == 2


def test_doomed_jobs_do_not_count_for_the_rate_limit(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    queue.client.hset(queue.keys.job("a#1"), "defa", "child failed")
    claimed = claim(queue, rate_limit=PER_MINUTE)
    assert [job.id for job in claimed.jobs] == ["a#1", "a#2", "a#3"]
    assert claimed.jobs[0].deferred_failure == "child failed"
    assert queue.client.get(queue.keys.limiter) == b"2"


def test_ids_without_a_job_are_dropped_and_leave_no_ghost(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    queue.client.delete(queue.keys.job("a#1"), queue.keys.job("a#3"))
    queue.client.rpush(queue.keys.wait, "active", "meta#no")
    assert ids_of(queue, limit=5) == ["a#2"]
    assert line(queue) == []
    assert active(queue) == ["a#2"]
    assert queue.client.exists(queue.keys.job("a#1")) == 0


def test_a_job_with_broken_fields_is_handed_out(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    broken = {"ats": "many", "opts": "{", "data": b"\xff", "atm": "x", "timestamp": "-", "stc": ""}
    queue.client.hset(queue.keys.job("a#1"), mapping=broken)
    job = claim(queue).jobs[0]
    assert (job.raw_data, job.max_attempts, job.attempts_made) == ("\ufffd", 1, 0)
    assert job.backoff is None


def test_solo_jobs_are_handed_out_alone(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1", "a#2")
    queue.reclaim_stalled(max_stalled=0)
    seed_waiting(queue, "a#3")
    first = claim(queue, "t2")
    assert [(job.id, job.is_solo) for job in first.jobs] == [("a#1", True)]
    assert first.blocked_by is BlockedBy.SOLO
    assert ids_of(queue, "t3") == ["a#2"]
    assert ids_of(queue, "t4") == ["a#3"]


def test_a_claim_stops_before_a_later_solo_job(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    queue.client.hset(queue.keys.job("a#2"), "solo", "1")
    claimed = claim(queue)
    assert [job.id for job in claimed.jobs] == ["a#1"]
    assert claimed.blocked_by is BlockedBy.SOLO
    assert line(queue) == ["a#2", "a#3"]


def test_a_solo_job_that_is_not_accepted_blocks(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1")
    queue.reclaim_stalled(max_stalled=0)
    claimed = claim(queue, "t2", accept_solo=False)
    assert (claimed.jobs, claimed.blocked_by) == ([], BlockedBy.SOLO)
    assert line(queue) == ["a#1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_waiting_jobs_go_before_prioritized_ones(queue: JobQueue, limit: int) -> None:
    seed_waiting(queue, "a#1", "a#2")
    queue.client.lrem(queue.keys.wait, 0, "a#2")
    queue.client.hset(queue.keys.job("a#2"), "priority", 3)
    queue.client.zadd(queue.keys.prioritized, {"a#2": 3 * 2**32})
    seed_waiting(queue, "a#3")
    assert ids_of(queue, limit=limit) == ["a#1", "a#3", "a#2"][:limit]


def test_a_claim_repeated_after_a_lost_reply_answers_the_same_jobs(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    first = claim(queue, limit=2)
    assert claim(queue, limit=2) == first
    assert line(queue) == ["a#3"]
    assert job_fields(queue, "a#1")["ats"] == "1"


def test_a_repeated_claim_leaves_out_what_it_no_longer_locks(queue: JobQueue) -> None:
    seed_active(queue, "a#1", "a#2")
    queue.client.set("bull:items:a#1:lock", "somebody")
    assert ids_of(queue) == ["a#2"]


def test_a_thousand_jobs_can_be_claimed_at_once(queue: JobQueue) -> None:
    seed_waiting(queue, *[f"a#{n}" for n in range(1100)])
    assert len(ids_of(queue, limit=5000)) == 1000
    assert queue.counts()[JobState.WAITING] == 100
