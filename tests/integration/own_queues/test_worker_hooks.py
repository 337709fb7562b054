"""What a worker tells others, and how it is held up: hooks, pause and resume."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from feedmill import InvalidJobOptions, Job, Queue, UnrecoverableError, Worker
from feedmill.hooks import EVENTS
from tests.processes import wait_until
from tests.queue_states import seed_stalled

Told = list[tuple[Any, ...]]


def listen(worker: Worker) -> Told:
    """Return what the worker tells of all events, as it comes."""
    told: Told = []
    for event in EVENTS:
        worker.on(event, lambda *what, event=event: told.append((event, *what)))
    return told


def names_of(told: Told) -> list[str]:
    return [event for event, *_ in told]


def test_a_run_that_succeeds_is_told_from_its_begin_to_its_end(emails: Queue) -> None:
    def send(job: Job[Any]) -> str:
        job.progress(50)
        return "sent"

    emails.add("welcome", {"to": 17})
    worker = Worker(emails, send)
    told = listen(worker)
    assert [worker.step(), worker.step(), worker.step()] == [True, False, False]
    worker.close()
    assert names_of(told) == ["active", "progress", "completed", "drained", "closed"]
    (_, begun), (_, at_half, half), (_, done, result), *_ = told
    assert (begun.data, begun.attempts_made, half, at_half.last_progress) == ({"to": 17}, 0, 50, 50)
    assert (result, done.return_value, done.attempts_made, done.token) == ("sent", "sent", 1, None)
    assert done.finished_on is not None
    assert done.is_completed()


def test_each_run_that_fails_is_told_and_whether_it_was_the_last(emails: Queue) -> None:
    errors = [OSError("busy"), UnrecoverableError("gone")]

    def send(job: Job[Any]) -> None:
        raise errors[job.attempts_made]

    emails.add("welcome", attempts=3)
    worker = Worker(emails, send)
    told = listen(worker)
    assert [worker.step(), worker.step()] == [True, True]
    failed = [what for event, *what in told if event == "failed"]
    assert [error for _, error in failed] == errors
    assert [
        (job.attempts_made, job.failed_reason, job.finished_on is None) for job, _ in failed
    ] == [(1, "busy", True), (2, "gone", False)]


def test_a_hook_that_fails_is_logged_and_ends_nothing(
    emails: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("hook")

    emails.add_bulk([{"name": "x"}, {"name": "x"}])
    worker = Worker(emails, lambda job: None)
    for event in EVENTS:
        worker.on(event, refuse)
    told = listen(worker)
    with caplog.at_level(logging.WARNING, "feedmill"):
        assert [worker.step(), worker.step(), worker.step()] == [True, True, False]
        worker.close()
    assert names_of(told).count("completed") == 2
    messages = [record.getMessage() for record in caplog.records]
    assert set(messages) == {
        f"hook_failed {{'event': '{event}'}}"
        for event in ("active", "completed", "drained", "closed")
    }


def test_a_lost_lock_is_told_as_an_error_and_not_as_an_end(emails: Queue) -> None:
    emails.add("welcome")
    worker = Worker(emails, lambda job: emails.core.client.delete(emails.core.keys.lock(job.id)))
    told = listen(worker)
    worker.step()
    assert names_of(told) == ["active", "error"]
    assert "its lock was lost" in str(told[-1][1])


def test_a_job_whose_worker_vanished_is_told_by_the_one_that_finds_it(
    emails: Queue,
) -> None:
    seed_stalled(emails.core, "a", "b")
    worker = Worker(emails, lambda job: None)
    told = listen(worker)
    worker.start()
    wait_until(lambda: names_of(told).count("completed") == 2, "they were run again")
    worker.close()
    assert {what[0] for event, *what in told if event == "stalled"} == {"a", "b"}


def test_an_event_that_there_is_not_is_refused_with_those_that_there_are(emails: Queue) -> None:
    with pytest.raises(InvalidJobOptions, match="'complete': accepted is active, completed"):
        Worker(emails, lambda job: None).on("complete", print)


def test_a_paused_worker_takes_no_job_until_it_is_resumed(
    emails: Queue, started: Callable[..., Worker]
) -> None:
    ran: list[str] = []
    worker = started(lambda job: ran.append(job.id))
    assert (worker.is_running(), worker.is_paused()) == (True, False)
    assert worker.pause()
    emails.add("welcome")
    assert not worker.step()
    assert (worker.is_running(), worker.is_paused(), ran) == (True, True, [])
    assert not emails.is_paused()
    worker.resume()
    wait_until(lambda: len(ran) == 1, "it was run")
    worker.close()
    assert not worker.is_running()


def test_pausing_waits_for_what_runs_as_long_as_it_is_told(
    emails: Queue, started: Callable[..., Worker]
) -> None:
    gate, running = threading.Event(), threading.Event()

    def send(job: Job[Any]) -> None:
        running.set()
        gate.wait(10)

    emails.add_bulk([{"name": "x"}, {"name": "x"}])
    worker = started(send)
    assert running.wait(10)
    try:
        assert not worker.pause(timeout_s=0.05)
    finally:
        gate.set()
    assert worker.pause()
    assert emails.get_job_counts("active", "waiting") == {"active": 0, "waiting": 1}


def test_a_paused_worker_is_closed_as_any_other(
    emails: Queue, started: Callable[..., Worker]
) -> None:
    worker = started(lambda job: None)
    worker.pause()
    worker.close(5.0)
    assert not worker.is_running()


def test_a_hook_that_closes_what_is_closed_waits_for_nothing(emails: Queue) -> None:
    worker = Worker(emails, lambda job: None)
    told: Told = []
    worker.on("closed", lambda: told.append(("closed", worker.close())))  # type: ignore[func-returns-value]
    closer = threading.Thread(target=worker.close, daemon=True)
    closer.start()
    closer.join(10)
    assert (closer.is_alive(), told) == (False, [("closed", None)])
