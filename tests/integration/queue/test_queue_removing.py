"""Removing jobs with all below them, and cleaning a state: what no twin of Node's can show."""

from itertools import pairwise

import pytest

from shared.errors import InvalidJobOptions
from shared.queue import Failure, JobQueue, JobState, RedisConnection
from shared.queue.editing import (
    check_cleanable,
    clean,
    free_deduplication_id,
    obliterate,
    remove_tree,
)
from tests.failpoints import full_redis
from tests.fakes import FakeClock
from tests.queue_states import (
    active,
    claim,
    events,
    job_fields,
    line,
    lose_locks,
    seed_active,
    seed_waiting,
    whole_state,
)

MANY = 2100


def ids(count: int) -> list[str]:
    return [f"a#{number:04}" for number in range(count)]


def link(queue: JobQueue, parent_id: str, *child_ids: str, home: JobQueue | None = None) -> None:
    """Let jobs be the open children of another one, of the same queue or of that of ``home``."""
    parent_key = queue.keys.job(parent_id)
    for child_id in child_ids:
        child_key = (home or queue).keys.job(child_id)
        queue.client.sadd(f"{parent_key}:dependencies", child_key)
        queue.client.hset(child_key, "parentKey", parent_key)


def test_jobs_of_a_long_line_are_cleaned_from_the_oldest(queue: JobQueue, clock: FakeClock) -> None:
    seed_waiting(queue, *ids(MANY))
    clock.advance(seconds=10)
    seed_waiting(queue, "young")
    assert clean(queue, JobState.WAITING, grace_ms=5_000, limit=1500) == ids(1500)
    assert line(queue)[:2] == ["a#1500", "a#1501"]
    assert clean(queue, JobState.WAITING, grace_ms=5_000) == ids(MANY)[1500:]
    assert line(queue) == ["young"]


def test_old_jobs_behind_young_ones_are_found(queue: JobQueue, clock: FakeClock) -> None:
    seed_waiting(queue, *ids(MANY))
    clock.advance(seconds=10)
    for job_id in ids(MANY)[:1200]:
        queue.client.hset(queue.keys.job(job_id), "timestamp", clock.now_ms())
    cleaned = clean(queue, JobState.WAITING, grace_ms=5_000, limit=3)
    assert cleaned == ids(MANY)[1200:1203]
    assert [event for event in events(queue) if event == "cleaned"] == ["cleaned", "cleaned"]


def test_finished_jobs_are_cleaned_by_their_end(queue: JobQueue, clock: FakeClock) -> None:
    for job_id in ("a#1", "a#2", "a#3"):
        seed_active(queue, job_id, token=job_id)
        queue.fail_many([Failure(job_id, job_id, "bad", "")])
        clock.advance(seconds=1)
    assert clean(queue, JobState.FAILED, grace_ms=1_500) == ["a#1", "a#2"]
    assert queue.counts()[JobState.FAILED] == 1


def test_only_running_jobs_without_a_lock_are_cleaned_and_their_slots_are_free(
    queue: JobQueue,
) -> None:
    seed_active(queue, "a#1", "a#2")
    lose_locks(queue, "a#2")
    queue.client.hset(queue.keys.meta, "concurrency", 2)
    seed_waiting(queue, "b#1")
    queue.client.delete(queue.keys.marker)
    assert clean(queue, JobState.ACTIVE, grace_ms=0) == ["a#2"]
    assert active(queue) == ["a#1"]
    assert queue.client.zscore(queue.keys.marker, "0") == 0


def test_what_is_no_job_is_cleaned_away(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.client.hset(queue.keys.job("a#1"), "timestamp", "yesterday")
    queue.client.set(queue.keys.job("text"), "no hash")
    queue.client.lpush(queue.keys.wait, "gone", "text")
    assert clean(queue, JobState.WAITING, grace_ms=0) == ["a#1", "gone", "text"]
    assert line(queue) == []


@pytest.mark.parametrize("state", ["waiting-children", "wait", "", "paused"])
def test_a_state_that_cannot_be_cleaned_is_refused(state: str) -> None:
    with pytest.raises(InvalidJobOptions, match="waiting, prioritized"):
        check_cleanable(state)


def test_a_job_goes_with_all_below_it_in_whatever_queue(queue: JobQueue, dlq: JobQueue) -> None:
    seed_waiting(queue, "top", "middle", "beside")
    seed_waiting(dlq, "leaf")
    link(queue, "top", "middle")
    link(queue, "middle", "leaf", home=dlq)
    assert remove_tree(queue, "top")
    assert line(queue) == ["beside"]
    assert sum(dlq.counts().values()) == 0
    assert events(dlq)[-1] == "removed leaf"


def test_nothing_goes_while_a_job_below_is_held(queue: JobQueue) -> None:
    seed_active(queue, "leaf")
    seed_waiting(queue, "top", "middle")
    link(queue, "top", "middle")
    link(queue, "middle", "leaf")
    before = whole_state(queue)
    assert not remove_tree(queue, "top")
    assert whole_state(queue) == before
    assert remove_tree(queue, "top", with_children=False)
    assert line(queue) == ["middle"]


def test_children_that_are_their_own_parents_end_with_them(queue: JobQueue) -> None:
    seed_waiting(queue, "top", "middle")
    link(queue, "top", "middle", "top")
    link(queue, "middle", "top")
    assert remove_tree(queue, "top")
    assert remove_tree(queue, "top")
    assert line(queue) == []


def test_a_chain_of_hundreds_goes_at_once(queue: JobQueue) -> None:
    chain = ids(900)
    seed_waiting(queue, *chain)
    for parent_id, child_id in pairwise(chain):
        link(queue, parent_id, child_id)
    assert remove_tree(queue, chain[0])
    assert sum(queue.counts().values()) == 0


def test_children_that_anybody_made_up_hold_up_nothing(
    queue: JobQueue, redis_client: RedisConnection
) -> None:
    seed_waiting(queue, "top", "middle")
    redis_client.set("bull:other:completed", "no set")
    redis_client.sadd(queue.keys.job("top") + ":dependencies", "no key", "bull:other:x", "::")
    redis_client.set(queue.keys.job("middle") + ":dependencies", "no set")
    link(queue, "top", "middle")
    assert remove_tree(queue, "top")
    assert line(queue) == []


@pytest.mark.parametrize("prefix", ["bull", "{bull:0}", "my:jobs"])
def test_children_whose_ids_hold_colons_go_too(
    redis_client: RedisConnection, clock: FakeClock, prefix: str
) -> None:
    queue = JobQueue(redis_client, "q", prefix=prefix, clock=clock)
    elsewhere = JobQueue(redis_client, "q", prefix="{else:1}", clock=clock)
    seed_waiting(queue, "top", "a:b:c", "beside")
    seed_waiting(elsewhere, "x:y:z")
    link(queue, "top", "a:b:c")
    link(queue, "a:b:c", "x:y:z", home=elsewhere)
    assert remove_tree(queue, "top")
    assert line(queue) == ["beside"]
    assert line(elsewhere) == []
    assert not redis_client.keys("*:c:*")


def test_a_running_job_whose_lock_is_gone_can_be_removed(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    assert not remove_tree(queue, "a#1")
    lose_locks(queue, "a#1")
    assert remove_tree(queue, "a#1")
    assert active(queue) == []


def test_a_full_redis_lets_jobs_be_cleaned_and_removed(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    queue.client.delete(queue.keys.meta)
    with full_redis(queue.client):
        assert clean(queue, JobState.WAITING, grace_ms=0, limit=1) == ["a#1"]
        assert remove_tree(queue, "a#2")
    assert line(queue) == ["a#3"]
    assert job_fields(queue, "a#2") == {}


def test_claims_find_nothing_of_a_queue_that_is_gone(queue: JobQueue) -> None:
    seed_waiting(queue, *ids(5))
    obliterate(queue, batch=2)
    queue.resume()
    assert claim(queue).jobs == []


def test_only_an_id_that_is_owned_is_freed(queue: JobQueue) -> None:
    queue.client.set(queue.keys.base + "de:same", "a#1")
    assert free_deduplication_id(queue, "same")
    assert not free_deduplication_id(queue, "same")
