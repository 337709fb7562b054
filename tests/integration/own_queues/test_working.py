"""Working a queue of one's own: what a worker is told, and what a handler sees and does."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedmill import Job, Queue, Worker
from shared.queue import RedisConnection
from tests.processes import wait_until


@pytest.fixture
def emails(redis_client: RedisConnection) -> Queue:
    return Queue("emails", redis_client)


@pytest.fixture
def started(emails: Queue) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(handler: Callable[[Job[Any]], object], **options: Any) -> Worker:
        workers.append(Worker(emails, handler, **options))
        workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        worker.close(1.0)


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
