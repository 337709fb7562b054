"""Whatever happens in whatever order, every item is accounted for in the end."""

import pytest

from shared.queue import RedisConnection
from tests.histories import run_histories


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [5, pytest.param(25, marks=pytest.mark.long)])
def test_every_item_is_accounted_for_after_any_history(
    redis_client: RedisConnection, database_url: str, count: int
) -> None:
    run_histories(redis_client, database_url, count, is_repeatable=True)
