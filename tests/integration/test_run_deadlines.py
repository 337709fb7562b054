"""A run of an import ends in time, or is given up; then its feed fails and backs off."""

from datetime import timedelta
from typing import Any

import pytest

from server.fetching.answers import FetchedFeed
from shared.errors import FetchError
from shared.queue import JobState
from shared.store import Feed, Import, ImportState
from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness

LIMIT_S = 240
REQUEST_S = 100.0


class SlowPublisher:
    """Stands before the publisher: URLs of ``slow`` sources take all their time, and fail."""

    def __init__(self, harness: Harness, slow: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, float]] = []
        self._clock = harness.clock
        self._slow = {feed_url(source) for source in slow}
        self._fetch_at_once = harness.publisher.fetch
        monkeypatch.setattr(harness.publisher, "fetch", self.fetch)

    def fetch(self, url: str, *, timeout_s: float, **more: Any) -> FetchedFeed:
        self.asked.append((url, timeout_s))
        if url not in self._slow:
            return self._fetch_at_once(url, **more)
        self._clock.advance(seconds=min(REQUEST_S, timeout_s))
        raise FetchError(url, "timeout", "the request took too long", retryable=True)


def subscribe(harness: Harness, *sources: str) -> None:
    harness.server.services.feeds.add(
        [feed_url(source) for source in sources], source=SOURCE, interval_s=3600
    )


def import_when_due(harness: Harness) -> Import:
    harness.clock.advance(hours=2)
    assert harness.server.scheduler.tick() == 1
    assert harness.server.fetch()
    return latest_import(harness)


def latest_import(harness: Harness) -> Import:
    found = harness.stores.imports.get(feed_of(harness).last_import or "")
    assert found is not None
    return found


def feed_of(harness: Harness) -> Feed:
    found = harness.stores.feeds.get(SOURCE)
    assert found is not None
    return found


def test_a_feed_of_slow_urls_fails_when_its_time_is_up_and_backs_off(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [f"slow{number}" for number in range(20)]
    publisher = SlowPublisher(harness, sources, monkeypatch)
    subscribe(harness, *sources)
    began_at = harness.clock.now() + timedelta(hours=2)
    imported = import_when_due(harness)
    assert [limit_s for _, limit_s in publisher.asked] == pytest.approx([240.0, 140.0, 40.0])
    assert harness.clock.now() - began_at == timedelta(seconds=LIMIT_S)
    assert (imported.state, imported.error_kind) == (ImportState.FAILED, "timeout")
    assert imported.error == (
        "timeout: nothing could be read in the 240 s that a run may take for all its 20 URLs "
        "together; first: the request took too long"
    )
    errors = [fetch["error"] for fetch in imported.fetches]
    unasked = "timeout: not asked, for the 240 s of this run were used up before"
    assert errors == ["timeout: the request took too long"] * 3 + [unasked] * 17
    view = harness.fetch_queue.get_job(f"feed#{SOURCE}")
    assert view is not None
    assert (view.state, view.attempts_made) == (JobState.FAILED, 1)
    feed = feed_of(harness)
    assert (feed.running_import, feed.consecutive_failures) == (None, 1)
    assert feed.next_fetch_reason.startswith("backing off after 1 failure in a row")


def test_urls_that_were_not_reached_are_a_warning_of_what_was_read(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowPublisher(harness, ["slow1", "slow2", "slow3", "slow4"], monkeypatch)
    harness.publisher.show("quick", {"1": "A"})
    subscribe(harness, "quick", "slow1", "slow2", "slow3", "slow4")
    imported = import_when_due(harness)
    assert (imported.state, imported.counts["fetched"]) == (ImportState.IMPORTING, 1)
    assert imported.warnings == [
        *(f"{feed_url(f'slow{n}')}: timeout: the request took too long" for n in (1, 2, 3)),
        f"{feed_url('slow4')}: timeout: not asked, for the 240 s of this run were used up before",
    ]
    harness.come_to_rest()


def test_a_url_behind_slow_ones_is_reached_by_a_later_run_and_then_always(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [f"slow{number}" for number in range(5)]
    publisher = SlowPublisher(harness, slow, monkeypatch)
    harness.publisher.show("quick", {"1": "A"})
    subscribe(harness, *slow, "quick")
    assert import_when_due(harness).state is ImportState.FAILED
    assert len(publisher.asked) == 3
    for _ in range(2):
        harness.clock.advance(hours=4)
        imported = import_when_due(harness)
        assert imported.state in (ImportState.IMPORTING, ImportState.COMPLETED)
        assert [fetch["url"] for fetch in imported.fetches] == [
            feed_url(source) for source in (*slow, "quick")
        ]
        assert imported.fetches[-1]["http_status"] in (200, 304)
        harness.come_to_rest()


def test_a_job_whose_runs_vanish_again_and_again_fails_its_import_and_is_not_added_anew(
    harness: Harness,
) -> None:
    """Its servers are killed, or lose their locks: nobody is left to end it but the queue."""
    harness.publisher.show(SOURCE, {"1": "A"})
    subscribe(harness, SOURCE)
    harness.clock.advance(hours=2)
    assert harness.server.scheduler.tick() == 1
    for number in range(3):
        claimed = harness.fetch_queue.claim(limit=1, lock_ms=1000, token=f"killed{number}")
        assert [job.is_solo for job in claimed.jobs] == [False]
        harness.lose_locks()
    assert harness.server.fetch()
    imported = latest_import(harness)
    assert (imported.state, imported.error_kind) == (ImportState.FAILED, "run_lost")
    assert harness.publisher.requests == 0
    harness.clock.advance(minutes=5)
    harness.server.look()
    assert not harness.server.fetch()
    feed = feed_of(harness)
    assert (feed.running_import, feed.consecutive_failures) == (None, 1)
    assert import_when_due(harness).state is ImportState.IMPORTING
    harness.come_to_rest()


def test_a_claimed_job_whose_data_names_no_import_ends_without_one(harness: Harness) -> None:
    harness.publisher.show(SOURCE, {"1": "A"})
    subscribe(harness, SOURCE)
    harness.server.start(SOURCE)
    harness.redis.hset(harness.fetch_queue.keys.job(f"feed#{SOURCE}"), "data", "[1]")
    assert harness.server.fetch()
    assert harness.fetch_queue.counts()[JobState.FAILED] == 1
    harness.come_to_rest()
    assert latest_import(harness).state is ImportState.COMPLETED


def test_with_the_places_of_its_hosts_taken_a_feed_is_not_claimed_again_and_again(
    harness: Harness,
) -> None:
    harness.publisher.show(SOURCE, {"1": "A"})
    subscribe(harness, SOURCE, "other")
    harness.server.start(SOURCE)
    importer = harness.server.process.importer
    hosts = [f"{SOURCE}.example", "other.example"]
    with importer._host_slots.hold(hosts), importer._host_slots.hold(hosts):
        claims = 0
        for _ in range(10 * LIMIT_S):
            claims += harness.server.fetch()
            harness.clock.advance(seconds=0.1)
    assert 10 < claims < 30
    harness.come_to_rest()
    assert latest_import(harness).state is ImportState.COMPLETED
