"""Queues of e-mails, and of reports and their pages, on an empty Redis."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedmill import Flow, Job, Queue, Worker
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


@pytest.fixture
def emails(redis_client: RedisConnection) -> Queue:
    return Queue("emails", redis_client)


@pytest.fixture
def started(emails: Queue, idle_workers_end_soon: None) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(handler: Callable[[Job[Any]], object], **options: Any) -> Worker:
        workers.append(Worker(emails, handler, **options))
        workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        worker.close(1.0)
