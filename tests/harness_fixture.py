"""The fixture ``harness``, for modules that name this one in ``pytest_plugins``."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from shared.queue import RedisConnection
from shared.store import open_database
from tests.fakes import FakeClock
from tests.harness import Harness


@pytest.fixture
def harness(
    redis_client: RedisConnection, mongodb_url: str, mongo_database: Database[dict[str, Any]]
) -> Iterator[Harness]:
    """A Feedmill that stands still, without a feed."""
    database = open_database(f"{mongodb_url}/{mongo_database.name}")
    yield Harness(redis_client, database, FakeClock())
    database.close()
