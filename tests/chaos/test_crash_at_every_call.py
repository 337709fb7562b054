"""A fault at every single call of a role to its stores, before it and after it."""

from collections.abc import Callable
from itertools import count

import pytest

from shared.queue import RedisConnection
from shared.store import open_database
from tests.crashes import SCENARIOS, crash_and_heal, fail_and_go_on
from tests.fakes import FakeClock
from tests.harness import Harness

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("executed", [False, True], ids=["unsent", "reply lost"])
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_every_item_is_accounted_for_whichever_call_met_the_crash(
    redis_client: RedisConnection, database_url: str, scenario: str, executed: bool
) -> None:
    run_at_every_call(crash_and_heal, redis_client, database_url, scenario, executed)


@pytest.mark.parametrize("executed", [False, True], ids=["unsent", "reply lost"])
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_every_item_is_accounted_for_whichever_call_lost_its_connection(
    redis_client: RedisConnection, database_url: str, scenario: str, executed: bool
) -> None:
    run_at_every_call(fail_and_go_on, redis_client, database_url, scenario, executed)


def run_at_every_call(
    run: Callable[..., bool],
    redis: RedisConnection,
    database_url: str,
    scenario: str,
    executed: bool,
) -> None:
    """Run a scenario with a fault at its first call, its second call, and so on to its last."""
    failures: list[str] = []
    for call in count(1):
        redis.flushdb()
        database = open_database(database_url)
        try:
            harness = Harness(redis, database, FakeClock())
            if not run(harness, scenario, call=call, executed=executed):
                break
        except AssertionError as exc:
            failures.append(f"call {call}: {exc}"[:500])
        finally:
            database.drop()
            database.close()
    print(f"{scenario}: {call - 1} calls")
    assert failures == []
