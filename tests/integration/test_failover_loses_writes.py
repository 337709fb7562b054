"""A failover loses Redis' last writes but keeps its mark: the record brings them back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.importing.auditor import IDLE_S
from shared.errors import QueueUnavailable
from shared.queue import connect, disconnect
from shared.store import Stores
from tests.fakes import FakeClock
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for
from tests.processes import wait_until
from tests.sentinels import SentinelDeployment

GOOD = {f"item-{number}": f"Title {number}" for number in range(40)}


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[SentinelDeployment]:
    with SentinelDeployment(tmp_path) as sentinel:
        yield sentinel


@pytest.fixture
def harness(sentinel: SentinelDeployment, stores: Stores) -> Iterator[Harness]:
    """A whole deployment on the primary that the Sentinel names, with a feed."""
    client = connect(sentinel.url)
    harness = Harness(client, stores.database, FakeClock())
    harness.subscribe(GOOD)
    yield harness
    disconnect(client)


def contents(harness: Harness) -> list[object]:
    """Return what Redis has: its keys, and how many jobs are in each state."""
    queues = (*harness.item_queues, harness.fetch_queue)
    return [sorted(harness.redis.keys()), [queue.counts() for queue in queues]]


def fail_over(harness: Harness, sentinel: SentinelDeployment) -> None:
    sentinel.kill_primary()
    sentinel.wait_for_failover()

    def answers() -> bool:
        try:
            return harness.fetch_queue.counts() is not None
        except QueueUnavailable:
            return False

    wait_until(answers, "the new primary answers")


def lose_fetch_job(harness: Harness, cut: Callable[[], None]) -> None:
    cut()
    harness.server.start(SOURCE)


def lose_item_jobs(harness: Harness, cut: Callable[[], None]) -> None:
    harness.server.start(SOURCE)
    cut()
    while harness.server.fetch():
        pass


def lose_settlements(harness: Harness, cut: Callable[[], None]) -> None:
    harness.poll()
    cut()
    harness.work()


def lose_end(harness: Harness, cut: Callable[[], None]) -> None:
    harness.poll()
    harness.work()
    cut()
    harness.server.look()


@pytest.mark.parametrize("lose", [lose_fetch_job, lose_item_jobs, lose_settlements, lose_end])
def test_what_a_failover_loses_is_back_after_two_audits(
    harness: Harness,
    sentinel: SentinelDeployment,
    lose: Callable[[Harness, Callable[[], None]], None],
) -> None:
    harness.server.look()
    mark = harness.item_queues[0].read_incarnation()

    lose(harness, sentinel.cut_replication)
    given = contents(harness)
    fail_over(harness, sentinel)
    assert contents(harness) != given
    assert harness.item_queues[0].read_incarnation() == mark is not None

    harness.lose_locks()
    for _ in range(2):
        harness.clock.advance(seconds=IDLE_S)
        harness.server.look()
        harness.reclaim()
        while harness.server.fetch():
            pass
        harness.work()
    harness.clock.advance(seconds=1)
    harness.server.look()
    assert harness.is_at_rest()
    assert_accounted_for(harness, GOOD)
