"""Many histories, new ones each time; ``HISTORIES`` in the environment sets how many."""

import os

import pytest

from shared.queue import RedisConnection
from tests.histories import run_histories

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


def test_every_item_is_accounted_for_after_many_histories(
    redis_client: RedisConnection, database_url: str
) -> None:
    count = int(os.environ.get("HISTORIES", "500"))
    run_histories(redis_client, database_url, count, is_repeatable=False)
