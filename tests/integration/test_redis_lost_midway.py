"""All of Redis is lost in each state that an import can be in, and the publisher is gone too."""

from collections.abc import Callable

import pytest

from shared.queue import JobState
from tests.actors import Held
from tests.mill import SOURCE, Mill
from tests.oracle import assert_accounted_for

pytest_plugins = ["tests.mill_fixture"]

GOOD = {f"item-{number}": f"Title {number}" for number in range(4)}
SHOWN = {**GOOD, "bad": "poison"}


def lose_everything(mill: Mill) -> None:
    mill.press.break_down()
    mill.lose_redis()


def crash_in_fetch(mill: Mill, store: str, method: str, *, after: bool = False) -> None:
    server = mill.new_server()
    server.start(SOURCE)
    server.crash_at(getattr(server.stores, store), method, server.fetch, after=after)


def crash_in_work(mill: Mill, target: str, method: str, *, after: bool = False) -> None:
    worker = mill.new_worker()
    owner = getattr(worker.stores, target) if target != "queue" else worker.queues[0]
    worker.crash_at(owner, method, worker.work, after=after)


def leave_uncommitted(mill: Mill) -> None:
    crash_in_fetch(mill, "imports", "commit")


def leave_fetching(mill: Mill) -> None:
    crash_in_fetch(mill, "sources", "draw_revision", after=True)


def leave_marked(mill: Mill) -> None:
    crash_in_fetch(mill, "imports", "mark_fetching", after=True)


def leave_queued(mill: Mill) -> None:
    mill.server.start(SOURCE)


def leave_uninserted(mill: Mill) -> None:
    server = mill.new_server()
    server.crash_at(server.stores.imports, "insert_many", lambda: server.start(SOURCE))


def leave_committed(mill: Mill) -> None:
    crash_in_fetch(mill, "imports", "commit", after=True)


def leave_feed_told(mill: Mill) -> None:
    crash_in_fetch(mill, "feeds", "finish", after=True)


def leave_enqueued(mill: Mill) -> None:
    mill.poll()


def leave_enqueued_unsettled(mill: Mill) -> None:
    server = mill.new_server()
    server.start(SOURCE)
    server.crash_at(server.services.fetch_queue, "complete_many", server.fetch)


def leave_claimed(mill: Mill) -> None:
    mill.poll()
    crash_in_work(mill, "items", "write_many")


def leave_written(mill: Mill) -> None:
    mill.poll()
    crash_in_work(mill, "items", "write_many", after=True)


def leave_settled(mill: Mill) -> None:
    mill.poll()
    crash_in_work(mill, "queue", "complete_many", after=True)


def leave_delayed(mill: Mill) -> None:
    mill.poll()
    mill.work()


def leave_recorded(mill: Mill) -> None:
    leave_delayed(mill)
    mill.clock.advance(seconds=60)
    crash_in_work(mill, "dead_letters", "record_many", after=True)


def leave_buried(mill: Mill) -> None:
    leave_delayed(mill)
    mill.clock.advance(seconds=60)
    mill.work()


def leave_closed(mill: Mill) -> None:
    leave_buried(mill)
    mill.come_to_rest()


@pytest.mark.parametrize(
    "reach",
    [
        leave_committed,
        leave_feed_told,
        leave_enqueued,
        leave_enqueued_unsettled,
        leave_claimed,
        leave_written,
        leave_settled,
        leave_delayed,
        leave_recorded,
        leave_buried,
        leave_closed,
    ],
)
def test_every_journaled_item_gets_home_without_redis_and_publisher(
    mill: Mill, reach: Callable[[Mill], None]
) -> None:
    mill.subscribe(SHOWN)
    reach(mill)

    lose_everything(mill)
    mill.replace_actors()
    mill.come_to_rest()

    assert_accounted_for(mill, GOOD, dead=["bad"])
    assert mill.press.requests == 1


@pytest.mark.parametrize(
    "reach", [leave_uninserted, leave_queued, leave_marked, leave_fetching, leave_uncommitted]
)
def test_what_was_not_journaled_is_fetched_when_the_publisher_is_back(
    mill: Mill, reach: Callable[[Mill], None]
) -> None:
    mill.subscribe(SHOWN)
    reach(mill)

    lose_everything(mill)
    mill.replace_actors()
    mill.come_to_rest()
    assert_accounted_for(mill, {})
    mill.press.recover()
    mill.poll()
    mill.come_to_rest()

    assert_accounted_for(mill, GOOD, dead=["bad"])


@pytest.mark.parametrize(
    "method", ["read_versions", "write_many"], ids=["before it reads", "before it writes"]
)
def test_a_worker_that_outlives_redis_harms_nothing(mill: Mill, method: str) -> None:
    mill.subscribe(SHOWN)
    mill.poll()
    zombie = mill.new_worker()

    with Held(zombie.work, zombie.stores.items, method):
        lose_everything(mill)
        mill.come_to_rest()
    mill.come_to_rest()

    assert_accounted_for(mill, GOOD, dead=["bad"])


def test_a_replay_gets_home_after_redis_was_lost(mill: Mill) -> None:
    mill.subscribe(SHOWN)
    leave_closed(mill)
    mill.accept_poison()
    replaying = mill.new_server()
    replaying.crash_at(
        replaying.services.light_queue,
        "add_many",
        lambda: replaying.services.replayer.replay(everything=True),
    )

    lose_everything(mill)
    mill.come_to_rest()

    assert_accounted_for(mill, SHOWN)


def test_two_losses_in_a_row_are_healed_though_the_first_was_not_healed_to_its_end(
    mill: Mill,
) -> None:
    mill.subscribe(SHOWN)
    leave_enqueued(mill)
    lose_everything(mill)
    crashing = mill.new_server()
    crashing.crash_at(crashing.auditor._healer, "remember_redis", crashing.look)
    mill.lose_redis()

    mill.come_to_rest()

    assert_accounted_for(mill, GOOD, dead=["bad"])


def test_a_loss_behind_an_audit_is_not_taken_for_healed(mill: Mill) -> None:
    mill.subscribe(SHOWN)
    leave_enqueued(mill)
    lose_everything(mill)
    slow, other = mill.new_server(), mill.new_server()

    with Held(slow.look, slow.auditor._healer, "remember_redis"):
        mill.lose_redis()
        other.crash_at(other.stores.imports, "find_importing", other.look)
    mill.replace_actors()
    mill.server.look()

    # At once, not after a minute of standing still.
    assert mill.item_queues[0].counts()[JobState.WAITING] == len(SHOWN)
