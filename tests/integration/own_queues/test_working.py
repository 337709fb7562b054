"""Working a queue of one's own: what a worker is told, and what a handler sees and does."""

import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from feedmill import (
    DelayedError,
    InvalidJobOptions,
    Job,
    JobStateError,
    Queue,
    QueueError,
    QueueEvents,
    RateLimitError,
    WaitingError,
    Worker,
)
from feedmill.base import QueueBase
from shared.queue import RedisConnection
from tests.fakes import FakeClock
from tests.processes import wait_until


def test_a_handler_sees_all_of_its_job_without_another_question_to_redis(
    emails: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    emails.add("welcome", {"to": 17}, priority=3, attempts=2)
    asked: list[str] = []
    execute = emails.core.client.execute_command

    def listen(*command: Any, **more: Any) -> Any:
        asked.append(command[0])
        return execute(*command, **more)

    seen: list[Job[Any]] = []
    worker = Worker(emails, seen.append, name="w-7")
    monkeypatch.setattr(emails.core.client, "execute_command", listen)
    assert worker.step()
    assert set(asked) <= {"EVALSHA", "EVAL"}
    [job] = seen
    assert (job.name, job.data, job.priority, job.opts["attempts"]) == ("welcome", {"to": 17}, 3, 2)
    assert (job.attempts_started, job.processed_by) == (1, "w-7")
    assert job.processed_on is not None


def test_a_worker_with_a_name_is_listed_by_it(
    emails: Queue, started: Callable[..., Worker]
) -> None:
    started(lambda job: None, name="w-7")
    wait_until(lambda: "w-7" in [each.name for each in emails.get_workers()], "it is listed")


def test_an_option_that_no_worker_has_is_refused_with_those_that_it_has(emails: Queue) -> None:
    with pytest.raises(TypeError, match=r"no option concurency.* concurrency"):
        Worker(emails, lambda job: None, concurency=5)  # type: ignore[call-arg]


def test_a_connection_beside_that_of_a_queue_is_refused(emails: Queue) -> None:
    with pytest.raises(QueueError, match="give none beside it"):
        Worker(emails, lambda job: None, "redis://elsewhere")


def test_a_worker_is_started_once(emails: Queue) -> None:
    worker = Worker(emails, lambda job: None)
    worker.start()
    try:
        with pytest.raises(QueueError, match="'emails' is running"):
            worker.run()
        assert worker.is_running()
    finally:
        worker.close(1.0)
    with pytest.raises(QueueError, match=r"'emails' is closed.* make another"):
        worker.start()


def test_a_run_past_its_limit_is_given_up_soon_however_long_its_lock(
    emails: Queue, started: Callable[..., Worker]
) -> None:
    gate = threading.Event()
    emails.add("welcome")
    try:
        started(lambda job: gate.wait(60), lock_duration=3_600_000, run_limit_s=0.2)
        wait_until(lambda: emails.get_job_counts("failed")["failed"] == 1, "it is given up")
    finally:
        gate.set()


async def send_later(job: Job[Any]) -> None: ...


@pytest.mark.parametrize("handler", [send_later, "send.py"])
def test_a_handler_that_could_run_no_job_is_refused(emails: Queue, handler: Any) -> None:
    with pytest.raises(TypeError, match=r"is async; a worker runs plain|is a function, not"):
        Worker(emails, handler)


@pytest.mark.parametrize("options", [{}, {"batch": 2}])
def test_a_handler_that_raises_keyboard_interrupt_fails_its_job_and_ends_no_thread(
    emails: Queue, started: Callable[..., Worker], options: dict[str, Any]
) -> None:
    def interrupt(job: Job[Any]) -> None:
        raise KeyboardInterrupt

    job = emails.add("welcome", {})
    started(interrupt, **options)
    wait_until(lambda: job.refresh().failed_reason == "KeyboardInterrupt()", "it has failed")


def test_progress_and_log_are_kept_and_heard(emails: Queue, started: Callable[..., Worker]) -> None:
    def send(job: Job[Any]) -> str:
        job.progress({"page": 2})
        return f"{job.log('first')} {job.log('second')} {job.log('third')}"

    with QueueEvents(emails.name, emails.core.client) as events:
        started(send)
        job = emails.add("welcome", keep_logs=2)
        assert job.wait_until_finished(timeout_s=10) == "1 2 2"
        heard = next(event for event in events if event.name == "progress")
    assert (heard.job_id, heard.fields["data"]) == (job.id, {"page": 2})
    assert job.refresh().last_progress == {"page": 2}
    assert emails.get_job_logs(job.id) == (["second", "third"], 2)
    job.clear_logs()
    assert emails.get_job_logs(job.id) == ([], 0)


def test_data_of_half_an_emoji_is_an_object_that_can_be_passed_on_everywhere(
    emails: Queue,
) -> None:
    half = {"title": "Hello \ufffd", "n": 5}
    seen: list[object] = []

    def send(job: Job[Any]) -> object:
        seen.append(job.data)
        job.progress(job.data)
        job.log(job.data["title"])
        job.update_data(job.data)
        if len(seen) == 1:
            raise OSError(job.data["title"])
        return job.data

    job = emails.add("welcome", attempts=2)
    key = emails.core.keys.job(job.id)
    emails.core.client.hset(key, "data", rb'{"title":"Hello \ud83d","n":5}')
    worker = Worker(emails, send)
    assert [worker.step(), worker.step()] == [True, True]
    done = job.refresh()
    assert [*seen, done.return_value, done.last_progress] == [half] * 4
    assert (done.get_state(), emails.get_job_logs(job.id)[0]) == ("completed", ["Hello \ufffd"] * 2)


def test_data_that_a_handler_updates_is_there_in_the_next_attempt(emails: Queue) -> None:
    pages: list[int] = []

    def read(job: Job[Any]) -> None:
        pages.append(job.data["page"])
        job.update_data({"page": job.data["page"] + 1})
        raise OSError("the line broke")

    emails.add("read", {"page": 1}, attempts=2)
    worker = Worker(emails, read)
    assert [worker.step(), worker.step(), worker.step()] == [True, True, False]
    assert pages == [1, 2]


def test_a_job_that_its_handler_delays_runs_later_and_no_attempt_is_counted(
    redis_client: RedisConnection,
) -> None:
    clock = FakeClock()
    runs: list[int] = []

    def send(job: Job[Any]) -> None:
        runs.append(job.attempts_made)
        if len(runs) == 1:
            job.move_to_delayed(clock.now_ms() + 60_000)
            raise DelayedError

    queue = Queue("emails", redis_client, clock=clock)
    job = queue.add("welcome")
    worker = Worker(queue, send)
    assert worker.step()
    assert job.is_delayed()
    assert not worker.step()
    clock.advance(seconds=60)
    assert worker.step()
    assert runs == [0, 0]
    assert job.refresh().attempts_made == 1


@pytest.mark.parametrize("error", [WaitingError, RateLimitError])
def test_a_job_that_may_not_run_yet_goes_to_the_front_and_no_attempt_is_counted(
    emails: Queue, error: type[Exception]
) -> None:
    runs: list[str] = []

    def send(job: Job[Any]) -> None:
        runs.append(job.id)
        if len(runs) == 1:
            if error is WaitingError:
                job.move_to_wait()
            raise error

    emails.add_bulk([{"name": "x", "opts": {"job_id": job_id}} for job_id in ("a", "b")])
    worker = Worker(emails, send)
    while worker.step():
        pass
    assert runs == ["a", "a", "b"]
    job = emails.get_job("a")
    assert job is not None
    assert (job.attempts_made, job.attempts_started, job.stacktrace) == (1, 2, ())


def test_a_worker_that_met_a_limit_claims_nothing_until_it_has_passed(
    redis_client: RedisConnection,
) -> None:
    clock = FakeClock()
    queue = Queue("emails", redis_client, clock=clock)
    runs: list[str] = []

    def send(job: Job[Any]) -> None:
        runs.append(job.id)
        if len(runs) == 1:
            queue.rate_limit(60_000)
            raise RateLimitError

    queue.add_bulk([{"name": "x", "opts": {"job_id": job_id}} for job_id in ("a", "b")])
    worker = Worker(queue, send)
    assert [worker.step(), worker.step()] == [True, False]
    assert queue.count() == 2
    clock.advance(seconds=60)
    assert [worker.step(), worker.step()] == [True, True]
    assert runs == ["a", "a", "b"]


@pytest.mark.parametrize("is_raised", [True, False])
def test_a_batch_that_met_a_limit_waits_as_one_job_does(
    redis_client: RedisConnection, is_raised: bool
) -> None:
    clock = FakeClock()
    queue = Queue("emails", redis_client, clock=clock)
    batches: list[int] = []

    def send(jobs: list[Job[Any]]) -> list[object]:
        batches.append(len(jobs))
        if len(batches) > 1:
            return [None] * len(jobs)
        queue.rate_limit(60_000)
        if is_raised:
            raise RateLimitError
        return [None, RateLimitError()]

    queue.add_bulk([{"name": "x"}, {"name": "x"}])
    worker = Worker(queue, send, batch=2)
    assert [worker.step(), worker.step()] == [True, False]
    clock.advance(seconds=60)
    assert [worker.step(), worker.step()] == [True, False]
    assert batches == [2, 2 if is_raised else 1]


def test_only_a_handler_moves_its_job_or_holds_it(emails: Queue) -> None:
    job = emails.add("welcome")
    for act in (job.move_to_wait, lambda: job.move_to_delayed(1), lambda: job.extend_lock(1)):
        with pytest.raises(JobStateError, match="only its handler"):
            act()


def test_a_handler_extends_its_lock_as_long_as_it_has_it(emails: Queue) -> None:
    answers: list[bool] = []

    def send(job: Job[Any]) -> None:
        lock = emails.core.keys.lock(job.id)
        answers.append(job.extend_lock(90_000))
        assert emails.core.client.pttl(lock) > 80_000
        emails.core.client.delete(lock)
        answers.append(job.extend_lock(90_000))
        job.move_to_wait()

    emails.add("welcome")
    Worker(emails, send).step()
    assert answers == [True, False]
    assert emails.get_job_counts("active", "waiting") == {"active": 1, "waiting": 0}


@pytest.mark.parametrize(
    ("option", "value", "accepted"),
    [
        ("concurrency", 0, "a whole number from 1"),
        ("concurrency", 2.5, "a whole number from 1"),
        ("lock_duration", True, "a whole number from 1"),
        ("run_limit_s", 0, "seconds, more than 0"),
        ("run_limit_s", "5m", "seconds, more than 0"),
        ("limiter", (5,), "jobs and milliseconds"),
        ("limiter", (5, 0), "jobs and milliseconds"),
        ("group_limit", (5,), "jobs and milliseconds"),
        ("max_started_attempts", -1, "a whole number from 0"),
        ("name", "my worker", "ASCII without spaces"),
        ("name", "müller", "ASCII without spaces"),
    ],
)
def test_an_option_that_cannot_be_is_refused_with_what_is_accepted(
    emails: Queue, option: str, value: object, accepted: str
) -> None:
    with pytest.raises(
        InvalidJobOptions, match=f"^{option}={re.escape(repr(value))}: accepted is {accepted}"
    ):
        Worker(emails, lambda job: None, **{option: value})  # type: ignore[arg-type]


def test_a_handler_that_wants_to_end_the_program_fails_its_job(emails: Queue) -> None:
    def send(job: Job[Any]) -> None:
        sys.exit("no server")

    job = emails.add("welcome")
    assert Worker(emails, send).step()
    assert job.refresh().failed_reason == "no server"


def test_a_worker_that_cannot_be_made_leaves_no_connection_open(
    redis_client: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = QueueBase.close

    def note(queue: QueueBase) -> None:
        closed.append(queue.name)
        close(queue)

    monkeypatch.setattr(QueueBase, "close", note)
    dead = Queue("dead", redis_client)
    with pytest.raises(QueueError, match="another Redis"):
        Worker("emails", print, "redis://other.test:1", dead_letter=dead)
    with pytest.raises(QueueError, match="prefix"):
        Worker(Queue("emails", redis_client, prefix="other"), print, dead_letter=dead)
    assert closed == ["emails"]
