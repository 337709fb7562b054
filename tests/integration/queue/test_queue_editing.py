"""Moving and throwing away jobs that nobody runs: what no twin of Node's can show."""

from collections.abc import Callable

import pytest

from shared.errors import InvalidJobOptions, JobNotFound, JobStateError, QueueError
from shared.queue import Completion, Failure, GroupLimit, JobQueue, JobState, Postponement
from shared.queue.editing import (
    change_delay,
    change_priority,
    check_finished,
    drain,
    line_up,
    obliterate,
    promote,
    retry_finished,
)
from shared.queue.limits import limit_groups
from tests.failpoints import full_redis
from tests.fakes import FakeClock
from tests.queue_states import (
    active,
    claim,
    events,
    job_fields,
    line,
    seed_active,
    seed_waiting,
    whole_state,
)

MANY = 2100


def ids(count: int) -> list[str]:
    return [f"a#{number:04}" for number in range(count)]


def seed_delayed(queue: JobQueue, *job_ids: str) -> None:
    locks = [job.lock for job in seed_active(queue, *job_ids, token=job_ids[0])]
    queue.postpone_many([Postponement(*lock, 60_000) for lock in locks])


def seed_failed(queue: JobQueue, *job_ids: str) -> None:
    locks = [job.lock for job in seed_active(queue, *job_ids, token=job_ids[0])]
    queue.fail_many([Failure(*lock, "bad", "") for lock in locks])


def seed_completed(queue: JobQueue, *job_ids: str) -> None:
    locks = [job.lock for job in seed_active(queue, *job_ids, token=job_ids[0], keep_completed=9)]
    queue.complete_many([Completion(*lock) for lock in locks])


MOVES: list[Callable[[JobQueue, str], None]] = [
    promote,
    lambda queue, job_id: change_delay(queue, job_id, 5),
    lambda queue, job_id: change_priority(queue, job_id, 5),
    lambda queue, job_id: retry_finished(queue, job_id, JobState.FAILED),
    lambda queue, job_id: retry_finished(queue, job_id, JobState.COMPLETED),
]
NAMES = ["promote", "change_delay", "change_priority", "retry failed", "retry completed"]


@pytest.mark.parametrize("move", MOVES, ids=NAMES)
def test_a_job_that_is_not_there_cannot_be_moved(
    queue: JobQueue, move: Callable[[JobQueue, str], None]
) -> None:
    seed_waiting(queue, "other")
    before = whole_state(queue)
    with pytest.raises(JobNotFound) as caught:
        move(queue, "a#1")
    assert caught.value.job_id == "a#1"
    assert whole_state(queue) == before


@pytest.mark.parametrize("move", [MOVES[0], *MOVES[3:]], ids=[NAMES[0], *NAMES[3:]])
def test_an_id_whose_job_is_gone_leaves_its_state_when_it_is_to_be_moved(
    queue: JobQueue, move: Callable[[JobQueue, str], None]
) -> None:
    for state in (JobState.DELAYED, JobState.FAILED, JobState.COMPLETED):
        queue.client.zadd(queue.states[state], {"ghost": 1})
    counted = sum(queue.counts().values())
    with pytest.raises(JobNotFound):
        move(queue, "ghost")
    assert sum(queue.counts().values()) == counted - 1
    assert line(queue) == []


@pytest.mark.parametrize("index", [0, 1, 3, 4])
def test_a_running_job_cannot_be_moved(queue: JobQueue, index: int) -> None:
    seed_active(queue, "a#1")
    before = whole_state(queue)
    with pytest.raises(JobStateError, match="a#1"):
        MOVES[index](queue, "a#1")
    assert whole_state(queue) == before


def test_a_running_job_takes_its_new_priority_when_it_comes_back(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    change_priority(queue, "a#1", 5)
    assert active(queue) == ["a#1"]
    assert job_fields(queue, "a#1")["priority"] == "5"
    queue.release_many([job.lock for job in claim(queue).jobs])
    assert queue.counts()[JobState.PRIORITIZED] == 1


@pytest.mark.parametrize("delay_ms", [-1, True, 1.5, 10**15])
def test_a_delay_that_no_job_can_have_is_refused(queue: JobQueue, delay_ms: int) -> None:
    seed_delayed(queue, "a#1")
    with pytest.raises(InvalidJobOptions, match="delay"):
        change_delay(queue, "a#1", delay_ms)


@pytest.mark.parametrize("priority", [-1, 2_097_152, "5"])
def test_a_priority_that_no_job_can_have_is_refused(queue: JobQueue, priority: int) -> None:
    seed_waiting(queue, "a#1")
    with pytest.raises(InvalidJobOptions, match="priority"):
        change_priority(queue, "a#1", priority)


def test_a_delayed_job_with_another_delay_is_due_then(queue: JobQueue, clock: FakeClock) -> None:
    seed_delayed(queue, "a#1")
    change_delay(queue, "a#1", 5_000)
    clock.advance(seconds=4)
    assert claim(queue).jobs == []
    clock.advance(seconds=1)
    assert [job.id for job in claim(queue).jobs] == ["a#1"]


def test_a_job_whose_delay_becomes_none_is_due_at_once(queue: JobQueue) -> None:
    seed_delayed(queue, "a#1")
    change_delay(queue, "a#1", 0)
    assert [job.id for job in claim(queue).jobs] == ["a#1"]


def test_many_delayed_jobs_come_into_line_in_their_order(queue: JobQueue) -> None:
    seed_waiting(queue, *ids(MANY))
    jobs = claim(queue, limit=1000).jobs + claim(queue, "t2", 1000).jobs + claim(queue, "t3").jobs
    queue.postpone_many([Postponement(job.id, job.token, 60_000) for job in jobs])
    assert line_up(queue, JobState.DELAYED) == MANY
    assert line(queue) == ids(MANY)


def test_jobs_that_ended_later_than_asked_are_not_tried_again(
    queue: JobQueue, clock: FakeClock
) -> None:
    seed_failed(queue, "a#1")
    ended_ms = clock.now_ms()
    clock.advance(seconds=1)
    seed_failed(queue, "a#2")
    assert line_up(queue, JobState.FAILED, newest_ms=ended_ms) == 1
    assert line(queue) == ["a#1"]
    assert line_up(queue, JobState.FAILED, batch=0) == 1
    assert line_up(queue, JobState.FAILED) == 0


def test_a_finished_job_whose_fields_anybody_spoilt_runs_again(queue: JobQueue) -> None:
    seed_completed(queue, "a#1")
    queue.client.hset(
        queue.keys.job("a#1"),
        mapping={"priority": "x", "opts": "[", "parentKey": queue.keys.wait, "parent": "{"},
    )
    queue.client.rpush(queue.keys.wait + ":processed", "no hash")
    retry_finished(queue, "a#1", JobState.COMPLETED, resets_made=True)
    assert line(queue) == ["a#1"]
    assert "atm" not in job_fields(queue, "a#1")


def test_a_long_line_is_drained_but_for_the_next_job_of_a_scheduler(queue: JobQueue) -> None:
    seed_waiting(queue, "repeat-1", *ids(MANY), "repeat-2")
    for name in ("1", "2"):
        queue.client.rename(queue.keys.job(f"repeat-{name}"), queue.keys.job(f"repeat:{name}:77"))
        queue.client.zadd(queue.keys.base + "repeat", {name: 77})
    queue.client.lset(queue.keys.wait, -1, "repeat:1:77")
    queue.client.lset(queue.keys.wait, 0, "repeat:2:77")
    assert drain(queue) == MANY
    assert line(queue) == ["repeat:1:77", "repeat:2:77"]
    assert queue.get_jobs(ids(3)) == [None] * 3


def test_draining_touches_neither_delayed_nor_running_jobs(queue: JobQueue) -> None:
    seed_delayed(queue, "late")
    seed_active(queue, "runs", token="t2")
    seed_waiting(queue, "waits")
    assert drain(queue) == 1
    assert drain(queue, with_delayed=True) == 1
    assert active(queue) == ["runs"]
    assert events(queue)[-1] == "waiting waits"


def test_everything_goes_with_an_obliterated_queue(queue: JobQueue) -> None:
    seed_waiting(queue, *ids(MANY))
    claim(queue)
    with pytest.raises(QueueError, match="active jobs"):
        obliterate(queue)
    assert queue.is_paused()
    obliterate(queue, is_forced=True)
    left = [key for key in whole_state(queue) if ":own:claim:" not in key]
    assert left == []


def test_the_lines_of_groups_go_with_an_obliterated_queue(queue: JobQueue) -> None:
    limit_groups(queue, GroupLimit(1, 60_000, "guid"))
    for number in range(3):
        seed_waiting(queue, f"a#{number}", f"b#{number}", data={"guid": "no one's"[: number + 1]})
    claim(queue, limit=2)
    obliterate(queue, is_forced=True)
    left = [key for key in whole_state(queue) if ":own:claim:" not in key]
    # How many have started stays for the window.
    assert all(":own:started:" in key for key in left)


def test_a_full_redis_lets_jobs_be_moved_and_thrown_away(queue: JobQueue) -> None:
    seed_failed(queue, "a#1", "a#2")
    seed_delayed(queue, "b#1", "b#2")
    queue.client.delete(queue.keys.meta)
    with full_redis(queue.client):
        promote(queue, "b#1")
        change_delay(queue, "b#2", 5)
        change_priority(queue, "b#1", 5)
        retry_finished(queue, "a#1", JobState.FAILED)
        line_up(queue, JobState.FAILED)
        assert drain(queue, with_delayed=True) == 4
        obliterate(queue)
    assert sum(queue.counts().values()) == 0


@pytest.mark.parametrize("state", ["waiting", "active", "wait", ""])
def test_only_jobs_that_have_ended_can_be_tried_again(state: str) -> None:
    with pytest.raises(InvalidJobOptions, match="completed, failed"):
        check_finished(state)
