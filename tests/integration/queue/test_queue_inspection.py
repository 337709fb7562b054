"""Looking at a queue, and clearing it."""

import pytest

from shared.errors import QueueError
from shared.queue import (
    Completion,
    Failure,
    JobQueue,
    JobState,
    RemoveOutcome,
    Retry,
    sample_queues,
)
from shared.queue.getters import read_logs
from tests.fakes import FakeClock
from tests.queue_states import (
    active,
    claim,
    events,
    job_fields,
    line,
    make_job,
    seed_active,
    seed_stalled,
    seed_waiting,
    whole_state,
)


def seed_one_of_each(queue: JobQueue) -> None:
    seed_active(queue, "done#1", keep_completed=5)
    queue.complete_many([Completion("done#1", "t1", {"n": 1})])
    seed_active(queue, "failed#1", "delayed#1", "active#1", token="t2")
    queue.fail_many([Failure("failed#1", "t2", "boom", "stack")])
    queue.retry_many([Retry("delayed#1", "t2", "again", "stack", 60_000)])
    seed_waiting(queue, "waiting#1")
    queue.client.zadd(queue.keys.prioritized, {"prioritized#1": 2**32})
    queue.client.hset(queue.keys.job("prioritized#1"), mapping={"name": "x", "priority": 1})


def test_each_state_is_counted(queue: JobQueue) -> None:
    seed_one_of_each(queue)
    assert queue.counts() == {
        JobState.WAITING: 1,
        JobState.PRIORITIZED: 1,
        JobState.DELAYED: 1,
        JobState.WAITING_CHILDREN: 0,
        JobState.ACTIVE: 1,
        JobState.COMPLETED: 1,
        JobState.FAILED: 1,
    }


def test_each_job_is_shown_in_its_state(queue: JobQueue) -> None:
    seed_one_of_each(queue)
    ids = ["done#1", "failed#1", "delayed#1", "active#1", "waiting#1", "prioritized#1", "none"]
    views = queue.get_jobs(ids)
    assert [view and view.state.value for view in views] == [
        "completed",
        "failed",
        "delayed",
        "active",
        "waiting",
        "prioritized",
        None,
    ]
    for state in JobState:
        listed = queue.list_jobs(state, 0, 10)
        assert [view.state for view in listed] == [state] * queue.counts()[state]


def test_a_view_shows_what_is_stored(queue: JobQueue, clock: FakeClock) -> None:
    seed_active(queue, "a#1", keep_completed=5, revision=3)
    queue.complete_many([Completion("a#1", "t1", {"n": 1})])
    view = queue.get_job("a#1")
    assert view is not None
    assert (view.name, view.data, view.result) == ("item", '{"guid":"a#1"}', '{"n":1}')
    assert (view.revision, view.tally, view.attempts_made) == (3, "import-1", 1)
    assert view.timestamp_ms == view.processed_ms == view.finished_ms == clock.now_ms()
    assert view.opts["attempts"] == 3


def test_the_last_lines_that_a_node_worker_logged_are_shown(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.client.rpush("bull:items:a#1:logs", "first", b"\xff second", "third")
    assert read_logs(queue, "a#1", -2, -1) == (["\ufffd second", "third"], 3)
    assert read_logs(queue, "a#2", -2, -1) == ([], 0)


def test_lists_are_newest_first_and_come_in_pages(queue: JobQueue) -> None:
    seed_waiting(queue, *[f"a#{n}" for n in range(5)])
    pages = [queue.list_jobs(JobState.WAITING, offset, 2) for offset in (0, 2, 4)]
    assert [[view.id for view in page] for page in pages] == [
        ["a#4", "a#3"],
        ["a#2", "a#1"],
        ["a#0"],
    ]
    assert [view.id for view in queue.list_jobs(JobState.WAITING, 1, 1)] == ["a#3"]
    assert queue.list_jobs(JobState.WAITING, 0, 0) == []


def test_the_age_of_the_next_job_is_told(queue: JobQueue, clock: FakeClock) -> None:
    assert queue.sample().oldest_waiting_ms is None
    seed_waiting(queue, "a#1")
    clock.advance(seconds=7)
    seed_waiting(queue, "a#2", "a#3", "a#4")
    assert queue.sample().oldest_waiting_ms == 7000


def test_samples_of_several_queues_are_those_of_each_one(
    queue: JobQueue, dlq: JobQueue, clock: FakeClock
) -> None:
    seed_one_of_each(queue)
    dlq.pause()
    clock.advance(seconds=3)
    whole, empty = sample_queues([queue, dlq])
    assert (whole.counts, whole.totals) == (queue.counts(), queue.read_totals())
    assert (whole.is_paused, whole.oldest_waiting_ms) == (False, 3000)
    assert (empty.counts, empty.totals) == (dlq.counts(), dlq.read_totals())
    assert (empty.is_paused, empty.oldest_waiting_ms, empty.rate_limit_ttl_ms) == (True, None, 0)
    assert sample_queues([]) == []


def test_a_sample_names_the_queue_whose_line_is_of_another_type(
    queue: JobQueue, dlq: JobQueue
) -> None:
    dlq.client.set(dlq.keys.failed, "spoilt")
    with pytest.raises(QueueError, match=dlq.name):
        sample_queues([queue, dlq])


def test_jobs_are_removed_from_any_state_but_a_locked_one(queue: JobQueue) -> None:
    seed_one_of_each(queue)
    ids = ["done#1", "failed#1", "delayed#1", "waiting#1", "prioritized#1", "none", "active#1"]
    outcomes = queue.remove_many(ids)
    assert outcomes == [
        *[RemoveOutcome.REMOVED] * 5,
        RemoveOutcome.MISSING,
        RemoveOutcome.LOCKED,
    ]
    assert sum(queue.counts().values()) == 1
    assert job_fields(queue, "waiting#1") == {}
    assert events(queue)[-1] == "removed prioritized#1"


def test_a_stalled_job_can_be_removed(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1")
    assert queue.remove_many(["a#1"]) == [RemoveOutcome.REMOVED]
    assert active(queue) == []


def test_cleaning_takes_the_oldest_beyond_the_grace(queue: JobQueue, clock: FakeClock) -> None:
    for number in range(4):
        seed_active(queue, f"a#{number}", token=f"t{number}", keep_completed=9)
        queue.complete_many([Completion(f"a#{number}", f"t{number}")])
        clock.advance(seconds=10)
    would_go = queue.jobs_to_clean(JobState.COMPLETED, 20_000, 10)
    assert [view.id for view in would_go] == ["a#0", "a#1", "a#2"]
    assert queue.clean(JobState.COMPLETED, 20_000, 2) == ["a#0", "a#1"]
    assert queue.counts()[JobState.COMPLETED] == 2
    assert events(queue)[-1] == "cleaned"


def test_cleaning_the_line_spares_what_is_young(queue: JobQueue, clock: FakeClock) -> None:
    seed_waiting(queue, *[f"old#{n}" for n in range(600)])
    clock.advance(seconds=60)
    seed_waiting(queue, "young#1")
    would_go = queue.jobs_to_clean(JobState.WAITING, 30_000, 1000)
    assert [view.id for view in would_go] == [f"old#{n}" for n in range(600)]
    assert len(queue.clean(JobState.WAITING, 30_000, 1000)) == 600
    assert line(queue) == ["young#1"]


def test_cleaning_claimed_jobs_spares_locked_ones(queue: JobQueue, clock: FakeClock) -> None:
    seed_active(queue, "a#1", "a#2")
    queue.client.delete("bull:items:a#1:lock")
    clock.advance(seconds=60)
    assert queue.clean(JobState.ACTIVE, 0, 10) == ["a#1"]
    assert active(queue) == ["a#2"]


def test_what_moved_on_since_it_was_listed_is_not_cleaned(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    claim(queue, limit=1)
    assert queue.clean_ids(JobState.WAITING, ["a#1", "a#2"]) == ["a#2"]


def test_jobs_that_an_old_bullmq_parked_come_back_at_resume(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    queue.pause()
    queue.client.rename(queue.keys.wait, queue.keys.paused)
    seed_waiting(queue, "a#3")
    queue.resume()
    assert line(queue) == ["a#3", "a#1", "a#2"]
    assert not queue.is_paused()
    assert queue.client.zscore(queue.keys.marker, "0") == 0


def test_a_counter_that_holds_no_number_is_shown_as_none_counted(queue: JobQueue) -> None:
    queue.client.hset(queue.keys.tally("import-1"), mapping={"new": "3", "dead": "many"})
    assert queue.read_tallies(["import-1", "import-2"]) == [{"new": 3, "dead": 0}, {}]


def test_the_mark_of_an_incarnation_is_set_once(queue: JobQueue) -> None:
    assert queue.read_incarnation() is None
    assert queue.create_incarnation("first") == "first"
    assert queue.create_incarnation("second") == "first"
    assert queue.read_incarnation() == "first"


def test_draining_leaves_other_queues_alone(queue: JobQueue, dlq: JobQueue) -> None:
    seed_one_of_each(queue)
    dlq.add_many([make_job("a#1")])
    before = whole_state(dlq)
    queue.drain_all()
    assert whole_state(queue) == {}
    assert whole_state(dlq) == before


def test_draining_takes_special_characters_in_names_as_they_are(
    queue: JobQueue, clock: FakeClock
) -> None:
    odd = JobQueue(queue.client, "i*ems", prefix="{b}", clock=clock)
    plain = JobQueue(queue.client, "items", prefix="{b}", clock=clock)
    seed_waiting(odd, "a#1")
    seed_waiting(plain, "a#1")
    odd.drain_all()
    assert line(odd) == []
    assert line(plain) == ["a#1"]
