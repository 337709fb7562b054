"""A record on an empty MongoDB; on it and on an empty Valkey a worker's parts, or all parts."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from shared.queue import RedisConnection
from shared.store import Stores, open_database
from tests.factories import Bench
from tests.failpoints import FailPoints
from tests.fakes import FakeClock
from tests.harness import Harness
from tests.mongodb_features import Feature, missing_features, missing_for


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs more of MongoDB than the server that was named can do."""
    name = getattr(item, "originalname", item.name)
    missing = missing_for(name, item.path.name)
    if missing is None and "failing" in getattr(item, "fixturenames", ()):
        missing = next(iter(missing_features() & {Feature.FAIL_POINTS}), None)
    if missing is not None:
        pytest.skip(f"{name} needs {missing}")


@pytest.fixture
def stores(mongodb_url: str, mongo_database: Database[dict[str, Any]]) -> Iterator[Stores]:
    database = open_database(f"{mongodb_url}/{mongo_database.name}")
    yield Stores.of(database)
    database.close()


@pytest.fixture
def bench(redis_client: RedisConnection, stores: Stores) -> Iterator[Bench]:
    bench = Bench(redis_client, stores)
    yield bench
    bench.close()


@pytest.fixture
def failing(session_mongo_client: MongoClient[dict[str, Any]]) -> Iterator[FailPoints]:
    """Makes MongoDB fail on demand; it works again when the test ends."""
    failing = FailPoints(session_mongo_client)
    yield failing
    failing.off()


@pytest.fixture
def harness(redis_client: RedisConnection, stores: Stores) -> Harness:
    """A whole deployment, driven step by step."""
    return Harness(redis_client, stores.database, FakeClock())
