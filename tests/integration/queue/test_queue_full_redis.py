"""A full Redis takes no new jobs, but lets those that it has be worked off."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.errors import QueueFull
from shared.queue import (
    Completion,
    DeadLettering,
    Failure,
    JobQueue,
    JobState,
    Lock,
    NewJob,
    RedisConnection,
    Retry,
    SettleOutcome,
    connect,
    dead_letters,
    disconnect,
    handling,
)
from tests.fakes import FakeClock
from tests.queue_states import (
    active,
    claim,
    job_fields,
    line,
    lose_locks,
    make_job,
    seed_active,
    seed_waiting,
    whole_state,
)
from tests.servers import RunningServer, find_redis_server, start_redis, start_valkey

STARTERS: dict[str, Callable[..., RunningServer]] = {"valkey": start_valkey, "redis": start_redis}


@pytest.fixture(scope="module", params=[*STARTERS])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisConnection]:
    if request.param == "redis" and find_redis_server() is None:
        pytest.skip("no redis-server on this machine")
    directory: Path = tmp_path_factory.mktemp(request.param)
    server = STARTERS[request.param](directory)
    try:
        client = connect(server.url)
        yield client
        disconnect(client)
    finally:
        server.stop()


@pytest.fixture
def queue(client: RedisConnection, clock: FakeClock) -> Iterator[JobQueue]:
    client.flushall()
    yield JobQueue(client, "items", clock=clock)
    client.config_set("maxmemory", 0)


@pytest.fixture
def dlq(client: RedisConnection, clock: FakeClock) -> JobQueue:
    return JobQueue(client, "items_dlq", clock=clock)


def fill_redis(queue: JobQueue) -> None:
    queue.client.config_set("maxmemory", "1mb")
    queue.client.config_set("maxmemory-policy", "noeviction")
    used = queue.client.info("memory")["used_memory"]
    queue.client.config_set("maxmemory", used // 2)


def test_adding_to_a_full_redis_fails_and_changes_nothing(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    fill_redis(queue)
    before = whole_state(queue)
    newer = [make_job("a#2"), make_job("a#1", revision=9)]
    with pytest.raises(QueueFull):
        queue.add_many(newer)
    assert whole_state(queue) == before


def test_a_full_redis_lets_every_claimed_job_be_settled(queue: JobQueue, dlq: JobQueue) -> None:
    seed_active(queue, *[f"a#{n}" for n in range(7)])
    fill_redis(queue)
    settled = [SettleOutcome.SETTLED]
    assert queue.extend_many([Lock("a#0", "t1")], lock_ms=60_000) == []
    assert queue.assign_revisions([(Lock("a#0", "t1"), 5)]) == [1]
    assert queue.complete_many([Completion("a#0", "t1", None, "new")]) == settled
    assert queue.retry_many([Retry("a#1", "t1", "boom", "s" * 9999, 0)]) == settled
    assert queue.retry_many([Retry("a#2", "t1", "boom", "stack", 60_000)]) == settled
    assert queue.fail_many([Failure("a#3", "t1", "boom", "stack")]) == settled
    assert queue.release_many([Lock("a#4", "t1")]) == settled
    dead = make_job("a#5", data={"text": "x" * 100_000})
    assert (
        queue.dead_letter_many([DeadLettering("a#5", "t1", "bad", "stack", dead)], dlq) == settled
    )
    lose_locks(queue, "a#6")
    assert queue.reclaim_stalled(max_stalled=0).requeued == 1
    assert active(queue) == []
    assert line(dlq) == ["a#5"]


@pytest.mark.parametrize(
    "settle",
    [
        lambda q, d: q.complete_many([Completion("a#1", "t1")]),
        lambda q, d: q.retry_many([Retry("a#1", "t1", "boom", "stack", 0)]),
        lambda q, d: q.fail_many([Failure("a#1", "t1", "boom", "stack")]),
        lambda q, d: q.dead_letter_many(
            [DeadLettering("a#1", "t1", "bad", "stack", make_job("a#1"))], d
        ),
    ],
    ids=["complete", "retry", "fail", "dead_letter"],
)
def test_settling_in_a_full_redis_needs_nothing_that_was_there_before(
    queue: JobQueue, dlq: JobQueue, settle: Callable[[JobQueue, JobQueue], object]
) -> None:
    seed_active(queue, "a#1")
    # Then the first thing that a script writes is the cap of the event stream.
    queue.client.delete(queue.keys.meta)
    fill_redis(queue)
    assert settle(queue, dlq) == [SettleOutcome.SETTLED]


def test_handlers_in_a_full_redis_tell_progress_and_move_their_jobs_but_cannot_log(
    queue: JobQueue, clock: FakeClock
) -> None:
    seed_active(queue, "a#1", "a#2")
    fill_redis(queue)
    handling.update_progress(queue, "a#1", {"page": 2})
    assert job_fields(queue, "a#1")["progress"] == '{"page":2}'
    with pytest.raises(QueueFull):
        handling.append_log(queue, "a#1", "line")
    with pytest.raises(QueueFull):
        handling.update_data(queue, "a#1", {"page": 2})
    assert handling.extend_lock(queue, Lock("a#1", "t1"), 60_000)
    handling.move_to_delayed(queue, Lock("a#1", "t1"), clock.now_ms() + 1000)
    handling.move_to_wait(queue, Lock("a#2", "t1"))
    assert (line(queue), active(queue)) == (["a#2"], [])


def test_a_full_redis_puts_no_dead_letter_back_and_loses_none(
    queue: JobQueue, dlq: JobQueue
) -> None:
    letter = {"queue": queue.name, "job_id": "a#1", "name": "item", "data": {"n": 1}}
    dlq.add_many([NewJob("items/a#1", "dead", letter)])
    fill_redis(queue)
    with pytest.raises(QueueFull):
        dead_letters.replay(dlq)
    assert (line(queue), line(dlq)) == ([], ["items/a#1"])
    assert not queue.client.exists(queue.keys.meta)
    queue.client.config_set("maxmemory", 0)
    assert dead_letters.replay(dlq) == 1
    assert (line(queue), line(dlq)) == (["a#1"], [])


def test_a_full_redis_can_be_drained(queue: JobQueue) -> None:
    seed_waiting(queue, *[f"a#{n}" for n in range(50)])
    fill_redis(queue)
    jobs = claim(queue).jobs
    assert len(jobs) == 50
    queue.complete_many([Completion(job.id, "t1") for job in jobs])
    assert sum(queue.counts().values()) == 0


def test_a_full_redis_lets_due_jobs_run_and_operators_act(
    queue: JobQueue, clock: FakeClock
) -> None:
    seed_active(queue, "a#1", "a#2")
    queue.retry_many([Retry("a#1", "t1", "boom", "", 1000)])
    fill_redis(queue)
    clock.advance(seconds=2)
    assert queue.promote_due() == 1
    queue.pause()
    assert queue.is_paused()
    queue.resume()
    queue.remove_many(["a#1"])
    assert queue.counts()[JobState.WAITING] == 0


def test_a_full_redis_lets_jobs_be_locked_and_removed(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.client.delete(queue.keys.meta)
    fill_redis(queue)
    assert len(queue.lock_many(["a#1"], token="t2", lock_ms=60_000).jobs) == 1
    queue.remove_locked(["a#1"], token="t2", tally_field="removed")
    assert sum(queue.counts().values()) == 0
