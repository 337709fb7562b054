"""A deployment of real processes on empty stores."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from shared.queue import RedisConnection
from tests.processes import Deploy, Deployment, deployment
from tests.publisher import Publisher


@pytest.fixture
def database_name() -> str:
    """A new one for each test: the last write of a killed process may come after its end."""
    return f"test_{uuid.uuid4().hex[:16]}"


@pytest.fixture
def deploy(
    tmp_path: Path,
    valkey_url: str,
    redis_client: RedisConnection,
    mongodb_url: str,
    mongo_database: Database[dict[str, Any]],
) -> Iterator[Deploy]:
    """Call it with settings to get a deployment on an empty Redis and a fresh database."""
    with ExitStack() as stack:

        def build(**settings: str) -> Deployment:
            database_url = f"{mongodb_url}/{mongo_database.name}"
            return stack.enter_context(deployment(tmp_path, valkey_url, database_url, **settings))

        yield build


@pytest.fixture(scope="module")
def module_deploy(
    tmp_path_factory: pytest.TempPathFactory,
    valkey_url: str,
    session_redis_client: RedisConnection,
    module_database_url: str,
) -> Iterator[Deploy]:
    """As ``deploy``, for all tests of a module in turn: none of them may empty the stores."""
    session_redis_client.flushdb()
    with ExitStack() as stack:

        def build(**settings: str) -> Deployment:
            folder = tmp_path_factory.mktemp("deployment")
            return stack.enter_context(
                deployment(folder, valkey_url, module_database_url, **settings)
            )

        yield build


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher
