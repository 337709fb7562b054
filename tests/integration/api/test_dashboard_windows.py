"""What a feed's page shows of its window."""

from datetime import UTC, datetime, timedelta
from typing import Any

from server.feeds.pulls import pull_import_id
from shared.store import IndexerState, OpenInterval
from tests.api import Api
from tests.pages import get_page

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
    assert "Next interval from 2026-11-01 12:00:00 UTC" in page.text
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
    assert "failed 1 time, again 2026-11-01 13:00:00 UTC" in page.text
    assert "the one before is being ended" in page.text
    assert f"/admin/imports/{pull_import_id('news', first)}" in page.links()


def test_window_by_page_shows_pages(api: Api) -> None:
    add_windowed(api, format="page")
    begin(api, cursor=7, settled_epoch=2)
    text = get_page(api, PATH).text
    assert "page by page" in text
    assert "Next interval from page 7" in text


def test_window_that_has_not_begun_says_so(api: Api) -> None:
    add_windowed(api)
    assert "not begun yet" in get_page(api, PATH).text
