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
from tests.mongodb_features import Feature, require, require_all_for


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what another MongoDB is worth trying on."""
    if "mongodb_url" in getattr(item, "fixturenames", ()):
        item.add_marker("mongodb")


@pytest.fixture(autouse=True)
def skip_what_mongodb_lacks(request: pytest.FixtureRequest) -> None:
    """Skip what needs more of MongoDB than the server that was named can do."""
    require_all_for(request.node.name, getattr(request.node, "originalname", ""))


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
    require(Feature.FAIL_POINTS)
    failing = FailPoints(session_mongo_client)
    yield failing
    failing.off()


@pytest.fixture
def driver_looks_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MongoDB's driver soon look again for a store that is away; no option goes below 0.5 s."""
    monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.02)


@pytest.fixture
def harness(redis_client: RedisConnection, stores: Stores) -> Harness:
    """A whole deployment, driven step by step."""
    return Harness(redis_client, stores.database, FakeClock())
