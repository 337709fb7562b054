"""Lists of feeds over HTTP: what is found, in which order, page by page."""

from datetime import timedelta
from typing import Any

import pytest

from tests.api import Api

URL = "https://example.org/news.xml"


def add(api: Api, **fields: Any) -> None:
    answer = api.post("/feeds", {"source": "news", "url": URL} | fields)
    assert answer.status_code == 201, answer.text


def list_sources(api: Api, **query: str) -> list[str]:
    answer = api.client.get("/feeds", params=query)
    assert answer.status_code == 200, answer.text
    return [shown["source"] for shown in answer.json()["items"]]


def list_by_pages(api: Api, limit: int, **query: str) -> list[str]:
    """Return all that is listed, page by page; each page but the last is full."""
    found: list[str] = []
    given = query | {"limit": str(limit)}
    while True:
        page = api.client.get("/feeds", params=given).json()
        found += [feed["source"] for feed in page["items"]]
        if page["next_cursor"] is None:
            return found
        assert len(page["items"]) == limit
        given["cursor"] = page["next_cursor"]


def test_feeds_are_found_by_text_in_source_or_url(api: Api) -> None:
    add(api)
    add(api, source="board", url="https://jobs.example/All.xml")
    api.post("/feeds", {"source": "two", "urls": [f"{URL}?a", "https://other.example/(b)"]})
    assert list_sources(api, q="") == ["two", "news", "board"]
    assert list_sources(api, q="BOAR") == ["board"]
    assert list_sources(api, q="all.xml") == ["board"]
    assert list_sources(api, q="(B)") == ["two"]
    assert list_sources(api, q=".*") == []


def test_feeds_are_found_by_whether_they_are_enabled_and_fail(api: Api) -> None:
    for number in range(3):
        add(api, source=f"feed{number}", url=f"{URL}?{number}", enabled=number != 0)
    api.stores.feeds.update("feed0", {"error": "gone: 410", "consecutive_failures": 2})
    api.stores.feeds.update("feed1", {"error": "dns: no such host", "consecutive_failures": 1})
    assert list_sources(api, failing="true") == ["feed1", "feed0"]
    assert list_sources(api, failing="false") == ["feed2"]
    assert list_sources(api, enabled="false") == ["feed0"]
    assert list_sources(api, enabled="true", failing="true") == ["feed1"]
    assert list_sources(api, enabled="", failing="", q="feed2") == ["feed2"]


def test_filtered_feeds_go_on_where_the_page_ended(api: Api) -> None:
    for number in range(4):
        add(api, source=f"feed{number}", url=f"{URL}?{number}", enabled=number != 2)
    first = api.client.get("/feeds?q=feed&enabled=true&limit=2").json()
    query = {"q": "feed", "enabled": "true", "limit": "2", "cursor": first["next_cursor"]}
    second = api.client.get("/feeds", params=query).json()
    shown = [feed["source"] for feed in first["items"] + second["items"]]
    assert shown == ["feed3", "feed1", "feed0"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    "query", ["enabled=perhaps", "failing=2", "q=%00", "text=a", "sort=x", "state=x", "tag=%2C"]
)
def test_unfit_filter_of_feeds_is_refused(api: Api, query: str) -> None:
    assert api.client.get(f"/feeds?{query}").status_code == 422


def test_feeds_are_found_by_tag_and_title(api: Api) -> None:
    add(api, source="a", url=f"{URL}?1", tags=["tech", "news"], title="The Gazette")
    add(api, source="b", url=f"{URL}?2", tags=["technology"])
    api.stores.feeds.note_title("b", "A Courier")
    assert list_sources(api, tag="Tech") == ["a"]
    assert list_sources(api, tag="technology") == ["b"]
    assert list_sources(api, tag="none-has-it") == []
    assert list_sources(api, q="gazette") == ["a"]
    assert list_sources(api, q="courier") == ["b"]
    assert list_sources(api, q="techno") == ["b"]


def seed_states(api: Api) -> None:
    """Leave feeds of every state, added in the order of their names."""
    for number, source in enumerate(("a", "b", "c", "d", "e", "f")):
        api.clock.advance(seconds=1)
        schedule = {"interval_s": None} if source in ("c", "f") else {}
        add(api, source=source, url=f"{URL}?{number}", enabled=source not in "bf", **schedule)
    for source in ("a", "b", "e"):
        api.stores.feeds.update(source, {"error": "dns: no such host"})


@pytest.mark.parametrize(
    ("state", "sources"),
    [("failing", ["e", "a"]), ("disabled", ["f", "b"]), ("manual", ["c"]), ("", [*"fedcba"])],
)
def test_feeds_are_found_by_state(api: Api, state: str, sources: list[str]) -> None:
    seed_states(api)
    assert list_sources(api, state=state) == sources
    assert list_sources(api, state=state, q="example", limit="6") == sources


def test_state_and_other_filters_hold_together(api: Api) -> None:
    seed_states(api)
    assert list_sources(api, state="disabled", failing="true") == ["b"]
    assert list_sources(api, state="disabled", enabled="true") == []
    assert list_sources(api, state="failing", failing="false") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 50])
def test_failing_feeds_come_first_and_disabled_ones_last(api: Api, limit: int) -> None:
    seed_states(api)
    assert list_by_pages(api, limit, sort="state") == ["e", "a", "d", "c", "f", "b"]
    assert list_by_pages(api, limit, sort="state", failing="true") == ["e", "a", "b"]
    assert list_by_pages(api, limit, sort="state", enabled="true", q="x") == ["e", "a", "d", "c"]


@pytest.mark.parametrize("limit", [1, 2, 50])
@pytest.mark.parametrize(
    ("sort", "rising", "falling"),
    [
        ("title", [*"dbca"], [*"acbd"]),
        ("last_import", [*"cabd"], [*"acbd"]),
        ("next_fetch", [*"abcd"], [*"bacd"]),
    ],
)
def test_feeds_are_sorted_both_ways_page_by_page(
    api: Api, limit: int, sort: str, rising: list[str], falling: list[str]
) -> None:
    for number, source in enumerate("abcd"):
        add(api, source=source, url=f"{URL}?{number}", enabled=source != "d")
    feeds, noon = api.stores.feeds, api.clock.now()
    feeds.update("a", {"title": "zebra", "last_import": "02"})
    feeds.update("b", {"document_title": "Élan", "title": "cat", "last_import": None})
    feeds.update("c", {"document_title": "Dog", "last_import": "01", "next_fetch_at": None})
    feeds.update("d", {"title": "Ant"})
    feeds.update("a", {"next_fetch_at": noon - timedelta(hours=1)})
    assert list_by_pages(api, limit, sort=sort) == rising
    assert list_by_pages(api, limit, sort=sort, descending="true") == falling


def test_feeds_with_one_title_are_all_listed_once(api: Api) -> None:
    for number in range(5):
        add(api, source=f"s{number}", url=f"{URL}?{number}", title="Same")
    assert list_by_pages(api, 2, sort="title") == ["s0", "s1", "s2", "s3", "s4"]


@pytest.mark.parametrize("sort", ["state", "title", "next_fetch"])
@pytest.mark.parametrize("cursor", ["x", "WzFd", "WyJ0aXRsZSIsMSwyXQ", "é", "WyJzdGF0ZSIsW10sMV0"])
def test_cursor_of_another_list_is_refused(api: Api, sort: str, cursor: str) -> None:
    answer = api.client.get("/feeds", params={"sort": sort, "cursor": cursor})
    assert answer.status_code == 422
    assert "cursor" in answer.json()["detail"]


def test_cursor_of_another_order_is_refused(api: Api) -> None:
    for number in range(2):
        add(api, source=f"s{number}", url=f"{URL}?{number}")
    by_title = api.client.get("/feeds?sort=title&limit=1").json()["next_cursor"]
    for sort in ("state", "next_fetch"):
        query = {"sort": sort, "cursor": by_title}
        assert api.client.get("/feeds", params=query).status_code == 422


def change_many(api: Api, action: str, *sources: str, **fields: Any) -> dict[str, Any]:
    answer = api.post("/feeds/bulk", {"sources": sources, "action": action} | fields)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def test_one_call_changes_many_feeds_and_names_those_it_could_not(api: Api) -> None:
    add(api, source="a", url=f"{URL}?1")
    add(api, source="b", url=f"{URL}?2", tags=["old"])
    changed = change_many(api, "add_tag", "a", "gone", "b", "a", tag="Big News")
    assert changed["done"] == ["a", "b"]
    assert changed["failed"] == [{"source": "gone", "error": "there is no feed 'gone'"}]
    assert api.client.get("/feeds/b").json()["tags"] == ["big-news", "old"]
    change_many(api, "remove_tag", "a", "b", tag="big-news")
    assert api.client.get("/feeds/b").json()["tags"] == ["old"]
    change_many(api, "disable", "a", "b")
    assert list_sources(api, state="disabled") == ["b", "a"]
    change_many(api, "enable", "a")
    assert list_sources(api, state="disabled") == ["b"]
    assert change_many(api, "remove", "b")["done"] == ["b"]
    assert list_sources(api) == ["a"]


def test_many_imports_are_started_by_one_call_that_counts_once(api: Api) -> None:
    add(api, source="a", url=f"{URL}?1")
    add(api, source="b", url=f"{URL}?2")
    api.services.feeds.get_or_add_without_url("handed-in")
    changed = change_many(api, "import", "a", "handed-in", "b")
    assert [each["source"] for each in changed["imports"]] == ["a", "b"]
    [failed] = changed["failed"]
    assert (failed["source"], "has no URL" in failed["error"]) == ("handed-in", True)


@pytest.mark.parametrize(
    "body",
    [
        {"sources": [], "action": "enable"},
        {"sources": ["a"], "action": "explode"},
        {"sources": ["a"], "action": "add_tag"},
        {"sources": ["a"], "action": "add_tag", "tag": "a,b"},
        {"sources": ["a"], "action": "enable", "tag": "x"},
        {"sources": ["a"] * 501, "action": "enable"},
        {"action": "enable"},
    ],
)
def test_change_of_many_feeds_that_cannot_be_meant_is_refused(api: Api, body: Any) -> None:
    assert api.post("/feeds/bulk", body).status_code == 422
