"""What all tests share: figures in the summary, and stores, empty for each test.

There is one of each store per test process.

``TEST_REDIS_URL`` and ``TEST_MONGODB_URL`` name servers to use instead; the Redis is flushed.
"""

import logging
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from pymongo import MongoClient
from pymongo.database import Database

from shared.queue import RedisConnection, connect
from tests.processes import give_children_default_signals
from tests.servers import start_mongodb, start_valkey

give_children_default_signals()
# How long an example takes depends on what else the machine does; a test's own limit holds.
settings.register_profile("feedmill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("feedmill")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded as ``figures``, whichever process they ran in."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties if report.when == "call" else ():
                if name == "figures":
                    terminalreporter.write_line(f"{report.nodeid}\n{value}")


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield given
        return
    server = start_valkey(tmp_path_factory.mktemp("valkey"))
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def session_redis_client(valkey_url: str) -> Iterator[RedisConnection]:
    client = connect(valkey_url, client_name="tests")
    yield client
    client.close()


@pytest.fixture
def redis_client(session_redis_client: RedisConnection) -> RedisConnection:
    """A client of an empty Redis."""
    session_redis_client.flushdb()
    return session_redis_client


@pytest.fixture(scope="session")
def mongodb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a MongoDB, without a database name."""
    given = os.environ.get("TEST_MONGODB_URL")
    if given:
        yield given
        return
    server = start_mongodb(tmp_path_factory.mktemp("mongodb"))
    try:
        yield server.url
    finally:
        # Nobody reads it again, and a stop takes two seconds.
        server.kill()


@pytest.fixture(scope="session")
def session_mongo_client(mongodb_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb_url, tz_aware=True)
    yield client
    client.close()


@pytest.fixture(scope="session")
def database_name() -> str:
    """One for all tests of a process: SecantusDB gets slower with each name that it has seen."""
    return f"test_{uuid.uuid4().hex[:16]}"


@pytest.fixture
def database_url(mongodb_url: str, database_name: str) -> str:
    """The URL of that database, for tests that make it anew and drop it themselves."""
    return f"{mongodb_url}/{database_name}"


@pytest.fixture(scope="module")
def module_database_url(
    mongodb_url: str, session_mongo_client: MongoClient[dict[str, Any]]
) -> Iterator[str]:
    """The URL of a new database for all tests of a module in turn, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    yield f"{mongodb_url}/{name}"
    session_mongo_client.drop_database(name)


@pytest.fixture
def mongo_database(
    session_mongo_client: MongoClient[dict[str, Any]], database_name: str
) -> Iterator[Database[dict[str, Any]]]:
    """An empty database, dropped afterwards."""
    yield session_mongo_client[database_name]
    session_mongo_client.drop_database(database_name)


@pytest.fixture
def idle_workers_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let idle queue workers of this process rest 0.1 s at a time: they end when a rest does."""
    monkeypatch.setattr("shared.queue.worker._IDLE_WAIT_S", 0.1)


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Undo what a test configures of logging."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
