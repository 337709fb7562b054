"""Many histories of a windowed feed, new ones each time; ``HISTORIES`` sets how many."""

import os

import pytest

from shared.queue import RedisConnection
from tests.interval_histories import run_interval_histories

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(7200)]


def test_every_interval_is_accounted_for_after_many_histories(
    redis_client: RedisConnection, database_url: str
) -> None:
    count = int(os.environ.get("HISTORIES", "500"))
    run_interval_histories(redis_client, database_url, count, is_repeatable=False)
