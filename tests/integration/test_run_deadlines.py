"""A run of an import ends in time, or is given up; then its feed fails and backs off."""

from datetime import timedelta
from typing import Any

import pytest

from server.fetching.answers import FetchedFeed
from shared.errors import FetchError
from shared.queue import JobState
from shared.store import Feed, Import, ImportState
from tests.mill import SOURCE, Mill
from tests.press import feed_url

LIMIT_S = 240
REQUEST_S = 100.0


class SlowPress:
    """Stands before a mill's press: URLs of ``slow`` sources take their whole time, and fail."""

    def __init__(self, mill: Mill, slow: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, float]] = []
        self._clock = mill.clock
        self._slow = {feed_url(source) for source in slow}
        self._fetch_at_once = mill.press.fetch
        monkeypatch.setattr(mill.press, "fetch", self.fetch)

    def fetch(self, url: str, *, timeout_s: float, **more: Any) -> FetchedFeed:
        self.asked.append((url, timeout_s))
        if url not in self._slow:
            return self._fetch_at_once(url, **more)
        self._clock.advance(seconds=min(REQUEST_S, timeout_s))
        raise FetchError(url, "timeout", "the request took too long", retryable=True)


def subscribe(mill: Mill, *sources: str) -> None:
    mill.server.services.feeds.add(
        [feed_url(source) for source in sources], source=SOURCE, interval_s=3600
    )


def import_when_due(mill: Mill) -> Import:
    mill.clock.advance(hours=2)
    assert mill.server.scheduler.tick() == 1
    assert mill.server.fetch()
    return latest_import(mill)


def latest_import(mill: Mill) -> Import:
    found = mill.stores.imports.get(feed_of(mill).last_import or "")
    assert found is not None
    return found


def feed_of(mill: Mill) -> Feed:
    found = mill.stores.feeds.get(SOURCE)
    assert found is not None
    return found


def test_a_feed_of_slow_urls_fails_when_its_time_is_up_and_backs_off(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [f"slow{number}" for number in range(20)]
    press = SlowPress(mill, sources, monkeypatch)
    subscribe(mill, *sources)
    began_at = mill.clock.now() + timedelta(hours=2)
    imported = import_when_due(mill)
    assert [limit_s for _, limit_s in press.asked] == pytest.approx([240.0, 140.0, 40.0])
    assert mill.clock.now() - began_at == timedelta(seconds=LIMIT_S)
    assert (imported.state, imported.error_kind) == (ImportState.FAILED, "timeout")
    assert imported.error == (
        "timeout: nothing could be read in the 240 s that a run may take for all its 20 URLs "
        "together; first: the request took too long"
    )
    errors = [fetch["error"] for fetch in imported.fetches]
    unasked = "timeout: not asked, for the 240 s of this run were used up before"
    assert errors == ["timeout: the request took too long"] * 3 + [unasked] * 17
    view = mill.fetch_queue.get_job(f"feed#{SOURCE}")
    assert view is not None
    assert (view.state, view.attempts_made) == (JobState.FAILED, 1)
    feed = feed_of(mill)
    assert (feed.running_import, feed.consecutive_failures) == (None, 1)
    assert feed.next_fetch_reason.startswith("backing off after 1 failure in a row")


def test_urls_that_were_not_reached_are_a_warning_of_what_was_read(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowPress(mill, ["slow1", "slow2", "slow3", "slow4"], monkeypatch)
    mill.press.show("quick", {"1": "A"})
    subscribe(mill, "quick", "slow1", "slow2", "slow3", "slow4")
    imported = import_when_due(mill)
    assert (imported.state, imported.counts["fetched"]) == (ImportState.IMPORTING, 1)
    assert imported.warnings == [
        *(f"{feed_url(f'slow{n}')}: timeout: the request took too long" for n in (1, 2, 3)),
        f"{feed_url('slow4')}: timeout: not asked, for the 240 s of this run were used up before",
    ]
    mill.come_to_rest()


def test_a_url_behind_slow_ones_is_reached_by_a_later_run_and_then_always(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [f"slow{number}" for number in range(5)]
    press = SlowPress(mill, slow, monkeypatch)
    mill.press.show("quick", {"1": "A"})
    subscribe(mill, *slow, "quick")
    assert import_when_due(mill).state is ImportState.FAILED
    assert len(press.asked) == 3
    for _ in range(2):
        mill.clock.advance(hours=4)
        imported = import_when_due(mill)
        assert imported.state in (ImportState.IMPORTING, ImportState.COMPLETED)
        assert [fetch["url"] for fetch in imported.fetches] == [
            feed_url(source) for source in (*slow, "quick")
        ]
        assert imported.fetches[-1]["http_status"] in (200, 304)
        mill.come_to_rest()


def test_a_job_whose_runs_vanish_again_and_again_fails_its_import_and_is_not_added_anew(
    mill: Mill,
) -> None:
    """Its servers are killed, or lose their locks: nobody is left to end it but the queue."""
    mill.press.show(SOURCE, {"1": "A"})
    subscribe(mill, SOURCE)
    mill.clock.advance(hours=2)
    assert mill.server.scheduler.tick() == 1
    for number in range(3):
        claimed = mill.fetch_queue.claim(limit=1, lock_ms=1000, token=f"killed{number}")
        assert [job.is_solo for job in claimed.jobs] == [False]
        mill.lose_locks()
    assert mill.server.fetch()
    imported = latest_import(mill)
    assert (imported.state, imported.error_kind) == (ImportState.FAILED, "run_lost")
    assert mill.press.requests == 0
    mill.clock.advance(minutes=5)
    mill.server.look()
    assert not mill.server.fetch()
    feed = feed_of(mill)
    assert (feed.running_import, feed.consecutive_failures) == (None, 1)
    assert import_when_due(mill).state is ImportState.IMPORTING
    mill.come_to_rest()


def test_a_claimed_job_whose_data_names_no_import_ends_without_one(mill: Mill) -> None:
    mill.press.show(SOURCE, {"1": "A"})
    subscribe(mill, SOURCE)
    mill.server.start(SOURCE)
    mill.redis.hset(mill.fetch_queue.keys.job(f"feed#{SOURCE}"), "data", "[1]")
    assert mill.server.fetch()
    assert mill.fetch_queue.counts()[JobState.FAILED] == 1
    mill.come_to_rest()
    assert latest_import(mill).state is ImportState.COMPLETED


def test_with_the_places_of_its_hosts_taken_a_feed_is_not_claimed_again_and_again(
    mill: Mill,
) -> None:
    mill.press.show(SOURCE, {"1": "A"})
    subscribe(mill, SOURCE, "other")
    mill.server.start(SOURCE)
    importer = mill.server.process.importer
    hosts = [f"{SOURCE}.example", "other.example"]
    with importer._host_slots.hold(hosts), importer._host_slots.hold(hosts):
        claims = 0
        for _ in range(10 * LIMIT_S):
            claims += mill.server.fetch()
            mill.clock.advance(seconds=0.1)
    assert 10 < claims < 30
    mill.come_to_rest()
    assert latest_import(mill).state is ImportState.COMPLETED
