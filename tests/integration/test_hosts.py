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
from tests.mill import Mill
from tests.press import feed_url

HOST = "big.example"


def add_feeds(mill: Mill, host: str, count: int) -> list[str]:
    """Add scheduled feeds of one host, due now; returns their sources."""
    sources = [f"{host}-{number}" for number in range(count)]
    for source in sources:
        url = f"https://{host}/{source}.json"
        mill.server.services.feeds.add([url], source=source, interval_s=3600)
    return sources


def fetch_all(mill: Mill) -> None:
    while mill.server.fetch():
        pass


def running_of(mill: Mill, host: str) -> int:
    return mill.stores.feeds.count_running_by_host().get(host, 0)


def due_at(mill: Mill, sources: Iterable[str]) -> list[datetime | None]:
    feeds = mill.stores.feeds.read_many(sources)
    return sorted(feed.next_fetch_at for feed in feeds.values() if feed.next_fetch_at is not None)


def import_of(mill: Mill, source: str) -> Import:
    feed = mill.stores.feeds.get(source)
    assert feed is not None
    assert feed.last_import is not None
    found = mill.stores.imports.get(feed.last_import)
    assert found is not None
    return found


def test_while_a_host_wants_to_rest_nothing_is_sent_for_any_of_its_feeds(mill: Mill) -> None:
    first, second = add_feeds(mill, HOST, 2)
    mill.press.ask_for_rest(600)
    mill.server.start(first)
    fetch_all(mill)
    assert mill.stores.hosts.blocked_until(HOST, mill.clock.now()) == mill.clock.now() + timedelta(
        seconds=600
    )
    mill.press.ask_for_rest(None)
    # Another server, after a restart: the wish is on record.
    mill.replace_actors()
    asked = mill.press.requests
    mill.server.start(second)
    fetch_all(mill)
    assert mill.press.requests == asked
    failed = import_of(mill, second)
    assert failed.state is ImportState.FAILED
    assert failed.error == (
        f"rate_limited: {HOST} asked not to be asked again before 2026-11-01T12:10:00.000Z"
    )


def test_feeds_that_were_queued_when_their_host_asked_for_rest_are_postponed(mill: Mill) -> None:
    sources = add_feeds(mill, HOST, 2)
    mill.server.scheduler.tick()
    assert running_of(mill, HOST) == 2
    mill.press.ask_for_rest(7200)
    fetch_all(mill)
    assert mill.press.requests == 1
    until = mill.clock.now() + timedelta(hours=2)
    feeds = mill.stores.feeds.read_many(sources)
    [asked] = [feed for feed in feeds.values() if feed.last_import is not None]
    [held] = [feed for feed in feeds.values() if feed.last_import is None]
    assert (held.next_fetch_at, held.running_import, held.error) == (until, None, None)
    assert held.next_fetch_reason == (
        f"{HOST} asked not to be asked again before 2026-11-01T14:00:00.000Z"
    )
    imports = mill.stores.imports.find_page(limit=10).items
    assert [each.source for each in imports] == [asked.source]
    mill.press.ask_for_rest(None)
    mill.clock.advance(hours=3)
    mill.server.scheduler.tick()
    fetch_all(mill)
    mill.come_to_rest()
    assert import_of(mill, held.source).state is ImportState.COMPLETED


def test_a_crash_while_an_import_is_withdrawn_leaves_nothing_behind(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    [source] = add_feeds(mill, HOST, 1)
    mill.server.scheduler.tick()
    mill.stores.hosts.block(HOST, mill.clock.now() + timedelta(hours=2))
    with monkeypatch.context() as patch:
        patch.setattr(type(mill.stores.imports), "withdraw", lambda *_: False)
        fetch_all(mill)
    [left] = mill.stores.imports.find_open()
    mill.server.reservations.add_fetch_jobs([left])
    fetch_all(mill)
    assert mill.stores.imports.find_open() == []
    feed = mill.stores.feeds.get(source)
    assert feed is not None
    assert feed.next_fetch_at == mill.clock.now() + timedelta(hours=2)


def test_an_operator_lifts_a_hosts_wish(mill: Mill) -> None:
    asked, waiting, by_hand = add_feeds(mill, HOST, 3)
    mill.server.services.feeds.change(by_hand, {"interval_s": None})
    other, *_ = add_feeds(mill, "other.example", 1)
    mill.server.scheduler.tick()
    mill.press.ask_for_rest(7200)
    fetch_all(mill)
    mill.server.scheduler.tick()
    retry_after = RetryAfter(mill.stores, mill.clock)
    until = mill.clock.now() + timedelta(hours=2)
    assert {each.host: (each.until, each.feeds) for each in retry_after.list_pauses()} == {
        HOST: (until, 3), "other.example": (until, 1),
    }  # fmt: skip
    assert retry_after.lift(HOST) == 2
    assert [each.host for each in retry_after.list_pauses()] == ["other.example"]
    assert due_at(mill, [asked, waiting]) == [mill.clock.now()] * 2
    assert due_at(mill, [by_hand]) == []
    assert due_at(mill, [other]) == [until]
    mill.press.ask_for_rest(None)
    mill.server.scheduler.tick()
    fetch_all(mill)
    assert import_of(mill, asked).error is None
    with pytest.raises(NotFoundError):
        retry_after.lift(HOST)


def test_a_host_is_asked_again_when_its_time_has_come(mill: Mill) -> None:
    [source] = add_feeds(mill, HOST, 1)
    mill.press.ask_for_rest(600)
    mill.server.start(source)
    fetch_all(mill)
    mill.press.ask_for_rest(None)
    mill.clock.advance(seconds=600)
    mill.server.start(source)
    fetch_all(mill)
    assert import_of(mill, source).state is ImportState.COMPLETED


def test_a_host_that_wants_to_rest_holds_up_no_other(mill: Mill) -> None:
    add_feeds(mill, HOST, 1)
    mill.stores.hosts.block(HOST, mill.clock.now() + timedelta(hours=1))
    [other] = add_feeds(mill, "small.example", 1)
    mill.server.start(other)
    fetch_all(mill)
    assert import_of(mill, other).state is ImportState.COMPLETED


def test_a_wish_to_rest_is_only_ever_prolonged(mill: Mill) -> None:
    now = mill.clock.now()
    for seconds in (600, 60, 300):
        mill.stores.hosts.block(HOST, now + timedelta(seconds=seconds))
    assert mill.stores.hosts.read_blocked([HOST, "other"], now) == {
        HOST: now + timedelta(seconds=600)
    }


def test_wishes_that_have_run_out_are_swept(mill: Mill) -> None:
    now = mill.clock.now()
    mill.stores.hosts.block(HOST, now + SWEEP_EVERY / 2)
    mill.stores.hosts.block("other", now + 2 * SWEEP_EVERY)
    mill.server.heal()
    mill.clock.advance(seconds=SWEEP_EVERY.total_seconds())
    mill.server.heal()
    assert [found["_id"] for found in mill.database.collection("hosts").find()] == ["other"]


def test_due_feeds_of_a_host_that_wants_to_rest_are_spread_behind_its_time(mill: Mill) -> None:
    sources = add_feeds(mill, HOST, 5)
    [other] = add_feeds(mill, "small.example", 1)
    until = mill.clock.now() + timedelta(minutes=10)
    mill.stores.hosts.block(HOST, until)
    assert mill.server.scheduler.tick() == 1
    assert due_at(mill, sources) == [until + number * DEFERRAL_GAP for number in range(5)]
    feed = mill.stores.feeds.get(sources[0])
    assert feed is not None
    assert feed.next_fetch_reason == (
        f"{HOST} asked not to be asked again before 2026-11-01T12:10:00.000Z"
    )
    assert (feed.consecutive_failures, feed.error, feed.last_import) == (0, None, None)
    held = mill.stores.feeds.get(other)
    assert held is not None
    assert held.running_import is not None


def test_a_feed_that_changed_since_it_was_seen_due_is_not_moved(mill: Mill) -> None:
    [source] = add_feeds(mill, HOST, 1)
    mill.stores.hosts.block(HOST, mill.clock.now() + timedelta(minutes=10))
    feeds = mill.server.stores.feeds
    defer_many = feeds.defer_many
    moved_to = mill.clock.now() + timedelta(seconds=5)

    def change_first(*args: object) -> int:
        mill.stores.feeds.update(source, {"next_fetch_at": moved_to})
        return defer_many(*args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeds, "defer_many", change_first)
        assert mill.server.scheduler.tick() == 0
    assert due_at(mill, [source]) == [moved_to]


def test_no_more_feeds_of_a_host_run_by_schedule_than_allowed(mill: Mill) -> None:
    sources = add_feeds(mill, HOST, 5)
    assert mill.server.scheduler.tick() == 2
    assert mill.server.scheduler.tick() == 0
    assert running_of(mill, HOST) == 2
    fetch_all(mill)
    assert mill.server.scheduler.tick() == 2
    fetch_all(mill)
    assert mill.server.scheduler.tick() == 1
    fetch_all(mill)
    assert {import_of(mill, source).state for source in sources} == {ImportState.COMPLETED}
    assert mill.press.requests == 5


def test_many_due_feeds_of_one_host_keep_no_other_waiting(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "MAX_FEEDS_A_TICK", 5)
    add_feeds(mill, HOST, 12)
    mill.clock.advance(seconds=1)
    add_feeds(mill, "second.example", 12)
    mill.clock.advance(seconds=1)
    add_feeds(mill, "third.example", 1)
    assert mill.server.scheduler.tick() == 5
    assert mill.stores.feeds.count_running_by_host() == {
        HOST: 2,
        "second.example": 2,
        "third.example": 1,
    }


def test_many_feeds_of_a_host_that_wants_to_rest_keep_no_other_waiting(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "MAX_FEEDS_A_TICK", 5)
    sources = add_feeds(mill, HOST, 12)
    mill.clock.advance(seconds=1)
    add_feeds(mill, "small.example", 1)
    mill.stores.hosts.block(HOST, mill.clock.now() + timedelta(minutes=10))
    assert mill.server.scheduler.tick() == 1
    assert running_of(mill, "small.example") == 1
    for _ in range(2):
        mill.server.scheduler.tick()
    assert min(moment for moment in due_at(mill, sources) if moment) > mill.clock.now()


def test_when_the_rounds_of_a_tick_are_not_enough_the_next_goes_on_behind(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "MAX_FEEDS_A_TICK", 3)
    monkeypatch.setattr(scheduler, "MAX_ROUNDS", 1)
    for number in range(3):
        add_feeds(mill, f"h{number}.example", 5)
        mill.clock.advance(seconds=1)
    for _ in range(3):
        mill.server.scheduler.tick()
        # Fetched at once: without that, the first host would be chosen again and again.
        fetch_all(mill)
    asked = [feed_host for feed_host in ("h0.example", "h1.example", "h2.example") if any(
        feed.last_import for feed in mill.stores.feeds.find_enabled() if feed.host == feed_host
    )]  # fmt: skip
    assert asked == ["h0.example", "h1.example", "h2.example"]


def test_a_feed_is_counted_for_the_host_of_its_first_url(mill: Mill) -> None:
    [source] = add_feeds(mill, HOST, 1)
    feeds = mill.server.services.feeds
    feeds.get_or_add_without_url("by-hand")
    stored = mill.database.collection("feeds")
    hosts = {found["_id"]: found["host"] for found in stored.find()}
    assert hosts == {source: HOST, "by-hand": None}
    feeds.change(source, {"urls": ["https://moved.example/a", "https://big.example/b"]})
    assert stored.find_one({"_id": source}, {"host": 1}) == {"_id": source, "host": "moved.example"}


def test_an_import_whose_host_is_asked_enough_is_put_off_untouched(mill: Mill) -> None:
    mill.subscribe({"1": "One"})
    started = mill.server.start("news")
    importer = mill.server.process.importer
    slots = importer._host_slots
    with slots.hold(["news.example"]), slots.hold(["news.example"]):
        assert mill.server.fetch()
        with pytest.raises(Postponed):
            importer.import_feed(started.import_id)
    assert mill.stores.imports.get(started.import_id) == started
    assert mill.stores.sources.draw_revision("news") == 1
    assert mill.press.requests == 0
    assert mill.fetch_queue.counts()[JobState.DELAYED] == 1
    view = mill.fetch_queue.get_job("feed#news")
    assert view is not None
    assert (view.attempts_made, feed_url("news")) == (0, started.urls[0])
    mill.come_to_rest()
    ended = mill.stores.imports.get(started.import_id)
    assert ended is not None
    assert (ended.state, mill.press.requests) == (ImportState.COMPLETED, 1)


def test_the_tick_comes_again_when_the_next_feed_is_due(mill: Mill) -> None:
    ticker = mill.server.scheduler
    assert ticker.step() == scheduler.IDLE_TICK_S
    [source] = add_feeds(mill, HOST, 1)
    for ahead_s, rest_s in ((3, 3.0), (0.2, scheduler.TICK_S), (60, scheduler.IDLE_TICK_S)):
        due_at = mill.clock.now() + timedelta(seconds=ahead_s)
        mill.stores.feeds.update(source, {"next_fetch_at": due_at})
        assert ticker.step() == rest_s
    assert running_of(mill, HOST) == 0
    mill.clock.advance(seconds=60)
    assert ticker.step() == scheduler.TICK_S
    assert running_of(mill, HOST) == 1


def test_a_change_or_the_end_of_a_fetch_lets_the_tick_look_again(mill: Mill) -> None:
    changed = mill.server.process.base.changes
    [source] = add_feeds(mill, HOST, 1)
    assert changed.is_set()
    changed.clear()
    mill.server.services.feeds.change(source, {"interval_s": 60})
    assert changed.is_set()
    changed.clear()
    mill.server.scheduler.tick()
    assert not changed.is_set()
    fetch_all(mill)
    assert changed.is_set()
