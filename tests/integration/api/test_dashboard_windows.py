"""What a feed's page shows of its window."""

import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.feeds.pulls import pull_import, pull_import_id
from shared.store import IndexerState, KeptBody, OpenInterval
from tests.api import Api
from tests.pages import get_page, post_form

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PATH = "/admin/feeds/news"


def add_windowed(api: Api, **window: Any) -> None:
    api.post("/feeds", {"source": "news", "url": "https://example.org/?from={start}"})
    stored = {"from": NOON - HOUR * 24, "step_s": 3600, **window}
    api.stores.feeds.update("news", {"window": stored})


def begin(api: Api, *opened: OpenInterval, **fields: Any) -> IndexerState:
    state = IndexerState("news", "news", **{"epoch": 2, "cursor": NOON, "open": opened} | fields)
    assert api.stores.intervals.insert(state)
    return state


def test_feed_without_a_window_shows_none(api: Api) -> None:
    api.post("/feeds", {"source": "news", "url": "https://example.org/"})
    page = get_page(api, PATH)
    assert "Epoch" not in page.text
    assert not page.all("div", id="reading", hx_get=f"{PATH}/reading")


def test_window_shows_cursor_epoch_and_open_intervals_with_their_imports(api: Api) -> None:
    add_windowed(api)
    running = OpenInterval(NOON - HOUR, NOON, 2, taken_at=NOON)
    begin(api, running, settled_epoch=2)
    page = get_page(api, PATH)
    assert "from 2026-10-31 12:00:00 UTC , 1 h at a time" in page.text
    assert "Next interval starts 2026-11-01 12:00:00 UTC" in page.text
    assert "Epoch 2" in page.text
    assert f"/admin/imports/{pull_import_id('news', running)}" in page.links()
    [part] = [each for each in page.all("div") if each.get("id") == "reading"]
    assert part["hx-get"] == f"{PATH}/reading"
    assert "Epoch 2" in get_page(api, part["hx-get"]).text


def test_interval_that_is_tried_again_leads_to_the_import_that_failed(api: Api) -> None:
    add_windowed(api)
    first = OpenInterval(NOON - HOUR, NOON, 2, taken_at=NOON)
    waiting = OpenInterval(NOON - HOUR, NOON, 2, taken_at=NOON, tries=1, retry_at=NOON + HOUR)
    begin(api, waiting, settled_epoch=1)
    page = get_page(api, PATH)
    assert "failed 1 time, next try 2026-11-01 13:00:00 UTC" in page.text
    assert "the previous one is ending" in page.text
    assert f"/admin/imports/{pull_import_id('news', first)}" in page.links()


def test_window_by_page_shows_pages(api: Api) -> None:
    add_windowed(api, format="page")
    begin(api, cursor=7, settled_epoch=2)
    text = get_page(api, PATH).text
    assert "page by page" in text
    assert "Next interval starts page 7" in text


def test_window_that_has_not_begun_says_so(api: Api) -> None:
    add_windowed(api)
    assert "not started" in get_page(api, PATH).text


def test_rollback_asks_first_and_says_from_where_it_reads(api: Api) -> None:
    add_windowed(api)
    begin(api, settled_epoch=2)
    page = get_page(api, PATH)
    assert page.all("form", action=f"{PATH}/rollback")
    [asks] = [each for each in page.all("button", class_="danger") if "epoch" in str(each)]
    assert "items stay" in asks["data-confirm"]
    done = post_form(api, f"{PATH}/rollback", to="2026-11-01T10:00:00.000Z")
    assert "Epoch 3 of news has begun: it is read again from 2026-11-01T10" in done.message
    stored = api.stores.intervals.get("news")
    assert stored is not None
    assert (stored.epoch, stored.cursor) == (3, NOON - HOUR * 2)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("noon", "a date and time is accepted"),
        ("2026-11-02T10:00", "ahead of"),
        ("7", "to a time only"),
    ],
)
def test_rollback_that_is_refused_says_why(api: Api, typed: str, said: str) -> None:
    add_windowed(api)
    state = begin(api, settled_epoch=2)
    assert said in post_form(api, f"{PATH}/rollback", to=typed).message
    assert api.stores.intervals.get("news") == state


def test_window_by_page_is_rolled_back_to_a_page(api: Api) -> None:
    add_windowed(api, format="page")
    begin(api, cursor=7, settled_epoch=2)
    done = post_form(api, f"{PATH}/rollback", to="3")
    assert "read again from 3 on" in done.message


def begin_backfill(api: Api, **fields: Any) -> None:
    add_windowed(api)
    page = post_form(api, f"{PATH}/backfill", **{"from": "2026-10-30T12:00", **fields})
    assert "The back-fill of news has begun." in page.message


def backfill_of(api: Api) -> IndexerState:
    state = api.stores.intervals.get("news#backfill")
    assert state is not None
    assert state.backfill is not None
    return state


def count_done(api: Api, **counted: Any) -> None:
    """Let a back-fill have come so far."""
    seen = backfill_of(api)
    assert seen.backfill is not None
    assert api.stores.intervals.swap(
        seen, replace(seen, backfill=replace(seen.backfill, **counted))
    )


def test_backfill_shows_a_bar_on_the_feeds_page_and_on_the_overview(api: Api) -> None:
    begin_backfill(api)
    recent = [NOON - timedelta(seconds=each) for each in (30, 20, 10)]
    count_done(api, done=6, items=300, new=290, dead=2, recent=recent)
    for path in (PATH, f"{PATH}/reading", "/"):
        text = get_page(api, path).text
        for said in ("6 of 24 intervals", "300 items", "290 new", "2 dead", "left", "running"):
            assert said in text, path
    [bar] = get_page(api, PATH).all("svg", class_="bar")
    assert bar["aria-label"] == "Back-fill of news: 6 of 24 intervals"
    assert PATH in get_page(api, "/").links()


def test_backfill_is_paused_resumed_and_cancelled(api: Api) -> None:
    begin_backfill(api, to="2026-10-31T00:00:00Z")
    page = post_form(api, f"{PATH}/backfill/pause")
    assert "The back-fill of news pauses" in page.message
    assert page.all("form", action=f"{PATH}/backfill/resume")
    assert "paused" in get_page(api, "/").text
    page = post_form(api, f"{PATH}/backfill/resume")
    assert page.all("form", action=f"{PATH}/backfill/pause")
    page = post_form(api, f"{PATH}/backfill/cancel")
    assert "is cancelled; its items stay" in page.message
    assert "cancelled" in page.text
    assert not page.all("form", action=f"{PATH}/backfill/resume")
    assert "Back-fills" not in get_page(api, "/").text
    assert "has ended" in post_form(api, f"{PATH}/backfill/pause").message
    assert post_form(api, f"{PATH}/backfill/explode", status=404)


def test_failing_interval_of_a_backfill_is_a_trouble_of_the_overview(api: Api) -> None:
    begin_backfill(api)
    seen = backfill_of(api)
    failed = OpenInterval(seen.cursor, seen.cursor + HOUR, seen.epoch, NOON, 1, NOON + HOUR)
    assert api.stores.intervals.swap(seen, replace(seen, open=(failed,)))
    assert "Back-fill of news has failing intervals" in get_page(api, "/").text
    assert "1 failing, tried again" in get_page(api, PATH).text


def test_second_backfill_of_a_feed_is_refused(api: Api) -> None:
    begin_backfill(api)
    again = post_form(api, f"{PATH}/backfill", **{"from": "2026-10-01"})
    assert "back-fill" in again.message
    assert "has begun." not in again.message


def test_feed_that_was_handed_in_offers_nothing_to_read_again(api: Api) -> None:
    api.post("/imports/start", {"source": "news", "document": "<rss/>"})
    assert not get_page(api, PATH).all("form", action=f"{PATH}/backfill")


def test_import_of_an_interval_says_which(api: Api) -> None:
    add_windowed(api)
    opened = OpenInterval(NOON - HOUR, NOON, 2, taken_at=NOON)
    state = begin(api, opened, settled_epoch=2)
    feed = api.stores.feeds.get("news")
    assert feed is not None
    pulled = pull_import(state, opened, feed, NOON)
    api.stores.imports.insert(pulled)
    for path in ("/admin/imports", f"/admin/imports/{pulled.import_id}"):
        said = "2026-11-01 11:00:00 UTC to 2026-11-01 12:00:00 UTC"
        assert said in get_page(api, path).text
    assert "by its window" in get_page(api, PATH).text


def test_reparse_leads_to_its_import_and_says_when_nothing_is_kept(api: Api) -> None:
    api.post("/feeds", {"source": "news", "url": "https://example.org/"})
    assert "is kept" in post_form(api, f"{PATH}/reparse").message
    kept = KeptBody("news", "https://example.org/", 1, "i", NOON, 6, zlib.compress(b"<rss/>"))
    api.stores.bodies.keep(kept, 3)
    page = post_form(api, f"{PATH}/reparse", since="2026-11-01T11:00:00Z")
    assert "waiting to be fetched" in page.text
