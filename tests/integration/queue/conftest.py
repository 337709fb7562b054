"""A queue and its dead-letter queue, on an empty Valkey, with a clock that tests move."""

import pytest

from shared.queue import JobQueue, RedisConnection
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(redis_client: RedisConnection, clock: FakeClock) -> JobQueue:
    return JobQueue(redis_client, "items", clock=clock)


@pytest.fixture
def dlq(redis_client: RedisConnection, clock: FakeClock) -> JobQueue:
    return JobQueue(redis_client, "items_dlq", clock=clock)
