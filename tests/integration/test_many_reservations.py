"""Many feeds claimed at once, and what others see of it."""

import threading
from datetime import timedelta
from functools import partial

import pytest

from server.importing.healer import JOB_PATIENCE
from shared.errors import StoreUnavailable
from shared.queue import JobState
from shared.store import ImportState, Stores, Trigger
from tests.harness import Harness
from tests.roles import Held

# More than are reserved by one call, which is a hundred.
FEEDS = 120


def add_feeds(harness: Harness, count: int) -> list[str]:
    sources = [f"feed-{number:03}" for number in range(count)]
    for number, source in enumerate(sources):
        url = f"https://h{number % 7}.example/{source}.json"
        harness.server.services.feeds.add([url], source=source)
    return sources


def jobs_of(harness: Harness) -> int:
    return harness.fetch_queue.counts()[JobState.WAITING]


def test_all_feeds_are_started_in_their_order_and_none_twice(harness: Harness) -> None:
    sources = add_feeds(harness, FEEDS)
    held = harness.server.start(sources[110])
    started = harness.server.services.starter.start_all(force=True)
    assert [each.source for each in started] == sources
    assert started[110].import_id == held.import_id
    again = harness.new_server().services.starter.start_all()
    assert [each.import_id for each in again] == [each.import_id for each in started]
    stored = {found.import_id: found for found in harness.stores.imports.find_open()}
    assert stored.keys() == {each.import_id for each in started}
    assert [each for each in stored.values() if not each.force] == [held]
    named = {feed.source: feed.running_import for feed in harness.stores.feeds.find_running()}
    assert named == {each.source: each.import_id for each in started}
    assert jobs_of(harness) == FEEDS


def test_feeds_that_two_servers_start_at_once_get_one_import_each(harness: Harness) -> None:
    sources = add_feeds(harness, 20)
    first, second = harness.server, harness.new_server()
    with Held(first.services.starter.start_all, first.stores.feeds, "reserve_many"):
        started = second.services.starter.start_all()
    assert [each.source for each in started] == sources
    assert len(harness.stores.imports.find_open()) == len(sources) == jobs_of(harness)


def test_feeds_that_were_claimed_and_not_inserted_yet_are_inserted_by_whoever_meets_them(
    harness: Harness,
) -> None:
    sources = add_feeds(harness, 20)
    first, second = harness.server, harness.new_server()
    with Held(first.services.starter.start_all, first.stores.feeds, "reserve_many", after=True):
        started = second.services.starter.start_all()
    assert [each.source for each in started] == sources
    assert len(harness.stores.imports.find_open()) == len(sources) == jobs_of(harness)


def test_a_feed_that_was_deleted_meanwhile_is_left_out(harness: Harness) -> None:
    sources = add_feeds(harness, 20)
    starter, feeds = harness.server.services.starter, harness.server.stores.feeds
    with Held(starter.start_all, feeds, "reserve_many"):
        harness.server.services.feeds.remove(sources[3])
    named = {found.source for found in harness.stores.imports.find_open()}
    assert named == set(sources) - {sources[3]}


def test_an_import_that_is_withdrawn_meanwhile_is_not_inserted_again(harness: Harness) -> None:
    [source] = add_feeds(harness, 1)
    feeds, imports = harness.server.stores.feeds, harness.server.stores.imports
    [feed] = feeds.find_enabled()
    withdrawn, _ = harness.server.reservations.reserve(feed, Trigger.SCHEDULE)
    starter = harness.server.services.starter
    with Held(partial(starter.start_all, force=True), feeds, "reserve_many"):
        feeds.withdraw(source, withdrawn.import_id, harness.clock.now(), "paused")
        imports.withdraw(withdrawn.import_id)
    [started] = imports.find_open()
    assert (started.trigger, started.force) == (Trigger.API, True)
    assert feeds.read_running_import(source) == started.import_id != withdrawn.import_id
    harness.come_to_rest()
    ended = imports.get(started.import_id)
    assert ended is not None
    assert ended.state is ImportState.COMPLETED


def test_what_was_claimed_before_the_store_went_away_is_fetched(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_feeds(harness, FEEDS)
    feeds = harness.server.stores.feeds
    reserve_many, calls = feeds.reserve_many, iter(range(9))

    def claim_once(*args: object, **options: object) -> object:
        if next(calls):
            raise StoreUnavailable("gone")
        return reserve_many(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(feeds, "reserve_many", claim_once)
    with pytest.raises(StoreUnavailable):
        harness.server.services.starter.start_all()
    assert 0 < jobs_of(harness) == len(harness.stores.imports.find_open()) < FEEDS


def test_the_healer_leaves_time_to_add_the_jobs_of_what_was_just_claimed(harness: Harness) -> None:
    [source] = add_feeds(harness, 1)
    queue = harness.server.services.fetch_queue
    harness.server.start(source)
    queue.remove_many([f"feed#{source}"])
    harness.server.heal()
    assert jobs_of(harness) == 0
    harness.clock.advance(seconds=JOB_PATIENCE / timedelta(seconds=1))
    harness.server.heal()
    assert jobs_of(harness) == 1


def test_revisions_drawn_by_many_at_once_are_never_given_twice(stores: Stores) -> None:
    drawn: list[int] = []

    def draw() -> None:
        for _ in range(10):
            drawn.extend(stores.sources.draw_revisions("news", 2))

    threads = [threading.Thread(target=draw) for _ in range(6)]
    for thread in threads:
        thread.start()
    stores.sources.add_colliding_guids("news", ["1"])
    for thread in threads:
        thread.join()
    assert sorted(drawn) == list(range(1, 121))
    assert stores.sources.read_known_guids("news").colliding == {"1"}


def test_a_source_that_is_known_by_its_colliding_guids_begins_with_revision_one(
    stores: Stores,
) -> None:
    stores.sources.add_colliding_guids("news", ["1"])
    assert stores.sources.draw_revision("news") == 1
    assert stores.sources.draw_revision("news") == 2
