"""The page of all feeds: what it lists in which order, and changing many at once."""

from typing import Any

import pytest

from shared.store import Feed
from tests.api import Api
from tests.pages import Page, get_page, post_form

URL = "https://example.org/news.xml"
PAGE = "/admin/feeds"
BULK = "/admin/feeds-bulk"


def add(api: Api, source: str = "news", **fields: Any) -> None:
    answer = api.post("/feeds", {"source": source, "url": f"{URL}?{source}"} | fields)
    assert answer.status_code == 201, answer.text


def add_some(api: Api) -> None:
    for source in ("news", "board", "bored"):
        api.clock.advance(seconds=1)
        add(api, source, enabled=source != "bored")
    api.stores.feeds.update("board", {"error": "dns: x"})


def stored(api: Api, source: str) -> Feed:
    feed = api.stores.feeds.get(source)
    assert feed is not None
    return feed


def sources(page: Page) -> list[str]:
    """Return the feeds that are listed, in order."""
    links = [link for link in page.links() if link.startswith(f"{PAGE}/")]
    return [link.removeprefix(f"{PAGE}/") for link in links]


def test_without_feeds_the_page_says_what_to_do(api: Api) -> None:
    page = get_page(api, PAGE)
    assert "No feeds yet." in page.text
    assert "/admin/feeds-opml" in page.links()
    assert page.all("form", action="/admin/feeds-add")
    assert page.all("details", class_="fold", open="")
    assert not page.all("form", role="search")


def test_feed_is_a_line_with_title_state_last_import_and_next_fetch(api: Api) -> None:
    add(api, tags=["tech"], title="The News")
    page = get_page(api, PAGE)
    line = "The News news tech new no import 2026-11-01 12:00:00 UTC Import now"
    assert line in page.text
    assert f"{PAGE}?tag=tech" in page.links()
    [begun] = api.post("/imports/start").json()["imports"]
    api.stores.imports.fail(begun["id"], None, {"error": "x", "error_kind": "dns"})
    changes = {"last_import": begun["id"], "error": "dns: no host", "consecutive_failures": 3}
    api.stores.feeds.update("news", changes)
    page = get_page(api, PAGE)
    assert "failed 3 times dns: no host" in page.text
    assert f"/admin/imports/{begun['id']}" in page.links()


def test_forms_fold_once_there_is_a_feed(api: Api) -> None:
    add(api)
    page = get_page(api, PAGE)
    assert not [each for each in page.all("details") if "open" in each]
    assert page.all("details", class_="fold wide-open")


def test_feed_without_a_schedule_is_manual_only(api: Api) -> None:
    add(api, interval_s=None)
    assert "no import Manual only" in get_page(api, PAGE).text
    assert sources(get_page(api, PAGE, state="manual")) == ["news"]


def test_failing_feeds_come_first_and_disabled_ones_last(api: Api) -> None:
    add_some(api)
    assert sources(get_page(api, PAGE)) == ["board", "news", "bored"]
    assert sources(get_page(api, PAGE, sort="added")) == ["bored", "board", "news"]


def test_feeds_are_filtered_in_the_url_and_paged(api: Api) -> None:
    add_some(api)
    api.client.patch("/feeds/bored", json={"tags": ["dull"]})
    assert sources(get_page(api, PAGE, q="BO")) == ["board", "bored"]
    assert sources(get_page(api, PAGE, q="", state="failing", tag="")) == ["board"]
    assert sources(get_page(api, PAGE, state="disabled")) == ["bored"]
    assert sources(get_page(api, PAGE, tag="dull")) == ["bored"]
    assert sources(get_page(api, PAGE, failing="true")) == ["board"]
    none = get_page(api, PAGE, q="zzz")
    assert "No feed matches." in none.text
    assert "Clear filters" in none.text
    first = get_page(api, PAGE, q="bo", limit="1")
    [following] = first.all("a", rel="next")
    second = get_page(api, following["href"])
    assert sources(second) == ["bored"]
    assert "First page" in second.text
    assert get_page(api, PAGE, 422, state="perhaps", q="typed").value("q") == "typed"
    assert get_page(api, PAGE, 422, tag=",", q="typed").value("q") == "typed"


def test_heads_of_columns_sort_and_turn_the_order_around(api: Api) -> None:
    add_some(api)
    page = get_page(api, PAGE, q="o")
    assert "State" in page.text
    by_title = f"{PAGE}?q=o&sort=title"
    assert by_title in page.links()
    sorted_page = get_page(api, by_title)
    assert sources(sorted_page) == ["board", "bored", "news"]
    assert len(sorted_page.all("th", **{"aria-sort": "ascending"})) == 1
    turned = f"{by_title}&descending=true"
    assert turned in sorted_page.links()
    assert sources(get_page(api, turned)) == ["news", "bored", "board"]
    assert by_title in get_page(api, turned).links()


def change(api: Api, action: str, *chosen: str, **fields: str) -> Page:
    """Tick feeds, choose an action, and confirm it on the page that follows."""
    given: dict[str, Any] = {"sources": chosen, "action": action, **fields}
    asked = post_form(api, BULK, **given)
    assert asked.all("input", name="is_sure", value="true"), asked.text
    return post_form(api, BULK, is_sure="true", **given)


def test_change_of_many_feeds_is_confirmed_with_how_many_and_which(api: Api) -> None:
    add_some(api)
    api.stores.feeds.note_title("news", "The <News>")
    page = post_form(api, BULK, sources=["news", "board"], action="remove")
    assert "Delete: 2 feeds?" in page.text
    assert "Their items stay" in page.text
    assert "The <News> news board" in page.text
    assert stored(api, "news")


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("remove", "2 feeds deleted."),
        ("disable", "2 feeds disabled."),
        ("enable", "2 feeds enabled."),
        ("import", "2 feeds being imported."),
    ],
)
def test_many_feeds_are_changed_at_once(api: Api, action: str, said: str) -> None:
    add_some(api)
    page = change(api, action, "news", "board")
    assert said in page.message
    left = {feed["source"]: feed["enabled"] for feed in api.client.get("/feeds").json()["items"]}
    kept = {"news": action != "disable", "board": action != "disable", "bored": False}
    assert left == ({"bored": False} if action == "remove" else kept)
    imported = [each["source"] for each in api.client.get("/imports").json()["items"]]
    assert sorted(imported) == (["board", "news"] if action == "import" else [])


def test_tag_is_added_to_many_feeds_and_removed(api: Api) -> None:
    add_some(api)
    api.client.patch("/feeds/board", json={"tags": ["old"]})
    asked = post_form(api, BULK, sources=["news", "board"], action="add_tag")
    assert asked.value("tag") == ""
    assert asked.all("option", value="old")
    api.client.patch("/feeds/board", json={"tags": []})
    back = f"{PAGE}?q=o&sort=title"
    page = change(api, "add_tag", "news", "board", tag="World News", back=back)
    assert "2 feeds tagged world-news." in page.message
    assert stored(api, "news").tags == ["world-news"]
    assert page.value("q") == "o"
    change(api, "remove_tag", "news", "bored", tag="world-news")
    assert [stored(api, source).tags for source in ("news", "board")] == [[], ["world-news"]]


def test_feeds_that_could_not_be_changed_are_named_with_the_reason(api: Api) -> None:
    add_some(api)
    page = change(api, "enable", "news", "gone")
    assert "1 feed enabled; gone not: there is no feed 'gone'." in page.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action": "enable"}, "Select feeds first."),
        (
            {"sources": "news", "action": "add_tag", "tag": " ", "is_sure": "true"},
            "Tag is required",
        ),
        ({"sources": "news", "action": "add_tag", "tag": "a,b", "is_sure": "true"}, "Tag 'a,b'"),
        ({"sources": "news", "action": "explode"}, "Action"),
        ({"sources": "news", "action": "explode", "back": "//evil.example"}, "Action"),
    ],
)
def test_change_that_cannot_be_done_is_explained(
    api: Api, fields: dict[str, str], said: str
) -> None:
    add(api)
    assert said in post_form(api, BULK, 200, **fields).message
