"""Queues that reports and their pages go through, on an empty Redis."""

import pytest

from feedmill import Flow, Queue
from shared.queue import RedisConnection
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def flows(redis_client: RedisConnection, clock: FakeClock) -> Flow:
    return Flow(redis_client, clock=clock)


@pytest.fixture
def reports(redis_client: RedisConnection, clock: FakeClock) -> Queue:
    return Queue("reports", redis_client, clock=clock)


@pytest.fixture
def pages(redis_client: RedisConnection, clock: FakeClock) -> Queue:
    return Queue("pages", redis_client, clock=clock)
