"""Limits of a whole queue; that Node's workers obey them too is in ``tests/interop``."""

from typing import Any

import pytest

from feedmill import InvalidJobOptions, Queue, Worker
from shared.queue import RateLimit, RedisConnection
from tests.queue_states import seed_active, seed_waiting


@pytest.fixture
def emails(redis_client: RedisConnection) -> Queue:
    return Queue("emails", redis_client)


def test_a_worker_takes_no_more_jobs_than_the_queue_lets_run(emails: Queue) -> None:
    seed_active(emails.core, "a")
    seed_waiting(emails.core, "b")
    emails.set_global_concurrency(1)
    worker = Worker(emails, lambda job: None, concurrency=5)
    assert not worker.step()
    emails.set_global_concurrency(2)
    assert worker.step()
    assert emails.get_global_concurrency() == 2


def test_the_limit_of_a_queue_holds_instead_of_that_of_its_worker(emails: Queue) -> None:
    seed_waiting(emails.core, "a", "b", "c", "d")
    emails.set_global_rate_limit(2, 60_000)
    worker = Worker(emails, lambda job: None, limiter=(1, 60_000))
    assert [worker.step() for _ in range(3)] == [True, True, False]
    assert 0 < emails.get_rate_limit_ttl() <= 60_000
    emails.remove_global_rate_limit()
    assert emails.get_global_rate_limit() is None
    assert emails.remove_rate_limit_key()
    assert [worker.step() for _ in range(2)] == [True, False]


def test_a_queue_that_is_told_to_rest_starts_no_job_of_a_worker_with_a_limit(
    emails: Queue,
) -> None:
    seed_waiting(emails.core, "a")
    worker = Worker(emails, lambda job: None, limiter=(100, 1000))
    emails.rate_limit(60_000)
    assert not worker.step()
    assert emails.get_rate_limit_ttl(100) > 50_000
    emails.remove_rate_limit_key()
    assert worker.step()
    assert emails.get_rate_limit_ttl(100) == 0


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_limits_that_let_nothing_pass_are_refused(emails: Queue, value: Any) -> None:
    with pytest.raises(InvalidJobOptions, match="concurrency"):
        emails.set_global_concurrency(value)
    with pytest.raises(InvalidJobOptions, match="max="):
        emails.set_global_rate_limit(value, 1000)
    with pytest.raises(InvalidJobOptions, match="duration"):
        emails.set_global_rate_limit(5, value)
    with pytest.raises(InvalidJobOptions, match="ms"):
        emails.rate_limit(value)


def test_limits_that_make_no_sense_in_redis_are_none(emails: Queue) -> None:
    keys, client = emails.core.keys, emails.core.client
    client.hset(keys.meta, mapping={"concurrency": "many", "max": "0", "duration": "x"})
    assert emails.get_global_concurrency() is None
    assert emails.get_global_rate_limit() is None
    client.lpush(keys.limiter, "no number")
    assert emails.get_rate_limit_ttl(1) == 0
    emails.set_global_rate_limit(3, 500)
    assert emails.get_global_rate_limit() == RateLimit(3, 500)
