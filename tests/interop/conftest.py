"""Node beside us; where there is none, these tests are skipped and say so."""

from collections.abc import Iterator

import pytest

from shared.clock import SystemClock
from shared.queue import JobQueue, RedisConnection
from tests.interop.node_driver import NodeDriver, NodeMissing, install_packages


@pytest.fixture(scope="session")
def node_process(valkey_url: str) -> Iterator[NodeDriver]:
    try:
        node = install_packages()
    except NodeMissing as missing:
        pytest.skip(str(missing))
    driver = NodeDriver(node, valkey_url)
    try:
        yield driver
    finally:
        driver.stop()


@pytest.fixture
def node(node_process: NodeDriver, redis_client: RedisConnection) -> Iterator[NodeDriver]:
    """Node's BullMQ, on the empty Redis that ``redis_client`` sees."""
    yield node_process
    node_process.run("await closeAll()")


@pytest.fixture
def queue(redis_client: RedisConnection) -> JobQueue:
    """Our side of the queue that Node knows as ``bull``, ``q``."""
    return JobQueue(redis_client, "q", clock=SystemClock())
