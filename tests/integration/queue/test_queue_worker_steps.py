"""What a worker does with one job, step by step, on a clock that stands still."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from shared.errors import UnrecoverableError
from shared.queue import ClaimedJob, JobQueue, JobState, RunRules, Worker, WorkerOptions
from tests.fakes import FakeClock
from tests.queue_states import line, seed_waiting


class Steps:
    """A worker without threads, and what it logged."""

    def __init__(self, queue: JobQueue, **more: Any) -> None:
        self.log: list[dict[str, Any]] = []
        handler = more.pop("handler", self.handle)
        options = WorkerOptions(**{"concurrency": 2, "lock_ms": 30_000} | more)
        self.worker = Worker(queue, handler, options, clock=queue.clock, log_event=self._note)
        self.errors: list[Exception] = []

    def _note(self, event: str, **fields: Any) -> None:
        self.log.append({"event": event, **fields})

    def handle(self, job: ClaimedJob) -> None:
        if self.errors:
            raise self.errors.pop(0)

    def logged(self, field: str) -> list[tuple[str, Any]]:
        return [(entry["event"], entry[field]) for entry in self.log if field in entry]


def test_each_run_is_logged_with_its_number_and_delayed_by_the_job_s_backoff(
    queue: JobQueue, clock: FakeClock
) -> None:
    steps = Steps(queue)
    steps.errors = [ValueError("first"), ValueError("second")]
    seed_waiting(queue, "a#1", attempts=3, backoff_ms=1000)
    for delay_ms in (1000, 2000):
        assert steps.worker.step()
        [view] = queue.list_jobs(JobState.DELAYED, 0, 9)
        assert view.delay_ms == delay_ms
        clock.advance(seconds=delay_ms / 1000)
        queue.promote_due()
    assert steps.worker.step()
    assert steps.logged("attempt") == [
        ("job_started", 1),
        ("job_failed", 1),
        ("job_started", 2),
        ("job_failed", 2),
        ("job_started", 3),
        ("job_succeeded", 3),
    ]
    assert steps.logged("is_last") == [("job_failed", False)] * 2
    assert steps.logged("error") == [("job_failed", "first"), ("job_failed", "second")]


@pytest.mark.parametrize(
    ("attempts", "error"), [(1, ValueError("passing")), (9, UnrecoverableError("lasting"))]
)
def test_a_job_without_another_attempt_fails_in_its_first_run(
    queue: JobQueue, attempts: int, error: Exception
) -> None:
    steps = Steps(queue)
    steps.errors = [error]
    seed_waiting(queue, "a#1", attempts=attempts)
    steps.worker.step()
    assert queue.counts()[JobState.FAILED] == 1
    assert steps.logged("is_last") == [("job_failed", True)]


@pytest.mark.parametrize("isolates_solo", [True, False])
def test_a_solo_job_is_not_begun_beside_a_running_one_unless_it_need_not_be_alone(
    queue: JobQueue, isolates_solo: bool
) -> None:
    begun: list[bool] = []

    def handle(job: ClaimedJob) -> None:
        if job.id == "a#1":
            begun.append(steps.worker.step())

    steps = Steps(queue, handler=handle, isolates_solo=isolates_solo)
    seed_waiting(queue, "a#1", "a#solo")
    queue.client.hset(queue.keys.job("a#solo"), "solo", "1")
    assert steps.worker.step()
    assert begun == [not isolates_solo]
    assert line(queue) == (["a#solo"] if isolates_solo else [])
    assert steps.worker.step() is isolates_solo


def test_stopping_waits_for_a_run_until_the_clock_says_that_its_time_is_over(
    queue: JobQueue, clock: FakeClock
) -> None:
    running, gate = threading.Event(), threading.Event()

    def handle(job: ClaimedJob) -> None:
        running.set()
        gate.wait(10)

    steps = Steps(queue, handler=handle)
    seed_waiting(queue, "a#1")
    thread = threading.Thread(target=steps.worker.step)
    thread.start()
    assert running.wait(10)
    threading.Timer(0.1, gate.set).start()
    steps.worker.stop(0.5)
    thread.join(10)
    assert steps.log[-1]["event"] == "job_succeeded"
    assert queue.read_totals()["completed"] == 1


def test_a_rule_that_fails_leaves_the_job_to_its_own_options(queue: JobQueue) -> None:
    def refuse(error: BaseException) -> bool:
        raise ValueError("no rule")

    steps = Steps(queue, rules=RunRules(may_retry=refuse))
    steps.errors = [OSError("no")]
    seed_waiting(queue, "a#1", attempts=3)
    assert steps.worker.step()
    assert steps.logged("error") == [("retry_rule_failed", "no rule"), ("job_failed", "no")]
    assert queue.counts()[JobState.DELAYED] == 1


class Unshowable(Exception):
    """An error that raises when it is asked what it says."""

    def __str__(self) -> str:
        raise LookupError("nothing to say")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("attempts", "asked"),
    [(3, ["retry_rule_failed", "error_hook_failed"]), (1, ["failure_hook_failed"])],
)
def test_errors_that_cannot_be_shown_use_one_attempt_whoever_raises_them(
    queue: JobQueue, attempts: int, asked: list[str]
) -> None:
    def refuse(*_: object) -> Any:
        raise Unshowable

    rules = RunRules(may_retry=refuse)
    steps = Steps(queue, rules=rules, on_final_failure=refuse, on_error=refuse)
    steps.errors = [Unshowable()]
    seed_waiting(queue, "a#1", attempts=attempts, backoff_ms=1000)
    assert steps.worker.step()
    said = "<Unshowable that cannot be shown>"
    assert steps.logged("error") == [(event, said) for event in (*asked, "job_failed")]
    assert steps.logged("is_last") == [("job_failed", False)]
    assert queue.counts()[JobState.DELAYED] == 1


@pytest.mark.parametrize(("attempts", "state"), [(3, JobState.DELAYED), (1, JobState.FAILED)])
def test_a_job_whose_surroundings_fail_is_tried_again_or_failed_by_their_error(
    queue: JobQueue, attempts: int, state: JobState
) -> None:
    def refuse(job: ClaimedJob) -> AbstractContextManager[None]:
        raise OSError("no trace")

    steps = Steps(queue, around_job=refuse)
    seed_waiting(queue, "a#1", attempts=attempts, backoff_ms=1000)
    assert steps.worker.step()
    assert steps.logged("error") == [("around_job_failed", "no trace"), ("job_failed", "no trace")]
    assert queue.counts()[state] == 1


def test_surroundings_that_end_badly_leave_the_job_as_it_was_settled(queue: JobQueue) -> None:
    @contextmanager
    def fail_after(job: ClaimedJob) -> Iterator[None]:
        yield
        raise OSError("no trace")

    steps = Steps(queue, around_job=fail_after)
    seed_waiting(queue, "a#1")
    assert steps.worker.step()
    assert [entry["event"] for entry in steps.log[1:]] == ["job_succeeded", "around_job_failed"]
    assert queue.read_totals()["completed"] == 1
