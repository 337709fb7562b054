"""All of Redis is lost in each state that an import can be in, and the publisher is gone too."""

from collections.abc import Callable

import pytest

from shared.queue import JobState
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for
from tests.roles import Held

pytest_plugins = ["tests.harness_fixture"]

GOOD = {f"item-{number}": f"Title {number}" for number in range(4)}
SHOWN = {**GOOD, "bad": "poison"}


def lose_everything(harness: Harness) -> None:
    harness.publisher.break_down()
    harness.lose_redis()


def crash_in_fetch(harness: Harness, store: str, method: str, *, after: bool = False) -> None:
    server = harness.new_server()
    server.start(SOURCE)
    server.crash_at(getattr(server.stores, store), method, server.fetch, after=after)


def crash_in_work(harness: Harness, target: str, method: str, *, after: bool = False) -> None:
    worker = harness.new_worker()
    owner = getattr(worker.stores, target) if target != "queue" else worker.queues[0]
    worker.crash_at(owner, method, worker.work, after=after)


def leave_uncommitted(harness: Harness) -> None:
    crash_in_fetch(harness, "imports", "commit")


def leave_fetching(harness: Harness) -> None:
    crash_in_fetch(harness, "sources", "draw_revision", after=True)


def leave_marked(harness: Harness) -> None:
    crash_in_fetch(harness, "imports", "mark_fetching", after=True)


def leave_queued(harness: Harness) -> None:
    harness.server.start(SOURCE)


def leave_uninserted(harness: Harness) -> None:
    server = harness.new_server()
    server.crash_at(server.stores.imports, "insert_many", lambda: server.start(SOURCE))


def leave_committed(harness: Harness) -> None:
    crash_in_fetch(harness, "imports", "commit", after=True)


def leave_feed_told(harness: Harness) -> None:
    crash_in_fetch(harness, "feeds", "finish", after=True)


def leave_enqueued(harness: Harness) -> None:
    harness.poll()


def leave_enqueued_unsettled(harness: Harness) -> None:
    server = harness.new_server()
    server.start(SOURCE)
    server.crash_at(server.services.fetch_queue, "complete_many", server.fetch)


def leave_claimed(harness: Harness) -> None:
    harness.poll()
    crash_in_work(harness, "items", "write_many")


def leave_written(harness: Harness) -> None:
    harness.poll()
    crash_in_work(harness, "items", "write_many", after=True)


def leave_settled(harness: Harness) -> None:
    harness.poll()
    crash_in_work(harness, "queue", "complete_many", after=True)


def leave_delayed(harness: Harness) -> None:
    harness.poll()
    harness.work()


def leave_recorded(harness: Harness) -> None:
    leave_delayed(harness)
    harness.clock.advance(seconds=60)
    crash_in_work(harness, "dead_letters", "record_many", after=True)


def leave_buried(harness: Harness) -> None:
    leave_delayed(harness)
    harness.clock.advance(seconds=60)
    harness.work()


def leave_closed(harness: Harness) -> None:
    leave_buried(harness)
    harness.come_to_rest()


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
    harness: Harness, reach: Callable[[Harness], None]
) -> None:
    harness.subscribe(SHOWN)
    reach(harness)

    lose_everything(harness)
    harness.replace_roles()
    harness.come_to_rest()

    assert_accounted_for(harness, GOOD, dead=["bad"])
    assert harness.publisher.requests == 1


@pytest.mark.parametrize(
    "reach", [leave_uninserted, leave_queued, leave_marked, leave_fetching, leave_uncommitted]
)
def test_what_was_not_journaled_is_fetched_when_the_publisher_is_back(
    harness: Harness, reach: Callable[[Harness], None]
) -> None:
    harness.subscribe(SHOWN)
    reach(harness)

    lose_everything(harness)
    harness.replace_roles()
    harness.come_to_rest()
    assert_accounted_for(harness, {})
    harness.publisher.recover()
    harness.poll()
    harness.come_to_rest()

    assert_accounted_for(harness, GOOD, dead=["bad"])


@pytest.mark.parametrize(
    "method", ["read_versions", "write_many"], ids=["before it reads", "before it writes"]
)
def test_a_worker_that_outlives_redis_harms_nothing(harness: Harness, method: str) -> None:
    harness.subscribe(SHOWN)
    harness.poll()
    zombie = harness.new_worker()

    with Held(zombie.work, zombie.stores.items, method):
        lose_everything(harness)
        harness.come_to_rest()
    harness.come_to_rest()

    assert_accounted_for(harness, GOOD, dead=["bad"])


def test_a_replay_gets_home_after_redis_was_lost(harness: Harness) -> None:
    harness.subscribe(SHOWN)
    leave_closed(harness)
    harness.accept_poison()
    replaying = harness.new_server()
    replaying.crash_at(
        replaying.services.light_queue,
        "add_many",
        lambda: replaying.services.replayer.replay(everything=True),
    )

    lose_everything(harness)
    harness.come_to_rest()

    assert_accounted_for(harness, SHOWN)


def test_two_losses_in_a_row_are_healed_though_the_first_was_not_healed_to_its_end(
    harness: Harness,
) -> None:
    harness.subscribe(SHOWN)
    leave_enqueued(harness)
    lose_everything(harness)
    crashing = harness.new_server()
    crashing.crash_at(crashing.auditor._healer, "remember_redis", crashing.look)
    harness.lose_redis()

    harness.come_to_rest()

    assert_accounted_for(harness, GOOD, dead=["bad"])


def test_a_loss_behind_an_audit_is_not_taken_for_healed(harness: Harness) -> None:
    harness.subscribe(SHOWN)
    leave_enqueued(harness)
    lose_everything(harness)
    slow, other = harness.new_server(), harness.new_server()

    with Held(slow.look, slow.auditor._healer, "remember_redis"):
        harness.lose_redis()
        other.crash_at(other.stores.imports, "find_importing", other.look)
    harness.replace_roles()
    harness.server.look()

    # At once, not after a minute of standing still.
    assert harness.item_queues[0].counts()[JobState.WAITING] == len(SHOWN)
