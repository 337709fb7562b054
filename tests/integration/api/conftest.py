"""An application on empty stores."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database

from shared.queue import RedisConnection
from shared.store import Stores, open_database
from tests.api import Api, open_api


@pytest.fixture
def stores(mongodb_url: str, mongo_database: Database[dict[str, Any]]) -> Iterator[Stores]:
    database = open_database(f"{mongodb_url}/{mongo_database.name}")
    yield Stores.of(database)
    database.close()


@pytest.fixture
def api(redis_client: RedisConnection, stores: Stores) -> Iterator[Api]:
    with open_api(redis_client, stores) as opened:
        yield opened
