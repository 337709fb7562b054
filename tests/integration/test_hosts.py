"""Politeness towards hosts: Retry-After for all feeds of a host, and a fair choice among hosts."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from server.feeds import scheduler
from server.feeds.retry_after import RetryAfter
from server.feeds.scheduler import DEFERRAL_GAP
from server.importing.healer import SWEEP_EVERY
from shared.errors import NotFoundError, Postponed
from shared.queue import JobState
from shared.store import Import, ImportState
from tests.fake_publisher import feed_url
from tests.harness import Harness

HOST = "big.example"


def add_feeds(harness: Harness, host: str, count: int) -> list[str]:
    """Add scheduled feeds of one host, due now; returns their sources."""
    sources = [f"{host}-{number}" for number in range(count)]
    for source in sources:
        url = f"https://{host}/{source}.json"
        harness.server.services.feeds.add([url], source=source, interval_s=3600)
    return sources


def fetch_all(harness: Harness) -> None:
    while harness.server.fetch():
        pass


def running_of(harness: Harness, host: str) -> int:
    return harness.stores.feeds.count_running_by_host().get(host, 0)


def due_at(harness: Harness, sources: Iterable[str]) -> list[datetime | None]:
    feeds = harness.stores.feeds.read_many(sources)
    return sorted(feed.next_fetch_at for feed in feeds.values() if feed.next_fetch_at is not None)


def import_of(harness: Harness, source: str) -> Import:
    feed = harness.stores.feeds.get(source)
    assert feed is not None
    assert feed.last_import is not None
    found = harness.stores.imports.get(feed.last_import)
    assert found is not None
    return found


def test_while_a_host_wants_to_rest_nothing_is_sent_for_any_of_its_feeds(harness: Harness) -> None:
    first, second = add_feeds(harness, HOST, 2)
    harness.publisher.ask_for_rest(600)
    harness.server.start(first)
    fetch_all(harness)
    assert harness.stores.hosts.blocked_until(
        HOST, harness.clock.now()
    ) == harness.clock.now() + timedelta(seconds=600)
    harness.publisher.ask_for_rest(None)
    # Another server, after a restart: the wish is on record.
    harness.replace_roles()
    asked = harness.publisher.requests
    harness.server.start(second)
    fetch_all(harness)
    assert harness.publisher.requests == asked
    failed = import_of(harness, second)
    assert failed.state is ImportState.FAILED
    assert failed.error == (f"rate_limited: rate-limited by {HOST} until 2026-11-01T12:10:00.000Z")


def test_feeds_that_were_queued_when_their_host_asked_for_rest_are_postponed(
    harness: Harness,
) -> None:
    sources = add_feeds(harness, HOST, 2)
    harness.server.scheduler.tick()
    assert running_of(harness, HOST) == 2
    harness.publisher.ask_for_rest(7200)
    fetch_all(harness)
    assert harness.publisher.requests == 1
    until = harness.clock.now() + timedelta(hours=2)
    feeds = harness.stores.feeds.read_many(sources)
    [asked] = [feed for feed in feeds.values() if feed.last_import is not None]
    [held] = [feed for feed in feeds.values() if feed.last_import is None]
    assert (held.next_fetch_at, held.running_import, held.error) == (until, None, None)
    assert held.next_fetch_reason == (f"rate-limited by {HOST} until 2026-11-01T14:00:00.000Z")
    imports = harness.stores.imports.find_page(limit=10).items
    assert [each.source for each in imports] == [asked.source]
    harness.publisher.ask_for_rest(None)
    harness.clock.advance(hours=3)
    harness.server.scheduler.tick()
    fetch_all(harness)
    harness.come_to_rest()
    assert import_of(harness, held.source).state is ImportState.COMPLETED


def test_a_crash_while_an_import_is_withdrawn_leaves_nothing_behind(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    [source] = add_feeds(harness, HOST, 1)
    harness.server.scheduler.tick()
    harness.stores.hosts.block(HOST, harness.clock.now() + timedelta(hours=2))
    with monkeypatch.context() as patch:
        patch.setattr(type(harness.stores.imports), "withdraw", lambda *_: False)
        fetch_all(harness)
    [left] = harness.stores.imports.find_open()
    harness.server.reservations.add_fetch_jobs([left])
    fetch_all(harness)
    assert harness.stores.imports.find_open() == []
    feed = harness.stores.feeds.get(source)
    assert feed is not None
    assert feed.next_fetch_at == harness.clock.now() + timedelta(hours=2)


@pytest.mark.parametrize("is_lifted", [False, True])
def test_an_import_whose_withdrawal_was_cut_off_is_withdrawn_by_whoever_comes_next(
    harness: Harness, is_lifted: bool
) -> None:
    [source] = add_feeds(harness, HOST, 1)
    harness.server.scheduler.tick()
    harness.stores.hosts.block(HOST, harness.clock.now() + timedelta(hours=2))
    harness.server.crash_at(harness.server.stores.imports, "withdraw", harness.server.fetch)
    harness.replace_roles()
    [left] = harness.stores.imports.find_open()
    if is_lifted:
        RetryAfter(harness.stores, harness.clock).lift(HOST)
        harness.lose_locks()
        fetch_all(harness)
    else:
        harness.server.heal()
    assert harness.stores.imports.get(left.import_id) is None
    feed = harness.stores.feeds.get(source)
    assert feed is not None
    assert (feed.running_import, feed.error, feed.consecutive_failures) == (None, None, 0)
    assert harness.publisher.requests == 0
    harness.lose_locks()
    harness.come_to_rest()


def test_an_import_that_a_deletion_left_behind_fails(harness: Harness) -> None:
    [source] = add_feeds(harness, HOST, 1)
    harness.server.scheduler.tick()
    [left] = harness.stores.imports.find_open()
    harness.database.collection("feeds").delete_one({"_id": source})
    harness.server.heal()
    failed = harness.stores.imports.get(left.import_id)
    assert failed is not None
    assert (failed.state, failed.error) == (ImportState.FAILED, "feed_deleted: feed deleted")


def test_an_operator_lifts_a_hosts_wish(harness: Harness) -> None:
    asked, waiting, by_hand = add_feeds(harness, HOST, 3)
    harness.server.services.feeds.change(by_hand, {"interval_s": None})
    other, *_ = add_feeds(harness, "other.example", 1)
    harness.server.scheduler.tick()
    harness.publisher.ask_for_rest(7200)
    fetch_all(harness)
    harness.server.scheduler.tick()
    retry_after = RetryAfter(harness.stores, harness.clock)
    until = harness.clock.now() + timedelta(hours=2)
    assert {each.host: (each.until, each.feeds) for each in retry_after.list_pauses()} == {
        HOST: (until, 3), "other.example": (until, 1),
    }  # fmt: skip
    assert retry_after.lift(HOST) == 2
    assert [each.host for each in retry_after.list_pauses()] == ["other.example"]
    assert due_at(harness, [asked, waiting]) == [harness.clock.now()] * 2
    assert due_at(harness, [by_hand]) == []
    assert due_at(harness, [other]) == [until]
    harness.publisher.ask_for_rest(None)
    harness.server.scheduler.tick()
    fetch_all(harness)
    assert import_of(harness, asked).error is None
    with pytest.raises(NotFoundError):
        retry_after.lift(HOST)


def test_a_host_is_asked_again_when_its_time_has_come(harness: Harness) -> None:
    [source] = add_feeds(harness, HOST, 1)
    harness.publisher.ask_for_rest(600)
    harness.server.start(source)
    fetch_all(harness)
    harness.publisher.ask_for_rest(None)
    harness.clock.advance(seconds=600)
    harness.server.start(source)
    fetch_all(harness)
    assert import_of(harness, source).state is ImportState.COMPLETED


def test_a_host_that_wants_to_rest_holds_up_no_other(harness: Harness) -> None:
    add_feeds(harness, HOST, 1)
    harness.stores.hosts.block(HOST, harness.clock.now() + timedelta(hours=1))
    [other] = add_feeds(harness, "small.example", 1)
    harness.server.start(other)
    fetch_all(harness)
    assert import_of(harness, other).state is ImportState.COMPLETED


def test_a_wish_to_rest_is_only_ever_prolonged(harness: Harness) -> None:
    now = harness.clock.now()
    for seconds in (600, 60, 300):
        harness.stores.hosts.block(HOST, now + timedelta(seconds=seconds))
    assert harness.stores.hosts.read_blocked([HOST, "other"], now) == {
        HOST: now + timedelta(seconds=600)
    }


def test_wishes_that_have_run_out_are_swept(harness: Harness) -> None:
    now = harness.clock.now()
    harness.stores.hosts.block(HOST, now + SWEEP_EVERY / 2)
    harness.stores.hosts.block("other", now + 2 * SWEEP_EVERY)
    harness.server.heal()
    harness.clock.advance(seconds=SWEEP_EVERY.total_seconds())
    harness.server.heal()
    assert [found["_id"] for found in harness.database.collection("hosts").find()] == ["other"]


def test_due_feeds_of_a_host_that_wants_to_rest_are_spread_behind_its_time(
    harness: Harness,
) -> None:
    sources = add_feeds(harness, HOST, 5)
    [other] = add_feeds(harness, "small.example", 1)
    until = harness.clock.now() + timedelta(minutes=10)
    harness.stores.hosts.block(HOST, until)
    assert harness.server.scheduler.tick() == 1
    assert due_at(harness, sources) == [until + number * DEFERRAL_GAP for number in range(5)]
    feed = harness.stores.feeds.get(sources[0])
    assert feed is not None
    assert feed.next_fetch_reason == (f"rate-limited by {HOST} until 2026-11-01T12:10:00.000Z")
    assert (feed.consecutive_failures, feed.error, feed.last_import) == (0, None, None)
    held = harness.stores.feeds.get(other)
    assert held is not None
    assert held.running_import is not None


def test_a_feed_that_changed_since_it_was_seen_due_is_not_moved(harness: Harness) -> None:
    [source] = add_feeds(harness, HOST, 1)
    harness.stores.hosts.block(HOST, harness.clock.now() + timedelta(minutes=10))
    feeds = harness.server.stores.feeds
    defer_many = feeds.defer_many
    moved_to = harness.clock.now() + timedelta(seconds=5)

    def change_first(*args: object) -> int:
        harness.stores.feeds.update(source, {"next_fetch_at": moved_to})
        return defer_many(*args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeds, "defer_many", change_first)
        assert harness.server.scheduler.tick() == 0
    assert due_at(harness, [source]) == [moved_to]


def test_no_more_feeds_of_a_host_run_by_schedule_than_allowed(harness: Harness) -> None:
    sources = add_feeds(harness, HOST, 5)
    assert harness.server.scheduler.tick() == 2
    assert harness.server.scheduler.tick() == 0
    assert running_of(harness, HOST) == 2
    fetch_all(harness)
    assert harness.server.scheduler.tick() == 2
    fetch_all(harness)
    assert harness.server.scheduler.tick() == 1
    fetch_all(harness)
    assert {import_of(harness, source).state for source in sources} == {ImportState.COMPLETED}
    assert harness.publisher.requests == 5


def test_many_due_feeds_of_one_host_keep_no_other_waiting(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "MAX_FEEDS_A_TICK", 5)
    add_feeds(harness, HOST, 12)
    harness.clock.advance(seconds=1)
    add_feeds(harness, "second.example", 12)
    harness.clock.advance(seconds=1)
    add_feeds(harness, "third.example", 1)
    assert harness.server.scheduler.tick() == 5
    assert harness.stores.feeds.count_running_by_host() == {
        HOST: 2,
        "second.example": 2,
        "third.example": 1,
    }


def test_many_feeds_of_a_host_that_wants_to_rest_keep_no_other_waiting(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "MAX_FEEDS_A_TICK", 5)
    sources = add_feeds(harness, HOST, 12)
    harness.clock.advance(seconds=1)
    add_feeds(harness, "small.example", 1)
    harness.stores.hosts.block(HOST, harness.clock.now() + timedelta(minutes=10))
    assert harness.server.scheduler.tick() == 1
    assert running_of(harness, "small.example") == 1
    for _ in range(2):
        harness.server.scheduler.tick()
    assert min(moment for moment in due_at(harness, sources) if moment) > harness.clock.now()


def test_when_the_rounds_of_a_tick_are_not_enough_the_next_goes_on_behind(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "MAX_FEEDS_A_TICK", 3)
    monkeypatch.setattr(scheduler, "MAX_ROUNDS", 1)
    for number in range(3):
        add_feeds(harness, f"h{number}.example", 5)
        harness.clock.advance(seconds=1)
    for _ in range(3):
        harness.server.scheduler.tick()
        # Fetched at once: without that, the first host would be chosen again and again.
        fetch_all(harness)
    asked = [feed_host for feed_host in ("h0.example", "h1.example", "h2.example") if any(
        feed.last_import for feed in harness.stores.feeds.find_enabled() if feed.host == feed_host
    )]  # fmt: skip
    assert asked == ["h0.example", "h1.example", "h2.example"]


def test_a_feed_is_counted_for_the_host_of_its_first_url(harness: Harness) -> None:
    [source] = add_feeds(harness, HOST, 1)
    feeds = harness.server.services.feeds
    feeds.get_or_add_without_url("by-hand")
    stored = harness.database.collection("feeds")
    hosts = {found["_id"]: found["host"] for found in stored.find()}
    assert hosts == {source: HOST, "by-hand": None}
    feeds.change(source, {"urls": ["https://moved.example/a", "https://big.example/b"]})
    assert stored.find_one({"_id": source}, {"host": 1}) == {"_id": source, "host": "moved.example"}


def test_an_import_whose_host_is_asked_enough_is_put_off_untouched(harness: Harness) -> None:
    harness.subscribe({"1": "One"})
    started = harness.server.start("news")
    importer = harness.server.process.importer
    slots = importer._host_slots
    with slots.hold(["news.example"]), slots.hold(["news.example"]):
        assert harness.server.fetch()
        with pytest.raises(Postponed):
            importer.import_feed(started.import_id)
    assert harness.stores.imports.get(started.import_id) == started
    assert harness.stores.sources.draw_revision("news") == 1
    assert harness.publisher.requests == 0
    assert harness.fetch_queue.counts()[JobState.DELAYED] == 1
    view = harness.fetch_queue.get_job("feed#news")
    assert view is not None
    assert (view.attempts_made, feed_url("news")) == (0, started.urls[0])
    harness.come_to_rest()
    ended = harness.stores.imports.get(started.import_id)
    assert ended is not None
    assert (ended.state, harness.publisher.requests) == (ImportState.COMPLETED, 1)


def test_the_tick_comes_again_when_the_next_feed_is_due(harness: Harness) -> None:
    ticker = harness.server.scheduler
    assert ticker.step() == scheduler.IDLE_TICK_S
    [source] = add_feeds(harness, HOST, 1)
    for ahead_s, rest_s in ((3, 3.0), (0.2, scheduler.TICK_S), (60, scheduler.IDLE_TICK_S)):
        due_at = harness.clock.now() + timedelta(seconds=ahead_s)
        harness.stores.feeds.update(source, {"next_fetch_at": due_at})
        assert ticker.step() == rest_s
    assert running_of(harness, HOST) == 0
    harness.clock.advance(seconds=60)
    assert ticker.step() == scheduler.TICK_S
    assert running_of(harness, HOST) == 1


def test_a_change_or_the_end_of_a_fetch_lets_the_tick_look_again(harness: Harness) -> None:
    changed = harness.server.process.base.changes
    [source] = add_feeds(harness, HOST, 1)
    assert changed.is_set()
    changed.clear()
    harness.server.services.feeds.change(source, {"interval_s": 60})
    assert changed.is_set()
    changed.clear()
    harness.server.scheduler.tick()
    assert not changed.is_set()
    fetch_all(harness)
    assert changed.is_set()
