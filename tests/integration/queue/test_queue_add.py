"""Adding: the highest revision wins, whatever state the id is in."""

import json

import pytest

from shared.errors import InvalidJobId, UnencodableJob
from shared.queue import (
    AddOutcome,
    Completion,
    Failure,
    JobQueue,
    JobState,
    Lock,
    Retry,
)
from tests.fakes import FakeClock
from tests.queue_states import (
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


def test_an_added_job_waits_with_the_fields_that_bullmq_expects(
    queue: JobQueue, clock: FakeClock
) -> None:
    assert queue.add_many([make_job("lwn#ü")]) == [AddOutcome.ADDED]
    fields = job_fields(queue, "lwn#ü")
    assert json.loads(fields.pop("opts")) == {
        "jobId": "lwn#ü",
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 1000},
        "removeOnComplete": True,
    }
    assert fields == {
        "name": "item",
        "data": '{"guid":"lwn#ü"}',
        "timestamp": str(clock.now_ms()),
        "delay": "0",
        "priority": "0",
        "revision": "1",
        "tally": "import-1",
    }
    assert line(queue) == ["lwn#ü"]
    assert events(queue) == ["added lwn#ü", "waiting lwn#ü"]
    assert queue.client.zscore("bull:items:marker", "0") == 0


def test_jobs_run_in_the_order_they_were_added(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2", "a#3")
    assert [job.id for job in claim(queue).jobs] == ["a#1", "a#2", "a#3"]


def test_a_higher_revision_replaces_what_waits_and_keeps_its_place(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    newer = make_job("a#1", data={"new": True}, revision=2, tally="import-2")
    assert queue.add_many([newer]) == [AddOutcome.REPLACED]
    fields = job_fields(queue, "a#1")
    assert (fields["data"], fields["revision"], fields["tally"]) == (
        '{"new":true}',
        "2",
        "import-2",
    )
    assert line(queue) == ["a#1", "a#2"]
    assert queue.read_tallies(["import-1", "import-2"]) == [{"superseded": 1}, {}]


def test_a_replacement_within_one_import_supersedes_nothing(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    seed_waiting(queue, "a#1", revision=2)
    assert queue.read_tallies(["import-1"]) == [{}]


@pytest.mark.parametrize("revision", [2, 1, None])
def test_what_is_not_newer_is_kept_out(queue: JobQueue, revision: int | None) -> None:
    seed_waiting(queue, "a#1", revision=2)
    before = job_fields(queue, "a#1")
    late = make_job("a#1", data={"old": True}, revision=revision)
    assert queue.add_many([late]) == [AddOutcome.KEPT]
    assert job_fields(queue, "a#1") == before
    assert line(queue) == ["a#1"]


def test_a_job_without_revision_gives_way_to_one_with(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", revision=None)
    assert queue.add_many([make_job("a#1", revision=1)]) == [AddOutcome.REPLACED]


def test_revisions_are_compared_as_numbers(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", revision=9)
    assert queue.add_many([make_job("a#1", revision=10)]) == [AddOutcome.REPLACED]


def test_newer_content_makes_a_delayed_job_ready_with_fresh_attempts(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.retry_many([Retry("a#1", "t1", "boom", "stack", 60_000)])
    assert queue.add_many([make_job("a#1", revision=2)]) == [AddOutcome.REPLACED]
    assert queue.counts()[JobState.DELAYED] == 0
    assert line(queue) == ["a#1"]
    view = queue.get_job("a#1")
    assert view is not None
    assert (view.attempts_made, view.failed_reason, view.stacktrace) == (0, None, [])
    assert events(queue)[-1] == "waiting a#1"


def test_newer_content_of_a_solo_job_runs_among_others_again(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1")
    queue.reclaim_stalled(max_stalled=0)
    queue.add_many([make_job("a#1", revision=2)])
    job = claim(queue, "t2").jobs[0]
    assert (job.is_solo, job.stalled_count) == (False, 0)


def test_a_claimed_job_is_busy_and_unchanged(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    before = job_fields(queue, "a#1")
    assert queue.add_many([make_job("a#1", revision=2)]) == [AddOutcome.BUSY]
    assert job_fields(queue, "a#1") == before
    assert line(queue) == []


def test_a_stalled_job_is_busy_too(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1")
    assert queue.add_many([make_job("a#1", revision=2)]) == [AddOutcome.BUSY]


def test_a_kept_completed_job_is_added_anew(queue: JobQueue) -> None:
    seed_active(queue, "a#1", keep_completed=10)
    queue.complete_many([Completion("a#1", "t1")])
    assert queue.add_many([make_job("a#1", revision=1)]) == [AddOutcome.ADDED]
    assert queue.counts()[JobState.COMPLETED] == 0
    assert "finishedOn" not in job_fields(queue, "a#1")
    assert line(queue) == ["a#1"]


def test_a_kept_failed_job_is_added_anew(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.fail_many([Failure("a#1", "t1", "boom", "stack")])
    assert queue.add_many([make_job("a#1", revision=None)]) == [AddOutcome.ADDED]
    assert queue.counts()[JobState.FAILED] == 0
    assert "failedReason" not in job_fields(queue, "a#1")


def test_a_job_that_no_list_names_any_more_comes_back(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    queue.client.lrem(queue.keys.wait, 0, "a#1")
    assert queue.add_many([make_job("a#1")] * 2) == [AddOutcome.KEPT] * 2
    assert line(queue) == ["a#2", "a#1"]


def test_newer_content_of_a_job_that_no_list_names_is_added(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.client.delete(queue.keys.wait)
    jobs = [make_job("a#1", revision=2), make_job("a#1", revision=2)]
    assert queue.add_many(jobs) == [AddOutcome.ADDED, AddOutcome.KEPT]
    assert line(queue) == ["a#1"]


def test_the_same_id_twice_in_one_call_is_one_job(queue: JobQueue) -> None:
    jobs = [make_job("a#1", revision=1), make_job("a#1", revision=2)]
    assert queue.add_many(jobs) == [AddOutcome.ADDED, AddOutcome.REPLACED]
    assert line(queue) == ["a#1"]


def test_adding_while_paused_wakes_nobody(queue: JobQueue) -> None:
    queue.pause()
    seed_waiting(queue, "a#1")
    assert queue.client.exists(queue.keys.marker) == 0


def test_a_released_job_still_compares_revisions(queue: JobQueue) -> None:
    seed_active(queue, "a#1", revision=5)
    queue.release_many([Lock("a#1", "t1")])
    outcomes = queue.add_many([make_job("a#1", revision=4), make_job("a#1", revision=6)])
    assert outcomes == [AddOutcome.KEPT, AddOutcome.REPLACED]


def test_one_id_that_the_layout_cannot_hold_stops_the_whole_call(queue: JobQueue) -> None:
    with pytest.raises(InvalidJobId):
        queue.add_many([make_job("a#1"), make_job("wait")])
    assert whole_state(queue) == {}


def test_data_that_json_cannot_hold_stops_the_whole_call(queue: JobQueue) -> None:
    with pytest.raises(UnencodableJob):
        queue.add_many([make_job("a#1"), make_job("a#2", data={"title": "\ud800"})])
    assert whole_state(queue) == {}


def test_more_jobs_than_fit_one_script_keep_their_order(queue: JobQueue) -> None:
    ids = [f"a#{n}" for n in range(1203)]
    assert queue.add_many([make_job(i) for i in ids]) == [AddOutcome.ADDED] * 1203
    assert line(queue) == ids
