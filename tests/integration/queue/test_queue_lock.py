"""Jobs locked by their ids: nobody else touches them until they are removed or released."""

import pytest

from shared.queue import AddOutcome, Completion, JobQueue, JobState, Lock, RemoveOutcome
from tests.queue_states import (
    active,
    claim,
    events,
    line,
    lose_locks,
    make_job,
    seed_active,
    seed_stalled,
    seed_waiting,
    whole_state,
)

MINUTE_MS = 60_000


def lock(queue: JobQueue, *job_ids: str, state: JobState | None = None) -> list[str]:
    """Lock jobs under the token ``remover``; return those that are locked."""
    locking = queue.lock_many(job_ids, token="remover", lock_ms=MINUTE_MS, state=state)
    return [view.id for view in locking.jobs]


def remove(queue: JobQueue, *job_ids: str) -> list[RemoveOutcome]:
    return queue.remove_locked(job_ids, token="remover", tally_field="removed")


def seed_failed(queue: JobQueue, job_id: str) -> None:
    """Add a job that failed for good, as one that a Node worker ran."""
    seed_waiting(queue, job_id)
    queue.client.lrem(queue.keys.wait, 1, job_id)
    queue.client.zadd(queue.keys.failed, {job_id: 1})


def test_a_locked_job_is_answered_as_it_lay_and_is_not_claimed(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", revision=4)
    locking = queue.lock_many(["a#1", "none"], token="remover", lock_ms=MINUTE_MS)
    [view] = locking.jobs
    assert (view.id, view.revision, view.tally, view.data) == (
        "a#1", 4, "import-1", '{"guid":"a#1"}',
    )  # fmt: skip
    assert locking.held_ids == []
    assert [job.id for job in claim(queue).jobs] == ["a#2"]
    assert events(queue)[-1] == "active a#2"


def test_what_somebody_works_on_is_not_locked(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    locking = queue.lock_many(["a#1"], token="remover", lock_ms=MINUTE_MS)
    assert (locking.jobs, locking.held_ids) == ([], ["a#1"])
    lose_locks(queue, "a#1")
    assert queue.lock_many(["a#1"], token="remover", lock_ms=MINUTE_MS).held_ids == ["a#1"]


def test_locking_again_with_the_token_answers_the_same(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    assert lock(queue, "a#1") == lock(queue, "a#1") == ["a#1"]
    assert active(queue) == ["a#1"]


def test_only_jobs_of_the_state_are_locked(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    seed_failed(queue, "a#2")
    assert lock(queue, "a#1", "a#2", state=JobState.DELAYED) == []
    assert lock(queue, "a#1", "a#2", state=JobState.FAILED) == ["a#2"]
    assert lock(queue, "a#1", state=JobState.WAITING) == ["a#1"]


@pytest.mark.parametrize("is_failed", [False, True])
def test_a_locked_job_is_neither_replaced_nor_removed_by_others(
    queue: JobQueue, is_failed: bool
) -> None:
    (seed_failed if is_failed else seed_waiting)(queue, "a#1")
    lock(queue, "a#1")
    assert queue.add_many([make_job("a#1", revision=9)]) == [AddOutcome.BUSY]
    assert queue.remove_many(["a#1"]) == [RemoveOutcome.LOCKED]
    assert queue.lock_many(["a#1"], token="t2", lock_ms=MINUTE_MS).held_ids == ["a#1"]


@pytest.mark.parametrize("is_failed", [False, True])
def test_who_locks_a_job_removes_it_with_all_that_belongs_to_it(
    queue: JobQueue, is_failed: bool
) -> None:
    (seed_failed if is_failed else seed_waiting)(queue, "a#1")
    lock(queue, "a#1")
    assert remove(queue, "a#1") == [RemoveOutcome.REMOVED]
    assert remove(queue, "a#1") == [RemoveOutcome.MISSING]
    assert sum(queue.counts().values()) == 0
    assert not [key for key in whole_state(queue) if "a#1" in key]
    assert queue.read_tallies(["import-1"]) == [{"removed": 1}]
    assert events(queue)[-1] == "removed a#1"


def test_a_job_whose_lock_was_lost_is_not_removed(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    lock(queue, "a#1")
    lose_locks(queue, "a#1")
    assert remove(queue, "a#1") == [RemoveOutcome.LOCKED]
    queue.reclaim_stalled(max_stalled=1)
    [job] = claim(queue, "worker").jobs
    assert remove(queue, "a#1") == [RemoveOutcome.LOCKED]
    assert queue.complete_many([Completion(job.id, "worker")]) == ["settled"]


def test_a_released_job_is_back_where_it_can_run(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    seed_failed(queue, "a#3")
    lock(queue, "a#2", "a#3")
    queue.release_many([Lock("a#2", "remover"), Lock("a#3", "remover")])
    assert line(queue) == ["a#2", "a#1"]
    assert queue.counts()[JobState.FAILED] == 1
    assert queue.add_many([make_job("a#3")]) == [AddOutcome.ADDED]


def test_removing_what_is_locked_frees_its_place_under_a_global_limit(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    lock(queue, "a#1")
    queue.client.hset(queue.keys.meta, "concurrency", 1)
    assert claim(queue).jobs == []
    queue.client.delete(queue.keys.marker)
    remove(queue, "a#1")
    assert queue.client.zscore(queue.keys.marker, "0") == 0
    assert [job.id for job in claim(queue, "t2").jobs] == ["a#2"]


def test_a_stalled_job_is_left_to_the_upkeep(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1")
    assert lock(queue, "a#1", state=JobState.WAITING) == []
    queue.reclaim_stalled(max_stalled=1)
    assert lock(queue, "a#1", state=JobState.WAITING) == ["a#1"]
