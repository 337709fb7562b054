"""Working a queue in batches: what meets in one, and what becomes of each of its jobs."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from shared.clock import SystemClock
from shared.errors import DelayedError, UnrecoverableError
from shared.queue import (
    Batching,
    BatchWorker,
    ClaimedJob,
    JobQueue,
    JobState,
    Postponement,
    RedisConnection,
    WorkerOptions,
)
from shared.queue.batches import BatchHandler, BatchResult
from tests.fakes import FakeClock
from tests.processes import wait_until
from tests.queue_states import (
    job_fields,
    line,
    lose_locks,
    make_job,
    scripts_of,
    seed_stalled,
    seed_waiting,
)

FOREVER_S = 3600.0


class Batches:
    """Workers that are stopped whatever the test does, the batches they ran, and their log."""

    def __init__(self) -> None:
        self.workers: list[BatchWorker] = []
        self.ran: list[list[str]] = []
        self.log: list[dict[str, Any]] = []

    def make(
        self,
        queue: JobQueue,
        handler: BatchHandler,
        size: int = 3,
        within_s: float = 0.0,
        **more: Any,
    ) -> BatchWorker:
        def noted(jobs: Sequence[ClaimedJob]) -> BatchResult:
            self.ran.append([job.id for job in jobs])
            return handler(jobs)

        options = WorkerOptions(**{"concurrency": 1, "lock_ms": 30_000} | more)
        batching = Batching(size, within_s)
        worker = BatchWorker(
            queue, noted, options, batching, clock=queue.clock, log_event=self._note
        )
        self.workers.append(worker)
        return worker

    def _note(self, event: str, **fields: Any) -> None:
        self.log.append({"event": event, **fields})

    def logged(self, event: str) -> list[str]:
        return [entry["job"] for entry in self.log if entry["event"] == event]


@pytest.fixture
def batches(idle_workers_end_soon: None) -> Iterator[Batches]:
    made = Batches()
    yield made
    for worker in made.workers:
        worker.stop(0.0)


@pytest.fixture
def real_queue(redis_client: RedisConnection) -> JobQueue:
    return JobQueue(redis_client, "items", clock=SystemClock())


def do_nothing(jobs: Sequence[ClaimedJob]) -> None:
    pass


def test_a_batch_is_claimed_and_settled_in_one_round_trip_each(
    queue: JobQueue, batches: Batches
) -> None:
    worker = batches.make(queue, do_nothing, size=500)
    seed_waiting(queue, "warm")
    worker.step()
    seed_waiting(queue, *[f"a#{n}" for n in range(500)])
    assert scripts_of(queue, worker.step) == 2
    assert [len(batch) for batch in batches.ran] == [1, 500]
    assert queue.counts()[JobState.ACTIVE] == 0


def test_each_job_of_a_batch_has_an_outcome_of_its_own(queue: JobQueue, batches: Batches) -> None:
    outcomes = {"done": {"n": 1}, "again": OSError("away"), "over": UnrecoverableError("no")}
    seed_waiting(queue, *outcomes, keep_completed=9)
    batches.make(queue, lambda jobs: [outcomes[job.id] for job in jobs]).step()
    assert batches.ran == [["done", "again", "over"]]
    assert job_fields(queue, "done")["returnvalue"] == '{"n":1}'
    assert [view.id for view in queue.list_jobs(JobState.DELAYED, 0, 9)] == ["again"]
    [failed] = queue.list_jobs(JobState.FAILED, 0, 9)
    assert (failed.id, failed.failed_reason, failed.attempts_made) == ("over", "no", 1)


def test_a_handler_that_fails_uses_an_attempt_of_each_job_by_what_it_has_left(
    queue: JobQueue, batches: Batches
) -> None:
    queue.add_many([make_job("a", attempts=3), make_job("b", attempts=1)])

    def fail(jobs: Sequence[ClaimedJob]) -> None:
        raise OSError("away")

    batches.make(queue, fail).step()
    assert [view.id for view in queue.list_jobs(JobState.DELAYED, 0, 9)] == ["a"]
    assert [view.id for view in queue.list_jobs(JobState.FAILED, 0, 9)] == ["b"]
    assert job_fields(queue, "a")["failedReason"] == "away"


@pytest.mark.parametrize(
    ("result", "reason"),
    [([1], "2 jobs; not 1"), ("ab", "2 jobs; not a str"), ({"a": 1}, "2 jobs; not a dict")],
)
def test_outcomes_that_do_not_match_the_jobs_fail_all_of_them(
    queue: JobQueue, batches: Batches, result: Any, reason: str
) -> None:
    seed_waiting(queue, "a", "b", attempts=1)
    batches.make(queue, lambda jobs: result).step()
    failed = queue.list_jobs(JobState.FAILED, 0, 9)
    assert [view.failed_reason is not None and reason in view.failed_reason for view in failed] == [
        True,
        True,
    ]


def test_a_result_that_json_cannot_hold_fails_its_own_job_only(
    queue: JobQueue, batches: Batches
) -> None:
    seed_waiting(queue, "a", "b", attempts=1)
    batches.make(queue, lambda jobs: [object(), 2]).step()
    assert [view.id for view in queue.list_jobs(JobState.FAILED, 0, 9)] == ["a"]
    assert batches.logged("job_succeeded") == ["b"]


def test_a_job_that_the_handler_moved_is_left_where_it_is(
    queue: JobQueue, batches: Batches
) -> None:
    def move_first(jobs: Sequence[ClaimedJob]) -> BatchResult:
        queue.postpone_many([Postponement(jobs[0].id, jobs[0].token, 60_000)])
        return [DelayedError(), None]

    seed_waiting(queue, "a", "b")
    batches.make(queue, move_first).step()
    assert [view.id for view in queue.list_jobs(JobState.DELAYED, 0, 9)] == ["a"]
    assert (batches.logged("job_moved"), batches.logged("job_succeeded")) == (["a"], ["b"])


def test_an_error_about_one_job_cannot_be_raised_for_all(queue: JobQueue, batches: Batches) -> None:
    def move(jobs: Sequence[ClaimedJob]) -> None:
        raise DelayedError

    seed_waiting(queue, "a", "b", attempts=1)
    batches.make(queue, move).step()
    reasons = {view.failed_reason for view in queue.list_jobs(JobState.FAILED, 0, 9)}
    assert reasons == {
        "DelayedError is about one job: return it in the place of that job's outcome"
    }


def test_a_job_whose_lock_is_lost_does_not_concern_the_others(
    queue: JobQueue, batches: Batches
) -> None:
    seed_waiting(queue, "a", "b", "c")
    batches.make(queue, lambda jobs: lose_locks(queue, "b")).step()
    assert batches.logged("lock_lost") == ["b"]
    assert batches.logged("job_succeeded") == ["a", "c"]


def test_a_doomed_job_fails_without_being_shown_to_the_handler(
    queue: JobQueue, batches: Batches
) -> None:
    seed_stalled(queue, "a", attempts=1)
    queue.reclaim_stalled(max_stalled=0, solo_first=False)
    seed_waiting(queue, "b")
    batches.make(queue, do_nothing).step()
    assert batches.ran == [["b"]]
    assert [view.id for view in queue.list_jobs(JobState.FAILED, 0, 9)] == ["a"]


def test_a_job_that_stalled_among_others_is_a_batch_of_its_own(
    queue: JobQueue, batches: Batches
) -> None:
    seed_stalled(queue, "poison")
    queue.reclaim_stalled(max_stalled=0)
    seed_waiting(queue, "a", "b")
    worker = batches.make(queue, do_nothing)
    assert [worker.step(), worker.step(), worker.step()] == [True, True, False]
    assert batches.ran == [["poison"], ["a", "b"]]


def test_a_batch_begins_when_it_is_full(real_queue: JobQueue, batches: Batches) -> None:
    batches.make(real_queue, do_nothing, size=3, within_s=FOREVER_S, run_limit_s=9e9).start()
    for job_id in "abcd":
        seed_waiting(real_queue, job_id)
    wait_until(lambda: batches.ran, "a batch began", within_s=10)
    assert batches.ran == [["a", "b", "c"]]


def test_a_batch_begins_when_its_first_job_has_waited_long_enough(
    queue: JobQueue, clock: FakeClock, batches: Batches
) -> None:
    seed_waiting(queue, "a", "b")
    # Threads that wait drive this clock, past any other limit while the batch's own stands still.
    batches.make(queue, do_nothing, size=3, within_s=2.0, run_limit_s=9e9).start()
    wait_until(lambda: batches.ran, "a batch began", within_s=10)
    assert batches.ran == [["a", "b"]]


@pytest.mark.parametrize("act", ["stop", "pause", "hold back"])
def test_what_is_collected_but_not_begun_is_handed_back_to_the_front_untried(
    real_queue: JobQueue, batches: Batches, act: str
) -> None:
    worker = batches.make(real_queue, do_nothing, size=9, within_s=FOREVER_S, run_limit_s=9e9)
    worker.start()
    seed_waiting(real_queue, "a", "b")
    wait_until(lambda: worker.running_count == 2, "both are collected", within_s=10)
    acts: dict[str, Callable[[], None]] = {
        "stop": lambda: worker.stop(5.0),
        "pause": worker.pause,
        "hold back": lambda: worker.hold_back(FOREVER_S),
    }
    acts[act]()
    assert worker.running_count == 0
    assert line(real_queue) == ["a", "b"]
    assert "atm" not in job_fields(real_queue, "a")
    assert batches.ran == []


def test_no_more_batches_run_at_a_time_than_allowed(real_queue: JobQueue, batches: Batches) -> None:
    gate, inside = threading.Event(), threading.Semaphore(0)

    def wait(jobs: Sequence[ClaimedJob]) -> None:
        inside.release()
        gate.wait(10)

    try:
        batches.make(real_queue, wait, size=2, concurrency=2).start()
        seed_waiting(real_queue, *"abcdefgh")
        assert inside.acquire(timeout=10)
        assert inside.acquire(timeout=10)
        assert real_queue.counts()[JobState.WAITING] == 4
        assert sorted(map(len, batches.ran)) == [2, 2]
    finally:
        gate.set()
    wait_until(lambda: len(batches.ran) == 4, "all ran", within_s=10)


def test_a_batch_that_takes_too_long_is_given_up_and_each_job_is_charged(
    real_queue: JobQueue, batches: Batches
) -> None:
    gate = threading.Event()

    def hang(jobs: Sequence[ClaimedJob]) -> None:
        if len(jobs) > 1:
            gate.wait(10)

    real_queue.add_many([make_job("a", attempts=1), make_job("b", attempts=1)])
    try:
        worker = batches.make(real_queue, hang, lock_ms=600, run_limit_s=0.3)
        worker.start()
        failed = wait_until(
            lambda: len(found := real_queue.list_jobs(JobState.FAILED, 0, 9)) == 2 and found,
            "both have failed",
            within_s=10,
        )
        # Its place is free, though its thread has not ended.
        seed_waiting(real_queue, "c")
        wait_until(lambda: ["c"] in batches.ran, "another batch runs", within_s=10)
    finally:
        gate.set()
    assert {view.failed_reason for view in failed} == {
        "the run took longer than 0.3 s and was given up"
    }
    assert batches.logged("run_abandoned") == ["a", "b"]
