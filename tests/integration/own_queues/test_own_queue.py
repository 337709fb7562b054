"""The package ``feedmill``: a queue of one's own, worked to its end on a real Valkey."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

import feedmill
from feedmill import InvalidJobOptions, Job, Queue, QueueError, UnrecoverableError, Worker
from shared.queue import RedisConnection
from tests.processes import wait_until
from tests.queue_states import seed_waiting


def test_every_name_of_the_package_is_there() -> None:
    assert all(hasattr(feedmill, name) for name in feedmill.__all__)
    assert sorted(feedmill.__all__) == feedmill.__all__


@pytest.mark.parametrize("options", [{}, {"decode_responses": True, "protocol": 2}])
def test_a_client_that_repeats_or_decodes_is_refused_with_what_to_do(
    valkey_url: str, options: dict[str, Any]
) -> None:
    with (
        redis.Redis.from_url(valkey_url, **options) as client,
        pytest.raises(QueueError, match="give a URL, or a client of connect"),
    ):
        Queue("emails", client)


def test_a_handler_sees_its_job_and_its_answer_is_kept(
    emails: Queue, started: Callable[..., Worker]
) -> None:
    seen: list[Job[Any]] = []

    def send(job: Job[Any]) -> object:
        seen.append(job)
        return {"sent": job.data["to"]}

    seed_waiting(emails.core, "welcome-17", data={"to": 17}, keep_completed=9)
    started(send)
    wait_until(lambda: emails.get_job_counts("completed") == {"completed": 1}, "it is completed")
    [job] = seen
    assert (job.id, job.name, job.queue_name, job.attempts_started) == (
        "welcome-17",
        "item",
        "emails",
        1,
    )
    assert job.token
    kept = job.refresh()
    assert (kept.return_value, kept.failed_reason) == ({"sent": 17}, None)
    assert kept.finished_on is not None


@pytest.mark.parametrize(("error", "runs"), [(OSError, 3), (UnrecoverableError, 1)])
def test_a_job_is_tried_again_after_any_error_but_one(
    emails: Queue, started: Callable[..., Worker], error: type[Exception], runs: int
) -> None:
    def send(job: Job[Any]) -> None:
        raise error("no")

    seed_waiting(emails.core, "a", attempts=3, backoff_ms=5)
    started(send)
    wait_until(lambda: emails.get_job_counts("failed")["failed"] == 1, "it has failed")
    job = emails.get_job("a")
    assert job is not None
    assert (job.attempts_made, job.failed_reason) == (runs, "no")
    assert len(job.stacktrace) == runs


def test_step_works_one_job_on_the_calling_thread(emails: Queue) -> None:
    seed_waiting(emails.core, "a")
    threads: list[threading.Thread] = []
    worker = Worker(emails, lambda job: threads.append(threading.current_thread()))
    assert worker.step()
    assert not worker.step()
    assert threads == [threading.current_thread()]


def test_run_works_until_somebody_closes_the_worker_and_returns_when_all_is_handed_over(
    emails: Queue,
) -> None:
    seed_waiting(emails.core, "a")
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def send(job: Job[Any]) -> None:
        begun.set()
        go_on.wait(10)

    worker = Worker(emails, send)
    running = threading.Thread(target=lambda: (worker.run(), done.set()))
    running.start()
    assert begun.wait(10)
    closing = threading.Thread(target=worker.close)
    closing.start()
    assert not done.wait(0.05)
    go_on.set()
    closing.join(10)
    assert done.wait(10)
    running.join(10)
    assert emails.count() + emails.get_job_counts("active")["active"] == 0


def test_counts_pause_and_removal(emails: Queue) -> None:
    seed_waiting(emails.core, "a", "b")
    emails.pause()
    assert emails.is_paused()
    assert not Worker(emails, lambda job: None).step()
    emails.resume()
    assert emails.get_job_counts("waiting", "active") == {"waiting": 2, "active": 0}
    assert len(emails.get_job_counts()) == 7
    assert emails.remove("a")
    assert emails.remove("a")
    assert emails.get_job("a") is None
    assert emails.count() == 1
    with pytest.raises(InvalidJobOptions, match="waiting-children"):
        emails.get_job_counts("paused")


def test_a_claimed_job_is_not_removed(emails: Queue) -> None:
    seed_waiting(emails.core, "a")
    answers: list[bool] = []
    Worker(emails, lambda job: answers.append(emails.remove(job.id))).step()
    assert answers == [False]


def test_a_queue_closes_the_connections_that_it_opened_and_no_others(
    redis_client: RedisConnection, valkey_url: str
) -> None:
    with Queue("emails", valkey_url) as own:
        assert own.count() == 0
    own.close()
    with Queue("emails", redis_client):
        pass
    assert redis_client.ping()


def test_the_redis_of_the_environment_is_used_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey_url)
    with Queue("emails") as queue:
        assert (queue.count(), queue.qualified_name) == (0, "bull:emails")
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(QueueError, match="REDIS_URL"):
        Queue("emails")


def test_defaults_that_no_job_can_have_are_refused_when_the_queue_is_made(
    redis_client: RedisConnection,
) -> None:
    with pytest.raises(InvalidJobOptions, match="attempts"):
        Queue("emails", redis_client, default_job_options={"attempts": -1})


def test_trouble_is_logged_under_the_package_s_name(
    emails: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    seed_waiting(emails.core, "a")

    def lose_lock(job: Job[Any]) -> None:
        emails.core.client.delete(emails.core.keys.lock(job.id))

    with caplog.at_level(logging.WARNING, "feedmill"):
        Worker(emails, lose_lock).step()
    assert [record.getMessage().split()[0] for record in caplog.records] == ["lock_lost"]
