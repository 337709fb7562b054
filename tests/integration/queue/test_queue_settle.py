"""The ends of a claim: complete, retry, fail, release; and what keeps it: extend."""

import pytest

from shared.errors import QueueError
from shared.queue import (
    AddOutcome,
    Completion,
    DeadLettering,
    Failure,
    JobQueue,
    JobState,
    Lock,
    Postponement,
    Retry,
    SettleOutcome,
)
from tests.fakes import FakeClock
from tests.queue_states import (
    active,
    claim,
    events,
    job_fields,
    line,
    make_job,
    seed_active,
    seed_waiting,
    whole_state,
)

SETTLED, LOST = SettleOutcome.SETTLED, SettleOutcome.LOCK_LOST


def keys_about(queue: JobQueue, job_id: str) -> list[str]:
    return [key for key in whole_state(queue) if job_id in key]


def test_a_completed_job_leaves_nothing_but_counters(queue: JobQueue) -> None:
    seed_active(queue, "a#1", "a#2")
    done = [Completion("a#1", "t1", None, "new"), Completion("a#2", "t1", None, "updated")]
    assert queue.complete_many(done) == [SETTLED, SETTLED]
    assert keys_about(queue, "a#") == []
    assert active(queue) == []
    assert queue.read_tallies(["import-1"]) == [{"new": 1, "updated": 1}]
    assert queue.read_totals() == {"completed": 2, "failed": 0, "retried": 0}
    assert events(queue)[-3:] == ["completed a#1", "completed a#2", "drained"]


def test_what_cannot_be_written_costs_its_own_job_only_and_loses_none(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    seed_active(queue, "a#2", token="t2", keep_completed=2)
    seed_active(queue, "a#3", token="t3")
    seed_active(queue, "a#4", token="t4")
    spoilt = f"{queue.keys.base}completed"
    queue.client.set(spoilt, "no sorted set")
    done = [
        Completion(f"a#{number}", token) for number, token in enumerate(["t1", "t2", "t3", "t4"], 1)
    ]
    with pytest.raises(QueueError, match="WRONGTYPE"):
        queue.complete_many(done)
    assert active(queue) == ["a#2"]
    queue.client.delete(spoilt)
    assert queue.reclaim_stalled(max_stalled=1).requeued == 1
    assert line(queue) == ["a#2"]
    assert queue.read_totals()["completed"] == 3


def test_a_completed_job_is_kept_as_it_wishes(queue: JobQueue, clock: FakeClock) -> None:
    for number in range(4):
        seed_active(queue, f"a#{number}", token=f"t{number}", keep_completed=2)
        queue.complete_many([Completion(f"a#{number}", f"t{number}", {"n": number})])
        clock.advance(seconds=1)
    kept = queue.list_jobs(JobState.COMPLETED, 0, 10)
    assert [view.id for view in kept] == ["a#3", "a#2"]
    assert (kept[0].result, kept[0].attempts_made) == ('{"n":3}', 1)
    assert kept[0].finished_ms == clock.now_ms() - 1000
    assert keys_about(queue, "a#0") == []


def test_a_retried_job_goes_to_the_back_of_the_line(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    seed_waiting(queue, "a#2")
    assert queue.retry_many([Retry("a#1", "t1", "boom", "stack", 0)]) == [SETTLED]
    assert line(queue) == ["a#2", "a#1"]
    view = queue.get_job("a#1")
    assert view is not None
    assert (view.attempts_made, view.failed_reason, view.stacktrace) == (1, "boom", ["stack"])
    assert queue.read_totals()["retried"] == 1


def test_a_delayed_retry_runs_when_it_is_due(queue: JobQueue, clock: FakeClock) -> None:
    seed_active(queue, "a#1", "a#2")
    retries = [Retry(job_id, "t1", "boom", "stack", 5_000) for job_id in ("a#1", "a#2")]
    queue.retry_many(retries)
    assert [view.id for view in queue.list_jobs(JobState.DELAYED, 0, 10)] == ["a#1", "a#2"]
    assert job_fields(queue, "a#1")["delay"] == "5000"
    due_ms = clock.now_ms() + 5_000
    assert queue.client.zscore(queue.keys.marker, "1") == due_ms
    clock.advance(seconds=4.999)
    assert queue.promote_due() == 0
    clock.advance(seconds=0.001)
    assert queue.promote_due() == 2
    assert line(queue) == ["a#1", "a#2"]
    assert job_fields(queue, "a#1")["delay"] == "0"


def test_a_postponed_job_comes_again_without_an_attempt(queue: JobQueue, clock: FakeClock) -> None:
    seed_active(queue, "a#1", "a#2")
    postponements = [Postponement("a#1", "t1", 5_000), Postponement("a#2", "t1", 2_000)]
    assert queue.postpone_many(postponements) == [SETTLED] * 2
    assert active(queue) == []
    assert events(queue)[-2:] == ["delayed a#1", "delayed a#2"]
    assert keys_about(queue, ":lock") == []
    assert queue.client.zscore(queue.keys.marker, "1") == clock.now_ms() + 2_000
    clock.advance(seconds=1.999)
    assert claim(queue, "t2").jobs == []
    clock.advance(seconds=3.001)
    assert [(job.id, job.attempts_made) for job in claim(queue, "t3").jobs] == [
        ("a#2", 0),
        ("a#1", 0),
    ]
    assert queue.read_totals() == {"completed": 0, "failed": 0, "retried": 0}


def test_a_job_is_postponed_only_by_whoever_holds_it(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    before = whole_state(queue)
    assert queue.postpone_many([Postponement("a#1", "other", 5_000)]) == [LOST]
    assert whole_state(queue) == before
    assert queue.postpone_many([Postponement("a#1", "t1", 5_000)]) == [SETTLED]
    # As after a lost reply.
    assert queue.postpone_many([Postponement("a#1", "t1", 5_000)]) == [LOST]
    assert len(queue.list_jobs(JobState.DELAYED, 0, 10)) == 1


def test_a_postponed_job_keeps_its_priority(queue: JobQueue, clock: FakeClock) -> None:
    seed_waiting(queue, "a#1")
    queue.client.hset(queue.keys.job("a#1"), "priority", 7)
    claim(queue)
    queue.postpone_many([Postponement("a#1", "t1", 1_000)])
    clock.advance(seconds=1)
    assert queue.promote_due() == 1
    assert queue.counts()[JobState.PRIORITIZED] == 1


def test_stack_traces_of_all_runs_are_kept(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.retry_many([Retry("a#1", "t1", "one", "first \ud800 ü", 0)])
    claim(queue, "t2")
    queue.fail_many([Failure("a#1", "t2", "two", "second")])
    view = queue.get_job("a#1")
    assert view is not None
    assert view.stacktrace == ["first \\ud800 ü", "second"]
    assert view.failed_reason == "two"


def test_long_error_texts_are_shortened(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.fail_many([Failure("a#1", "t1", "r" * 100_000, "s" * 100_000)])
    view = queue.get_job("a#1")
    assert view is not None
    assert len(view.failed_reason or "") == 4_000
    assert len(view.stacktrace[0]) == 16_000


def test_a_failed_job_is_kept(queue: JobQueue, clock: FakeClock) -> None:
    seed_active(queue, "a#1", attempts=1)
    assert queue.fail_many([Failure("a#1", "t1", "boom", "stack")]) == [SETTLED]
    [view] = queue.list_jobs(JobState.FAILED, 0, 10)
    assert (view.failed_reason, view.finished_ms) == ("boom", clock.now_ms())
    assert events(queue)[-3:] == ["failed a#1", "retries-exhausted a#1", "drained"]
    assert queue.read_totals()["failed"] == 1


def test_failed_jobs_beyond_the_wished_number_go(queue: JobQueue, clock: FakeClock) -> None:
    for number in range(3):
        seed_active(queue, f"a#{number}", token=f"t{number}", keep_failed=1)
        queue.fail_many([Failure(f"a#{number}", f"t{number}", "boom", "")])
        clock.advance(seconds=1)
    assert [view.id for view in queue.list_jobs(JobState.FAILED, 0, 10)] == ["a#2"]


def test_one_call_deletes_no_more_old_jobs_than_redis_has_time_for(queue: JobQueue) -> None:
    old = {f"old{number}": number for number in range(5_000)}
    queue.client.zadd(queue.keys.completed, old)
    ids = [f"a#{number}" for number in range(20)]
    seed_active(queue, *ids, keep_completed=10)
    queue.complete_many([Completion(job_id, "t1") for job_id in ids])
    assert 2_000 < queue.counts()[JobState.COMPLETED] <= 4_020
    # The ends of others take what is left.
    for token in ("t2", "t3", "t4", "t5", "t6"):
        seed_active(queue, *ids[:2], token=token, keep_completed=10)
        queue.complete_many([Completion(job_id, token) for job_id in ids[:2]])
    assert queue.counts()[JobState.COMPLETED] == 10


def test_a_failed_job_that_wishes_so_is_deleted(queue: JobQueue) -> None:
    seed_active(queue, "a#1", keep_failed=0)
    queue.fail_many([Failure("a#1", "t1", "boom", "stack")])
    assert keys_about(queue, "a#1") == []


def test_a_failure_clears_the_deferred_one(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.client.hset(queue.keys.job("a#1"), "defa", "child failed")
    claim(queue)
    queue.fail_many([Failure("a#1", "t1", "child failed", "")])
    assert "defa" not in job_fields(queue, "a#1")


def test_released_jobs_stand_first_in_line_in_their_order(queue: JobQueue) -> None:
    seed_active(queue, "a#1", "a#2", "a#3")
    seed_waiting(queue, "a#4")
    locks = [Lock(f"a#{n}", "t1") for n in (1, 2, 3)]
    assert queue.release_many(locks) == [SETTLED] * 3
    assert line(queue) == ["a#1", "a#2", "a#3", "a#4"]
    assert active(queue) == []
    assert claim(queue, "t2").jobs[0].attempts_made == 0


def test_many_released_jobs_keep_their_order_over_several_scripts(queue: JobQueue) -> None:
    ids = [f"a#{n}" for n in range(1000)]
    seed_active(queue, *ids)
    queue.release_many([Lock(job_id, "t1") for job_id in ids])
    assert line(queue) == ids


def test_a_heartbeat_extends_the_locks_it_still_holds(queue: JobQueue) -> None:
    seed_active(queue, "a#1", "a#2")
    queue.client.sadd("bull:items:stalled", "a#1")
    queue.client.set("bull:items:a#2:lock", "somebody", px=100)
    lost = queue.extend_many([Lock("a#1", "t1"), Lock("a#2", "t1")], lock_ms=90_000)
    assert lost == ["a#2"]
    assert queue.client.pttl("bull:items:a#1:lock") > 80_000
    assert queue.client.pttl("bull:items:a#2:lock") <= 100
    assert queue.client.exists("bull:items:stalled") == 0


def test_a_heartbeat_never_makes_a_lost_lock_anew(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.client.delete("bull:items:a#1:lock")
    assert queue.extend_many([Lock("a#1", "t1")], lock_ms=1000) == ["a#1"]
    assert queue.client.exists("bull:items:a#1:lock") == 0


def test_a_revision_is_stored_only_where_there_is_none(queue: JobQueue) -> None:
    seed_active(queue, "a#1", token="t1", revision=None)
    seed_active(queue, "a#2", token="t2", revision=5)
    drawn = [(Lock("a#1", "t1"), 8), (Lock("a#2", "t2"), 9), (Lock("a#1", "other"), 10)]
    assert queue.assign_revisions(drawn) == [8, 5, None]
    assert job_fields(queue, "a#1")["revision"] == "8"


def test_a_dead_job_moves_into_the_dead_letter_queue(
    queue: JobQueue, dlq: JobQueue, clock: FakeClock
) -> None:
    seed_active(queue, "a#1", attempts=1)
    dead = make_job("a#1", data={"reason": "bad"}, revision=None, tally=None)
    death = DeadLettering("a#1", "t1", "bad", "stack", dead, "dead")
    assert queue.dead_letter_many([death], dlq) == [SETTLED]
    assert keys_about(queue, "a#1") == []
    assert events(queue)[-3:] == ["failed a#1", "retries-exhausted a#1", "drained"]
    assert queue.read_tallies(["import-1"]) == [{"dead": 1}]
    assert queue.read_totals()["failed"] == 1
    view = dlq.get_job("a#1")
    assert view is not None
    assert (view.name, view.data, view.state) == ("dead", '{"reason":"bad"}', JobState.WAITING)
    assert (view.failed_reason, view.timestamp_ms) == ("bad", clock.now_ms())
    assert (line(dlq), events(dlq)) == (["a#1"], ["added a#1", "waiting a#1"])


def test_a_second_death_renews_the_dead_letter(queue: JobQueue, dlq: JobQueue) -> None:
    for token in ("t1", "t2"):
        seed_active(queue, "a#1", token=token)
        dead = make_job("a#1", data={"death": token})
        queue.dead_letter_many([DeadLettering("a#1", token, token, token, dead)], dlq)
    view = dlq.get_job("a#1")
    assert view is not None
    assert (view.data, view.failed_reason, view.stacktrace) == ('{"death":"t2"}', "t2", ["t2"])
    assert line(dlq) == ["a#1"]


def test_a_dead_letter_that_somebody_completed_waits_again(queue: JobQueue, dlq: JobQueue) -> None:
    dlq.add_many([make_job("a#1", keep_completed=5)])
    claim(dlq, "x")
    dlq.complete_many([Completion("a#1", "x")])
    seed_active(queue, "a#1")
    queue.dead_letter_many([DeadLettering("a#1", "t1", "bad", "", make_job("a#1"))], dlq)
    assert line(dlq) == ["a#1"]
    assert dlq.counts()[JobState.COMPLETED] == 0


def test_a_job_stays_whose_dead_letter_cannot_be_written(queue: JobQueue, dlq: JobQueue) -> None:
    seed_active(queue, "a#1")
    dlq.client.set(dlq.keys.wait, "no list")
    with pytest.raises(QueueError):
        queue.dead_letter_many([DeadLettering("a#1", "t1", "bad", "", make_job("a#1"))], dlq)
    dlq.client.delete(dlq.keys.wait)
    assert queue.reclaim_stalled(max_stalled=1).requeued == 1
    assert [job.id for job in claim(queue, "t2").jobs] == ["a#1"]
    death = DeadLettering("a#1", "t2", "bad", "", make_job("a#1"))
    assert queue.dead_letter_many([death], dlq) == [SETTLED]
    assert (line(dlq), active(queue), queue.get_job("a#1")) == (["a#1"], [], None)


def test_a_dead_letter_queue_in_another_slot_is_refused(queue: JobQueue, clock: FakeClock) -> None:
    elsewhere = JobQueue(queue.client, "items_dlq", prefix="{other}", clock=clock)
    with pytest.raises(QueueError, match="prefix"):
        queue.dead_letter_many([], elsewhere)


def test_a_freed_slot_of_a_maxed_queue_wakes_who_waits(queue: JobQueue) -> None:
    queue.client.hset(queue.keys.meta, "concurrency", 1)
    seed_waiting(queue, "a#1", "a#2")
    claim(queue)
    queue.client.delete(queue.keys.marker)
    queue.complete_many([Completion("a#1", "t1")])
    assert queue.client.zscore(queue.keys.marker, "0") == 0


def test_an_id_is_free_again_once_its_job_is_done(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.complete_many([Completion("a#1", "t1")])
    assert queue.add_many([make_job("a#1")]) == [AddOutcome.ADDED]


def test_live_counters_vanish_by_themselves(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.complete_many([Completion("a#1", "t1", None, "new")])
    week_ms = 7 * 24 * 3600 * 1000
    assert 0 < queue.client.pttl(queue.keys.tally("import-1")) <= week_ms
    queue.delete_tallies(["import-1", "import-2"])
    assert queue.read_tallies(["import-1"]) == [{}]
