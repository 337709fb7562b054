"""Whatever happens to a windowed feed, each of its intervals is read, and no stale item stored."""

import pytest

from shared.queue import RedisConnection
from tests.interval_histories import run_interval_histories


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [3, pytest.param(25, marks=pytest.mark.long)])
def test_every_interval_is_accounted_for_after_any_history(
    redis_client: RedisConnection, database_url: str, count: int
) -> None:
    run_interval_histories(redis_client, database_url, count, is_repeatable=True)
