"""Declared queues on a real Valkey: added, worked, checked on both ways."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from feedmill import AddLimitExceeded, InvalidJobOptions, Job, Queue, QueueError, configure, queue
from shared.queue import RedisConnection
from shared.running import Running, write_running
from tests.fakes import FakeClock


class Email(BaseModel):
    """What the queue of the tests carries."""

    to: str
    copies: int = 1


class Sent(BaseModel):
    """What its function returns."""

    to: str


sent: list[Email] = []


@queue("emails", attempts=3, backoff="2s exp", keep={"count": 100, "age": "24h"})
def send(job: Job[Email]) -> Sent:
    """Send an email."""
    sent.append(job.data)
    return Sent(to=job.data.to)


@pytest.fixture(autouse=True)
def place(redis_client: RedisConnection) -> Iterator[None]:
    sent.clear()
    configure(redis_client, prefix="own", clock=FakeClock())
    yield
    configure()


def test_a_job_is_added_by_its_function_s_name_and_worked_with_its_model() -> None:
    job = send.add(Email(to="ann"), id="welcome-7", priority=1)
    assert (job.id, job.name, job.data) == ("welcome-7", "send", Email(to="ann"))
    assert send.worker().step()
    assert sent == [Email(to="ann")]
    kept = send.queue.get_job("welcome-7")
    assert kept is not None
    assert (kept.return_value, kept.data) == ({"to": "ann"}, {"to": "ann", "copies": 1})
    assert kept.opts["removeOnFail"] == {"count": 100, "age": 86_400}
    assert (kept.opts["attempts"], kept.opts["backoff"]) == (
        3,
        {"type": "exponential", "delay": 2000},
    )


def test_the_keys_are_those_of_the_configured_prefix() -> None:
    send.add(Email(to="ann"))
    assert send.queue.qualified_name == "own:emails"
    assert send.queue.count() == 1


def test_many_are_added_in_order_or_none() -> None:
    send.add_many(Email(to=name) for name in ("ann", "bob"))
    wrong: Any = {"copies": 2}
    with pytest.raises(QueueError, match="data="):
        send.add_many([Email(to="eve"), wrong])
    worker = send.worker()
    while worker.step():
        pass
    assert [email.to for email in sent] == ["ann", "bob"]


def test_an_id_that_is_taken_gives_the_job_that_is_there() -> None:
    send.add(Email(to="ann"), id="welcome")
    assert send.add(Email(to="bob"), id="welcome").data == Email(to="ann")
    assert send.queue.count() == 1


def test_of_one_deduplication_id_one_job_is_there() -> None:
    first = send.add(Email(to="ann"), dedup="ann")
    assert send.add(Email(to="ann"), dedup={"id": "ann", "ttl": "5m"}).id == first.id
    assert send.queue.count() == 1


def test_a_delayed_job_waits_for_its_span(redis_client: RedisConnection) -> None:
    clock = FakeClock()
    configure(redis_client, prefix="own", clock=clock)
    send.add(Email(to="ann"), delay="7d")
    assert not send.worker().step()
    clock.advance(days=7)
    assert send.worker().step()


def test_data_that_the_function_does_not_take_fails_at_once_though_attempts_remain() -> None:
    foreign = Queue("emails", send.queue.core.client, prefix="own")
    job = foreign.add("send", {"copies": "many"}, attempts=3)
    assert send.worker().step()
    failed = job.refresh()
    assert sent == []
    assert failed.is_failed()
    assert failed.failed_reason is not None
    assert failed.failed_reason.startswith("data is no Email: to: Field required; copies: ")


def test_data_of_an_older_program_does_not_spoil_an_add() -> None:
    Queue("emails", send.queue.core.client, prefix="own").add("send", {"was": 1}, job_id="welcome")
    there: Any = send.add(Email(to="ann"), id="welcome").data
    assert there == {"was": 1}


def test_without_a_configuration_the_environment_names_the_redis(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str
) -> None:
    configure()
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(QueueError, match="REDIS_URL"):
        send.add(Email(to="ann"))
    monkeypatch.setenv("REDIS_URL", valkey_url)
    monkeypatch.setenv("QUEUE_PREFIX", "mine")
    send.add(Email(to="ann"))
    assert send.queue.qualified_name == "mine:emails"
    # What is configured anew is where the next job goes.
    configure(prefix="other")
    assert send.queue.qualified_name == "other:emails"
    assert send.queue.count() == 0


def test_without_a_redis_that_is_named_it_is_the_one_of_a_service_that_runs_here(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str, tmp_path: Path
) -> None:
    configure()
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    write_running(tmp_path, Running(os.getpid(), "http://127.0.0.1:8000", valkey_url, ""))
    send.add(Email(to="ann"))
    assert send.queue.count() == 1


def test_a_limit_holds_over_all_workers(redis_client: RedisConnection) -> None:
    @queue("limited", limit="2/s")
    def work(job: Job[Email]) -> None: ...

    work.add_many([Email(to=name) for name in "abc"])
    assert [work.worker().step() for _ in range(3)] == [True, True, False]


def test_hooks_are_told_of_final_ends_with_the_model() -> None:
    told: list[object] = []

    @queue("told", attempts=2)
    def work(job: Job[Email]) -> str:
        if job.data.copies == 0:
            raise OSError("no copies")
        return "sent"

    work.on_completed(lambda job, result: told.append((job.data, result)))

    @work.on_failed
    def alert(job: Job[Any], error: BaseException) -> None:
        told.append((job.data, str(error)))

    work.add_many([Email(to="ann"), Email(to="bob", copies=0)])
    worker = work.worker()
    while worker.step():
        pass
    assert told == [(Email(to="ann"), "sent"), (Email(to="bob", copies=0), "no copies")]


def test_hooks_are_told_of_data_that_is_no_model_as_it_is() -> None:
    told: list[object] = []

    @queue("foreign")
    def work(job: Job[Email]) -> None: ...

    work.on_failed(lambda job, error: told.append(job.data))
    Queue("foreign", work.queue.core.client, prefix="own").add("work", {"copies": 1})
    assert work.worker().step()
    assert told == [{"copies": 1}]


def test_a_function_says_how_long_a_job_waits_for_its_next_attempt(
    redis_client: RedisConnection,
) -> None:
    clock = FakeClock()
    configure(redis_client, prefix="own", clock=clock)

    @queue("waits", attempts=3, backoff=lambda made, error: f"{made}m" if str(error) else 0)
    def work(job: Job[Email]) -> None:
        raise OSError("away")

    job = work.add(Email(to="ann"))
    for minutes in (1, 2):
        assert work.worker().step()
        clock.advance(minutes=minutes, seconds=-1)
        assert not work.worker().step()
        clock.advance(seconds=1)
    assert work.worker().step()
    assert job.is_failed()


def test_a_caller_adds_no_more_than_its_limit() -> None:
    @queue("added", add_limit="2/m")
    def work(job: Job[Email]) -> None: ...

    work.add_many([Email(to="ann"), Email(to="bob")], caller="sign-up")
    with pytest.raises(AddLimitExceeded, match="sign-up"):
        work.add(Email(to="eve"), caller="sign-up")
    work.add(Email(to="eve"), caller="import")
    assert work.queue.count() == 3


def test_a_job_comes_again_and_again_and_a_second_call_changes_its_schedule() -> None:
    send.every("15m", Email(to="ann"))
    at_eight = send.every("0 8 * * 1", Email(to="bob"), tz="Europe/Rome", limit=3)
    assert (at_eight.name, at_eight.data) == ("send", Email(to="bob"))
    send.every("1h", Email(to="eve"), id="hourly", end=datetime(2027, 1, 1, tzinfo=UTC))
    schedules = send.queue.get_job_schedulers(asc=True)
    assert [(one.id, one.repeat.every, one.repeat.limit) for one in schedules] == [
        ("hourly", 3_600_000, None),
        ("send", None, 3),
    ]
    assert send.worker().step()
    assert sent == [Email(to="eve")]
    with pytest.raises(InvalidJobOptions, match="crontab"):
        send.every("15 minutes", Email(to="ann"))
    with pytest.raises(InvalidJobOptions, match="data="):
        send.every("15m")


def test_a_function_may_let_its_job_carry_another_model() -> None:
    @queue("copied")
    def work(job: Job[Email]) -> None:
        job.update_data(job.data.model_copy(update={"copies": 0}))

    job = work.add(Email(to="ann", copies=2))
    assert work.worker().step()
    assert job.refresh().data == {"to": "ann", "copies": 0}
