"""Feeds with a window: each interval is imported once, whatever crashes in between."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from server.feeds.windows import FeedWindow
from shared.error_kinds import ErrorKind
from shared.errors import InvalidRequestError, NotFoundError
from shared.queue import JobState
from shared.store import Feed, Import, ImportState
from shared.store.intervals import IndexerState
from tests.fake_publisher import render
from tests.harness import SOURCE, Harness
from tests.roles import Held

URL = "https://news.example/items?from={start}&to={ended}"
STEP_S = 3600


def add_window(
    harness: Harness, hours: int = 4, url: str = URL, source: str = SOURCE, **window: Any
) -> Feed:
    """Add a feed whose window began so many hours ago."""
    now = harness.clock.now()
    feed = Feed(
        source=source,
        urls=[url],
        created_at=now,
        window={"from": now - timedelta(hours=hours), "step_s": STEP_S, **window},
    )
    harness.stores.feeds.insert(feed)
    harness.server.services.windows.begin(feed)
    return feed


def show(harness: Harness, hours: int = 4, items: int = 2) -> None:
    """Let the publisher list items of each of the last hours, and of the one that runs."""
    for number in range(-hours, 1):
        show_hour(harness, number, {f"g{number}-{each}": f"t{number}" for each in range(items)})


def show_hour(harness: Harness, number: int, titles: dict[str, str]) -> None:
    """Let the publisher list these items for the hour that began so many hours from now."""
    started = harness.clock.now() + timedelta(hours=number)
    ended = started + timedelta(hours=1)
    url = URL.replace("{start}", show_time(started)).replace("{ended}", show_time(ended))
    harness.publisher._shown[url] = render(titles)


def show_time(moment: Any) -> str:
    return str(moment.isoformat()).replace("+00:00", "Z")


def fetch_all(harness: Harness) -> None:
    while harness.server.fetch():
        pass


def pull_all(harness: Harness, rounds: int = 12) -> None:
    """Let everybody work until nothing is open any more."""
    for _ in range(rounds):
        harness.server.dispatch()
        fetch_all(harness)
        harness.work()
        harness.server.look()
        harness.clock.advance(seconds=1)
        if not harness.stores.imports.find_open():
            harness.server.dispatch()
        if not harness.stores.imports.find_open():
            return


def state_of(harness: Harness, name: str = SOURCE) -> IndexerState:
    found = harness.stores.intervals.get(name)
    assert found is not None
    return found


def pulls_of(harness: Harness) -> list[Import]:
    """Return all imports of intervals, the earliest first."""
    page = harness.stores.imports.find_page(source=SOURCE, limit=100)
    pulls = [each for each in page.items if each.interval is not None]
    return sorted(pulls, key=lambda each: (each.interval or {})["start"])


def test_each_interval_of_a_window_is_imported_once(harness: Harness) -> None:
    feed = add_window(harness)
    show(harness)

    pull_all(harness)

    pulls = pulls_of(harness)
    assert feed.window is not None
    begun = feed.window["from"]
    assert [each.interval for each in pulls] == [
        {"start": begun + timedelta(hours=n), "ended": begun + timedelta(hours=n + 1)}
        for n in range(4)
    ]
    assert {each.state for each in pulls} == {ImportState.COMPLETED}
    assert [each.counts["new"] for each in pulls] == [2] * 4
    assert harness.stores.items.count(SOURCE, 100) == 8
    state = state_of(harness)
    assert (state.open, state.cursor) == ((), begun + timedelta(hours=4))


@pytest.mark.parametrize(
    ("store", "method"), [("intervals", "swap"), ("imports", "insert_many"), (None, "add_many")]
)
def test_a_crash_behind_any_write_costs_no_interval_and_doubles_none(
    harness: Harness, store: str | None, method: str
) -> None:
    add_window(harness)
    show(harness)
    server = harness.server
    written = getattr(server.stores, store) if store else server.process.base.queues.fetches
    server.crash_at(written, method, server.dispatch, after=True)
    harness.replace_roles()
    harness.clock.advance(seconds=15)

    pull_all(harness)

    assert [each.counts["new"] for each in pulls_of(harness)] == [2] * 4


def test_two_dispatchers_at_the_same_moment_take_an_interval_once(harness: Harness) -> None:
    add_window(harness, hours=1)
    show(harness, hours=1)
    slow, fast = harness.server, harness.new_server()

    with Held(slow.dispatch, slow.stores.intervals, "swap"):
        fast.dispatch()

    pull_all(harness)
    assert [each.counts["new"] for each in pulls_of(harness)] == [2]


def test_lost_jobs_are_added_again(harness: Harness) -> None:
    add_window(harness, hours=1)
    show(harness, hours=1)
    harness.server.dispatch()
    harness.lose_redis()
    harness.clock.advance(seconds=11)

    pull_all(harness)

    assert [each.state for each in pulls_of(harness)] == [ImportState.COMPLETED]


def test_no_more_intervals_are_fetched_at_a_time_than_may_be(harness: Harness) -> None:
    add_window(harness, hours=5, in_flight=2)
    show(harness, hours=5)

    harness.server.dispatch()
    harness.server.dispatch()

    assert len(state_of(harness).open) == len(pulls_of(harness)) == 2
    pull_all(harness)
    assert [each.counts["new"] for each in pulls_of(harness)] == [2] * 5


def test_what_fails_is_tried_again_after_growing_pauses_and_for_ever(harness: Harness) -> None:
    add_window(harness, hours=1)
    show(harness, hours=1)
    harness.publisher.break_down()

    for minutes in (1, 2, 4):
        fail_one(harness)
        assert retry_at(harness) == harness.clock.now() + timedelta(minutes=minutes)
        harness.clock.advance(minutes=minutes)

    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert (feed.consecutive_failures, feed.error) == (3, "http_status: server answered 500")
    harness.publisher.recover()
    pull_all(harness)
    assert [each.state for each in pulls_of(harness)].count(ImportState.COMPLETED) == 1
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert (feed.consecutive_failures, feed.error) == (0, None)


def fail_one(harness: Harness) -> None:
    """Let the interval in flight fail for good, all attempts of its job."""
    harness.server.dispatch()
    for _ in range(3):
        fetch_all(harness)
        harness.clock.advance(seconds=5)
        harness.reclaim()
    harness.server.dispatch()


def retry_at(harness: Harness) -> Any:
    [one] = state_of(harness).open
    return one.retry_at


def test_a_host_that_asks_for_rest_is_left_alone(harness: Harness) -> None:
    add_window(harness, in_flight=3)
    harness.publisher.ask_for_rest(600)
    harness.server.dispatch()
    fetch_all(harness)
    asked = harness.publisher.requests

    for _ in range(5):
        harness.clock.advance(seconds=61)
        harness.server.dispatch()
        fetch_all(harness)

    assert harness.publisher.requests == asked
    harness.publisher.ask_for_rest(None)
    show(harness)
    harness.clock.advance(seconds=400)
    pull_all(harness)
    assert harness.publisher.requests > asked


def test_a_disabled_window_takes_nothing_new_and_what_is_under_way_ends(harness: Harness) -> None:
    add_window(harness)
    show(harness)
    harness.server.dispatch()
    harness.stores.feeds.update(SOURCE, {"enabled": False})

    pull_all(harness)

    assert [each.state for each in pulls_of(harness)] == [ImportState.COMPLETED]
    harness.stores.feeds.update(SOURCE, {"enabled": True})
    harness.server.services.windows.wake(SOURCE)
    pull_all(harness)
    assert len(pulls_of(harness)) == 4


def test_a_disabled_window_is_pulled_when_it_is_asked_for(harness: Harness) -> None:
    add_window(harness)
    harness.stores.feeds.update(SOURCE, {"enabled": False})

    [started] = harness.server.dispatcher.pull(SOURCE)

    assert [each.import_id for each in pulls_of(harness)] == [started.import_id]
    assert [each.import_id for each in harness.server.dispatcher.pull(SOURCE)] == [
        started.import_id
    ]


def test_only_a_feed_with_a_window_can_be_pulled(harness: Harness) -> None:
    with pytest.raises(NotFoundError):
        harness.server.dispatcher.pull(SOURCE)
    harness.subscribe({"g1": "t1"})
    with pytest.raises(InvalidRequestError):
        harness.server.dispatcher.pull(SOURCE)


def test_a_deleted_feed_fails_what_is_under_way_and_takes_nothing(harness: Harness) -> None:
    add_window(harness)
    harness.server.dispatch()
    harness.stores.feeds.delete(SOURCE)
    harness.server.services.windows.end(SOURCE)

    pull_all(harness)

    [failed] = pulls_of(harness)
    assert (failed.state, failed.error_kind) == (ImportState.FAILED, ErrorKind.FEED_DELETED)
    state = state_of(harness)
    assert (state.is_active, state.open, state.due_at) == (False, (), None)


def test_a_window_ends_also_if_a_crash_hid_that_its_feed_was_deleted(harness: Harness) -> None:
    add_window(harness)
    harness.server.dispatch()
    harness.stores.feeds.delete(SOURCE)

    fetch_all(harness)
    harness.server.dispatch()

    assert not state_of(harness).is_active
    assert [each.error_kind for each in pulls_of(harness)] == [ErrorKind.FEED_DELETED]


def test_a_feed_that_cannot_be_read_does_not_end_its_window(harness: Harness) -> None:
    add_window(harness)
    feeds = harness.database.collection("feeds")
    feeds.update_one({"_id": SOURCE}, {"$set": {"interval_s": "often"}})
    harness.server.dispatch()
    assert state_of(harness).is_active

    feeds.update_one({"_id": SOURCE}, {"$set": {"interval_s": None}})
    harness.clock.advance(minutes=2)
    harness.server.dispatch()
    assert len(pulls_of(harness)) == 1


def test_a_window_that_is_none_is_shown_at_its_feed(harness: Harness) -> None:
    add_window(harness)
    harness.stores.feeds.update(SOURCE, {"window": {"from": "today"}})

    harness.server.dispatch()

    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert feed.error == "unreadable_feed: the window has no step_s"


def test_a_window_that_a_crash_kept_from_beginning_begins_with_the_next_server(
    harness: Harness,
) -> None:
    feed = add_window(harness)
    harness.database.collection("intervals").delete_many({})

    harness.new_server().dispatch()

    assert state_of(harness).epoch == 1
    assert feed.window is not None
    assert pulls_of(harness)[0].interval is not None


def test_an_interval_of_an_older_epoch_is_neither_fetched_nor_tried_again(
    harness: Harness,
) -> None:
    add_window(harness)
    harness.server.dispatch()
    raise_epoch(harness)
    asked = harness.publisher.requests

    fetch_all(harness)

    [failed] = pulls_of(harness)
    assert (failed.state, failed.error_kind) == (ImportState.FAILED, ErrorKind.STALE_EPOCH)
    assert failed.error == "stale_epoch: epoch 1 of 'news' was rolled back: it is at epoch 2"
    assert harness.publisher.requests == asked
    [job] = harness.fetch_queue.get_jobs([f"feed#{SOURCE}#1#{start_ms(failed)}"])
    assert job is not None
    assert job.state is JobState.COMPLETED


def test_what_was_fetched_before_its_epoch_ended_is_not_committed(harness: Harness) -> None:
    add_window(harness)
    show(harness)
    harness.server.dispatch()

    with Held(harness.server.fetch, harness.publisher, "fetch", after=True):
        raise_epoch(harness)

    [failed] = pulls_of(harness)
    assert (failed.state, failed.error_kind) == (ImportState.FAILED, ErrorKind.STALE_EPOCH)
    assert harness.stores.items.count(SOURCE, 10) == 0


def test_a_stale_import_without_a_job_is_failed_within_a_minute(harness: Harness) -> None:
    add_window(harness)
    harness.server.dispatch()
    raise_epoch(harness)
    harness.lose_redis()
    harness.clock.advance(seconds=61)

    harness.server.dispatch()

    [stale] = [each for each in pulls_of(harness) if each.epoch == 1]
    assert stale.error_kind == ErrorKind.STALE_EPOCH


def raise_epoch(harness: Harness) -> None:
    """Begin the next epoch of a window, as a rollback does first of all."""
    seen = state_of(harness)
    assert harness.stores.intervals.swap(seen, replace(seen, epoch=seen.epoch + 1, open=()))


def start_ms(importing: Import) -> int:
    assert importing.interval is not None
    return int(importing.interval["start"].timestamp() * 1000)


def test_the_import_of_an_interval_leaves_its_feed_free_and_unscheduled(harness: Harness) -> None:
    add_window(harness, hours=1)
    show(harness, hours=1)

    pull_all(harness)

    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert (feed.running_import, feed.next_fetch_at) == (None, None)
    assert feed.last_import == pulls_of(harness)[0].import_id
    assert feed.next_fetch_reason.startswith("its window: next from ")


def test_a_back_fill_by_page_reads_the_feeds_own_page_whole_and_as_a_heavy_one(
    harness: Harness,
) -> None:
    harness.subscribe({"g1": "t1", "g2": "t2"})
    harness.poll()
    harness.work()
    harness.server.services.backfills.start(SOURCE, harness.clock.now() - timedelta(days=1))

    pull_all(harness)
    harness.server.dispatch()

    [pulled] = pulls_of(harness)
    assert (pulled.fetches[0]["not_modified"], pulled.counts["fetched"]) == (False, 2)
    assert pulled.is_heavy_feed
    ended = state_of(harness, f"{SOURCE}#backfill").backfill
    assert ended is not None
    assert (ended.outcome, ended.done, ended.items, ended.new) == ("done", 1, 2, 0)


def test_a_feed_that_is_deleted_and_added_again_is_read_from_its_new_start(
    harness: Harness,
) -> None:
    add_window(harness, hours=3)
    show(harness, hours=3)
    pull_all(harness)
    harness.stores.feeds.delete(SOURCE)
    harness.server.services.windows.end(SOURCE)

    add_window(harness, hours=2)
    show(harness, hours=2)
    pull_all(harness)

    state = state_of(harness)
    assert (state.epoch, state.settled_epoch, state.is_active) == (2, 2, True)
    again = [each for each in pulls_of(harness) if each.epoch == 2]
    assert [each.counts["unchanged"] for each in again] == [2, 2]


def test_what_was_under_way_when_a_feed_was_deleted_does_not_come_with_its_next_life(
    harness: Harness,
) -> None:
    add_window(harness, hours=1)
    show(harness, hours=1)
    harness.server.dispatch()
    with Held(harness.server.fetch, harness.publisher, "fetch", after=True):
        harness.stores.feeds.delete(SOURCE)
        harness.server.services.windows.end(SOURCE)
        add_window(harness, hours=1)

    pull_all(harness)

    assert {each.epoch: each.state for each in pulls_of(harness)} == {
        1: ImportState.FAILED,
        2: ImportState.COMPLETED,
    }


def test_a_windows_start_can_be_moved_until_something_is_taken(harness: Harness) -> None:
    feed = add_window(harness, hours=3)
    windows, later = harness.server.services.windows, harness.clock.now() - timedelta(hours=1)
    moved = FeedWindow(later, STEP_S)

    windows.change_start(feed, moved)
    assert state_of(harness).cursor == later

    feed = replace(feed, window=moved.to_document())
    harness.stores.feeds.update(SOURCE, {"window": feed.window})
    harness.server.dispatch()
    with pytest.raises(InvalidRequestError, match="has begun"):
        windows.change_start(feed, replace(moved, starts_at=later - timedelta(hours=5)))


def test_a_back_fill_reads_what_is_older_than_the_window_beside_it(harness: Harness) -> None:
    add_window(harness, hours=1)
    show(harness, hours=5)

    began = harness.server.services.backfills.start(
        SOURCE, harness.clock.now() - timedelta(hours=5)
    )
    pull_all(harness, rounds=20)

    assert began.total == 4
    view = harness.server.services.backfills.get(SOURCE)
    assert (view.state, view.done, view.fetched, view.new) == ("completed", 4, 8, 8)
    assert [each.counts["new"] for each in pulls_of(harness)] == [2] * 5
    assert sum(each.is_heavy_feed for each in pulls_of(harness)) == 4


def test_a_back_fill_begins_again_after_it_was_cancelled(harness: Harness) -> None:
    add_window(harness, hours=1)
    show(harness, hours=5)
    fills, begins_at = harness.server.services.backfills, harness.clock.now() - timedelta(hours=5)
    fills.start(SOURCE, begins_at)
    harness.server.dispatch()
    fetch_all(harness)
    assert fills.cancel(SOURCE).state == "cancelled"

    fills.start(SOURCE, begins_at)
    pull_all(harness, rounds=20)

    view = fills.get(SOURCE)
    assert (view.state, view.done, view.fetched) == ("completed", 4, 8)
    assert harness.stores.items.count(SOURCE, 100) == 10
    assert {each.state for each in pulls_of(harness)} == {ImportState.COMPLETED}


def test_a_back_fill_by_page_fills_gaps_and_reverts_nothing(harness: Harness) -> None:
    harness.subscribe({"g1": "old"})
    harness.poll()
    harness.poll({"g1": "new"})
    harness.work()
    harness.server.look()
    harness.publisher.show(SOURCE, {"g1": "old", "g9": "gap"})

    harness.server.services.backfills.start(SOURCE, harness.clock.now() - timedelta(days=1))
    pull_all(harness)

    [pulled] = pulls_of(harness)
    assert (pulled.counts["superseded"], pulled.counts["new"]) == (1, 1)
    stored = harness.stores.items
    titles = [(stored.get(f"{SOURCE}#{guid}") or {}).get("title") for guid in ("g1", "g9")]
    assert titles == ["new", "gap"]
