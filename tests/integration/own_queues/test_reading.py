"""Looking at a queue of one's own; that Node answers the same is in ``tests/interop``."""

import pytest

from feedmill import InvalidJobOptions, Queue, QueueEvents
from shared.clock import SystemClock
from shared.errors import QueueRefused
from shared.queue import (
    Completion,
    Failure,
    JobQueue,
    RedisConnection,
    connect,
    disconnect,
    wait_for_work,
)
from tests.logins import redis_login
from tests.queue_states import claim, seed_active, seed_waiting


@pytest.fixture
def emails(redis_client: RedisConnection) -> Queue:
    return Queue("emails", redis_client)


def ids(emails: Queue, states: str, *page: int, asc: bool = False) -> list[str]:
    return [job.id for job in emails.get_jobs(states, *page, asc=asc)]


def test_pages_of_a_line_join_without_a_gap_and_end(emails: Queue) -> None:
    seed_waiting(emails.core, *[f"a{n}" for n in range(5)])
    pages = [ids(emails, "waiting", start, start + 1, asc=True) for start in (0, 2, 4, 6)]
    assert pages == [["a0", "a1"], ["a2", "a3"], ["a4"], []]
    assert ids(emails, "waiting", 1, 2) == ["a3", "a2"]
    assert [job.id for job in emails.get_waiting(-2)] == ["a3", "a4"]


def test_ids_without_a_job_are_left_out_of_lists(emails: Queue) -> None:
    seed_waiting(emails.core, "a", "b", "c")
    emails.core.client.delete(emails.core.keys.job("b"))
    assert ids(emails, "waiting", asc=True) == ["a", "c"]


def test_a_job_that_stands_in_two_states_is_listed_once(emails: Queue) -> None:
    seed_waiting(emails.core, "a")
    emails.core.client.lpush(emails.core.keys.active, "a")
    assert [job.id for job in emails.get_jobs()] == ["a"]
    assert emails.get_job_state("a") == "active"


def test_a_job_tells_its_state_as_it_is_now(emails: Queue) -> None:
    seed_waiting(emails.core, "a")
    job = emails.get_job("a")
    assert job is not None
    assert job.is_waiting()
    claim(emails.core)
    assert job.is_active()
    emails.core.complete_many([Completion("a", "t1", None)])
    assert job.get_state() == "unknown"
    looks = (job.is_completed, job.is_failed, job.is_delayed, job.is_waiting_children)
    assert not any(look() for look in looks)


def test_finished_jobs_are_listed_newest_first(emails: Queue) -> None:
    seed_active(emails.core, "a", "b", "c", keep_completed=5)
    emails.core.complete_many([Completion("a", "t1", None), Completion("b", "t1", None)])
    emails.core.fail_many([Failure("c", "t1", "no", "stack")])
    assert [job.id for job in emails.get_completed()] == ["b", "a"]
    assert [job.failed_reason for job in emails.get_failed()] == ["no"]


def test_what_older_versions_keep_of_a_paused_queue_counts_as_waiting(emails: Queue) -> None:
    emails.core.client.lpush(emails.core.keys.paused, "old")
    assert emails.get_job_state("old") == "waiting"


def test_questions_that_make_no_sense_are_refused(emails: Queue) -> None:
    with pytest.raises(InvalidJobOptions, match="waiting-children"):
        emails.get_jobs(["waiting", "paused"])
    with pytest.raises(InvalidJobOptions, match="completed, failed"):
        emails.get_metrics("delayed")
    with pytest.raises(InvalidJobOptions, match="2097151"):
        emails.get_counts_per_priority([-1])


def test_a_queue_is_maxed_while_its_own_concurrency_is_used_up(emails: Queue) -> None:
    seed_active(emails.core, "a", "b")
    assert not emails.is_maxed()
    emails.core.client.hset(emails.core.keys.meta, "concurrency", 2)
    assert emails.is_maxed()
    emails.core.client.hset(emails.core.keys.meta, "concurrency", 3)
    assert not emails.is_maxed()


def test_broken_keys_of_a_job_are_shown_as_empty_ones(emails: Queue) -> None:
    seed_waiting(emails.core, "a")
    client, key = emails.core.client, emails.core.keys.job("a")
    client.set(f"{key}:logs", "no list")
    client.set(f"{key}:dependencies", "no set")
    client.hset(f"{key}:processed", "bull:emails:b", "{")
    client.hset(emails.core.keys.metrics("failed"), "count", "many")
    job = emails.get_job("a")
    assert job is not None
    assert emails.get_job_logs("a") == ([], 0)
    assert job.get_dependencies().unprocessed == []
    assert job.get_children_values() == {"bull:emails:b": "{"}
    assert emails.get_metrics("failed").count == 0


def test_workers_of_a_queue_are_listed_and_nobody_else_is(emails: Queue, valkey_url: str) -> None:
    client = connect(valkey_url)
    named = connect(valkey_url, client_name="bull:ZW1haWxz:w:mailer")
    try:
        before = len(emails.get_workers())
        for name in ("emails", "emails2"):
            wait_for_work(client, [JobQueue(client, name, clock=SystemClock())], 0.01)
        named.ping()
        with QueueEvents("emails", valkey_url):
            workers = emails.get_workers()
        assert len(workers) == before + 2
        assert [worker.name for worker in workers if worker.name] == ["mailer"]
        assert all(worker.address and worker.idle_s >= 0 for worker in workers)
    finally:
        disconnect(client)
        disconnect(named)


def test_a_redis_that_hides_who_is_connected_says_so(
    redis_client: RedisConnection, valkey_url: str
) -> None:
    with (
        redis_login(redis_client, valkey_url, "shy", "~* +@all -client|list") as url,
        Queue("emails", url) as shy,
        pytest.raises(QueueRefused, match="connected"),
    ):
        shy.get_workers()
