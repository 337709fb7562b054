"""Feeds of several pages: what a first import, a back-fill and a window read of them."""

from datetime import timedelta
from typing import Any

import pytest

from shared.error_kinds import ErrorKind
from shared.errors import FetchError
from shared.store import Feed, Import, ImportState
from shared.store.intervals import IndexerState
from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness

FIRST = feed_url(SOURCE)


def page_url(number: int) -> str:
    return FIRST if number == 1 else f"{FIRST}?page={number}"


def show_pages(harness: Harness, count: int, items: int = 2, title: str = "title") -> None:
    """Let the feed have so many pages, the newest first, each naming the one behind it."""
    for number in range(1, count + 1):
        dated = harness.clock.now() - timedelta(days=number)
        harness.publisher.show_at(
            page_url(number),
            {f"g{number}-{each}": f"{title} {number}" for each in range(items)},
            next_url=page_url(number + 1) if number < count else None,
            published_at=dated.isoformat(),
        )


def start(harness: Harness) -> Import:
    """Import the feed to its end."""
    [started] = harness.server.services.starter.start_sources([SOURCE])
    while harness.server.fetch():
        pass
    harness.work()
    harness.server.look()
    found = harness.stores.imports.get(started.import_id)
    assert found is not None
    return found


def add_feed(harness: Harness, url: str = FIRST, **fields: Any) -> None:
    harness.stores.feeds.insert(
        Feed(source=SOURCE, urls=[url], created_at=harness.clock.now(), **fields)
    )


def pull_all(harness: Harness, rounds: int = 60) -> None:
    """Let everybody work until no indexer has anything left."""
    for _ in range(rounds):
        harness.server.dispatch()
        while harness.server.fetch():
            pass
        harness.work()
        harness.server.look()
        harness.clock.advance(seconds=1)


def back_fill(harness: Harness, days: int) -> IndexerState:
    """Read the feed back so many days, to its end."""
    from_ = harness.clock.now() - timedelta(days=days)
    harness.server.services.backfills.start(SOURCE, from_)
    pull_all(harness)
    found = harness.stores.intervals.get(f"{SOURCE}#backfill")
    assert found is not None
    return found


def refuse(harness: Harness, url: str, kind: str = "http_status", **fields: Any) -> None:
    harness.publisher._refusals[url] = FetchError(url, ErrorKind(kind), "refused", **fields)


def titles(harness: Harness) -> dict[str, str]:
    page = harness.stores.items.find_page(
        source=SOURCE, text=None, since=None, limit=500, cursor=None
    )
    return {item["guid"]: item["title"] for item in page.items}


def test_first_import_reads_all_pages_and_later_ones_the_first_alone(harness: Harness) -> None:
    add_feed(harness)
    show_pages(harness, 4)
    first = start(harness)
    assert (first.state, first.counts["new"], first.warnings) == (ImportState.COMPLETED, 8, [])
    assert [fetch["url"] for fetch in first.fetches] == [page_url(n) for n in range(1, 5)]

    asked = harness.publisher.requests
    later = start(harness)
    assert harness.publisher.requests == asked + 1
    assert later.counts["new"] == 0
    assert len(titles(harness)) == 8


def test_first_import_ends_at_the_limit_and_says_how_to_go_on(harness: Harness) -> None:
    add_feed(harness)
    show_pages(harness, 12)
    first = start(harness)
    assert first.counts["new"] == 20
    [warning] = first.warnings
    assert page_url(11) in warning
    assert f"feedmill feeds backfill {SOURCE}" in warning


def test_a_page_that_fails_is_a_warning(harness: Harness) -> None:
    add_feed(harness)
    show_pages(harness, 4)
    refuse(harness, page_url(3))
    first = start(harness)
    assert (first.state, first.counts["new"]) == (ImportState.COMPLETED, 4)
    assert [page_url(3) in warning for warning in first.warnings] == [True]


def test_pages_that_lead_in_a_circle_or_to_another_site_end(harness: Harness) -> None:
    add_feed(harness)
    harness.publisher.show_at(page_url(1), {"a": "one"}, next_url=page_url(2))
    harness.publisher.show_at(page_url(2), {"b": "two"}, next_url=page_url(1))
    first = start(harness)
    assert first.counts["new"] == 2
    assert "circle" in first.warnings[0]

    harness.stores.feeds.delete(SOURCE)
    add_feed(harness)
    harness.publisher.show_at(page_url(1), {"c": "3"}, next_url="https://elsewhere.example/2")
    second = start(harness)
    assert second.counts["new"] == 1
    assert "another site" in second.warnings[0]


def test_pages_without_anything_new_end(harness: Harness) -> None:
    add_feed(harness)
    harness.publisher.show_at(page_url(1), {"a": "one"}, next_url=page_url(2))
    for number in range(2, 9):
        harness.publisher.show_at(page_url(number), {"b": "2"}, next_url=page_url(number + 1))
    start(harness)
    assert harness.publisher.requests == 3


def test_only_the_first_page_says_what_the_feed_is_like(harness: Harness) -> None:
    add_feed(harness)
    show_pages(harness, 3)
    start(harness)
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert set(feed.validators) == {FIRST}
    assert set(feed.history["urls"][0].values()) >= {FIRST}


def test_back_fill_reads_page_by_page_to_the_time_that_was_asked_for(harness: Harness) -> None:
    add_feed(harness, interval_s=3600)
    show_pages(harness, 60)
    start(harness)
    state = back_fill(harness, days=35)
    assert state.backfill is not None
    assert (state.backfill.is_ended, state.backfill.outcome) == (True, "done")
    found = {int(guid[1:].split("-")[0]) for guid in titles(harness)}
    # The first page that is wholly older is read too: that is how it is known.
    assert found == set(range(1, max(found) + 1))
    assert 35 <= max(found) <= 36


def test_back_fill_of_pages_never_reverts_what_is_stored(harness: Harness) -> None:
    add_feed(harness, interval_s=3600)
    show_pages(harness, 3, title="today")
    start(harness)
    show_pages(harness, 30, title="rubbish")
    back_fill(harness, days=100)
    stored = titles(harness)
    assert len(stored) == 60
    assert {title.split()[0] for guid, title in stored.items() if guid < "g4"} >= {"today"}
    assert all(stored[f"g{n}-0"] == f"today {n}" for n in range(1, 4))


def test_back_fill_goes_on_behind_a_page_that_failed_once(harness: Harness) -> None:
    add_feed(harness, interval_s=3600)
    show_pages(harness, 15)
    start(harness)
    refuse(harness, page_url(13))
    state = back_fill(harness, days=100)
    assert state.backfill is not None
    assert not state.backfill.is_ended
    harness.publisher._refusals.clear()
    harness.clock.advance(seconds=7200)
    pull_all(harness)
    assert len(titles(harness)) == 30


@pytest.mark.parametrize("last", ["empty", "404", "again"])
def test_window_reads_the_numbered_pages_of_each_interval(harness: Harness, last: str) -> None:
    began = harness.clock.now() - timedelta(hours=1)
    url = "https://news.example/items?from={start}&page={page}"
    window = {"from": began, "step_s": 3600}
    add_feed(harness, url, window=window)
    real = url.replace("{start}", began.isoformat().replace("+00:00", "Z"))
    for number in range(1, 4):
        harness.publisher.show_at(real.replace("{page}", str(number)), {f"g{number}": "x"})
    if last == "404":
        refuse(harness, real.replace("{page}", "4"), http_status=404)
    if last == "again":
        harness.publisher.show_at(real.replace("{page}", "4"), {"g3": "x"})
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    harness.server.services.windows.begin(feed)
    pull_all(harness, rounds=4)
    assert set(titles(harness)) == {"g1", "g2", "g3"}


def test_interval_with_a_page_that_fails_is_imported_whole_or_not_at_all(harness: Harness) -> None:
    began = harness.clock.now() - timedelta(hours=1)
    url = "https://news.example/items?from={start}&page={page}"
    add_feed(harness, url, window={"from": began, "step_s": 3600})
    real = url.replace("{start}", began.isoformat().replace("+00:00", "Z"))
    for number in range(1, 4):
        harness.publisher.show_at(real.replace("{page}", str(number)), {f"g{number}": "x"})
    refuse(harness, real.replace("{page}", "2"), http_status=403)
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    harness.server.services.windows.begin(feed)
    pull_all(harness, rounds=4)
    assert titles(harness) == {}
    harness.publisher._refusals.clear()
    harness.clock.advance(seconds=3600)
    pull_all(harness, rounds=4)
    assert set(titles(harness)) == {"g1", "g2", "g3"}
