"""Adding a feed on its page: by its URL, or by that of a page that names some."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.queue import RedisConnection
from shared.store import Stores
from tests.api import Api, open_api
from tests.feeds.make_feed import make_feed
from tests.pages import Page, get_page, post_form
from tests.publisher import Answer, Publisher

URL_AS_IS = "https://example.org/feed.xml"
NEWS = '<link rel="alternate" type="application/rss+xml" title="News" href="/feed.xml">'
OTHER = '<link rel="alternate" type="application/atom+xml" title="&lt;b&gt;" href="/o?key=s3cr3t">'


@pytest.fixture
def open_door(redis_client: RedisConnection, stores: Stores) -> Iterator[Api]:
    """An application that may fetch from loopback."""
    with open_api(redis_client, stores, fetch_allow_private=True) as opened:
        yield opened


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        publisher.serve("/feed.xml", make_feed(2))
        yield publisher


def serve_page(publisher: Publisher, *links: str) -> str:
    body = f"<!doctype html><html><head>{''.join(links)}</head><body>Hello</body></html>"
    return publisher.serve("/blog", body, content_type="text/html")


def add(api: Api, url: str, status: int = 200, **typed: Any) -> Page:
    return post_form(api, "/admin/feeds-add", status, urls=url, **typed)


def urls(api: Api) -> list[str]:
    return sorted(feed["url"] for feed in api.client.get("/feeds").json()["items"])


def test_url_of_a_feed_is_added_as_typed_and_imported(open_door: Api, publisher: Publisher) -> None:
    url = publisher.url().replace("http://", "http://me:s3cr3t@")
    page = add(open_door, url, source="news")
    assert "Feed news is added and is being imported." in page.message
    feed = open_door.stores.feeds.get("news")
    assert feed is not None
    assert feed.urls == [url]
    assert (feed.interval_s, feed.headers) == (3600, {})
    [started] = open_door.client.get("/imports").json()["items"]
    assert (started["source"], started["state"]) == ("news", "queued")
    assert started["id"] in "".join(page.links())
    assert "s3cr3t" not in page.html


def test_page_that_names_one_feed_adds_that(open_door: Api, publisher: Publisher) -> None:
    add(open_door, serve_page(publisher, NEWS))
    assert urls(open_door) == [publisher.url()]


def test_page_that_names_several_asks_which(open_door: Api, publisher: Publisher) -> None:
    page = add(open_door, serve_page(publisher, NEWS, OTHER), every="2", unit_s="3600")
    assert "This page links to 2 feeds" in page.text
    assert "<b>" in page.text
    assert "/o?key=***" in page.text
    assert urls(open_door) == []
    chosen = [box["value"] for box in page.all("input", name="chosen")]
    assert chosen == [publisher.url(), publisher.url("/o?key=s3cr3t")]
    typed = {name: page.value(name) for name in ("schedule", "every", "unit_s", "source")}
    answer = add(open_door, page.value("urls"), chosen=chosen, **typed)
    assert "2 feeds are added and are being imported." in answer.message
    assert urls(open_door) == [publisher.url(), publisher.url("/o?key=***")]
    assert {feed.interval_s for feed in open_door.stores.feeds.find_enabled()} == {7200}
    assert len(open_door.client.get("/imports").json()["items"]) == 2


def test_chosen_feed_that_is_there_already_is_named(open_door: Api, publisher: Publisher) -> None:
    add(open_door, publisher.url(), source="news")
    page = add(open_door, "x", chosen=[publisher.url(), publisher.url("/o")])
    assert "1 feeds are added" in page.message
    assert "feed 'news' has this URL already" in page.message


def test_several_feeds_cannot_have_one_source(open_door: Api, publisher: Publisher) -> None:
    both = [publisher.url(), publisher.url("/o")]
    page = add(open_door, "x", 422, chosen=both, source="news")
    assert "leave it empty for several feeds" in page.message
    assert urls(open_door) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(404), "404"),
        (Answer(200, b"<html><body>x</body></html>"), "web page without a link to a feed"),
        (Answer(200, b"just text"), "neither RSS, Atom"),
    ],
)
def test_url_without_a_feed_is_explained_and_may_be_added_as_it_is(
    open_door: Api, publisher: Publisher, answer: Answer, said: str
) -> None:
    url = publisher.answer("/x", answer)
    page = add(open_door, url, 422, source="later", schedule="cron", cron="0 6 * * *")
    assert said in page.message
    assert (page.value("urls"), page.value("source")) == (url, "later")
    assert page.value("cron") == "0 6 * * *"
    assert page.all("input", name="as_is")
    assert "What to do:" in page.text
    asked = publisher.count()
    add(open_door, url, source="later", as_is="true")
    assert (urls(open_door), publisher.count()) == ([url], asked)


def test_feed_behind_a_header_is_added_without_looking(
    open_door: Api, publisher: Publisher
) -> None:
    add(open_door, publisher.url(), source="locked", headers="Authorization: Bearer s3cr3t")
    feed = open_door.stores.feeds.get("locked")
    assert feed is not None
    assert feed.headers == {"Authorization": "Bearer s3cr3t"}
    assert publisher.count() == 0


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ({"urls": ""}, 422, "type the URL"),
        ({"urls": "https://a.example/ \n https://b.example/"}, 422, "type the URL"),
        ({"urls": "http://localhost/feed"}, 422, "localhost"),
        ({"urls": "ftp://a.example/feed"}, 422, "http://"),
        ({"urls": "a.example", "as_is": "true", "source": "Not A Slug"}, 422, "Source: must be 1"),
        ({"urls": "https://taken.example/", "as_is": "true"}, 409, "has this URL already"),
        ({"urls": "a.example", "as_is": "true", "source": "taken"}, 409, "is taken"),
    ],
)  # fmt: skip
def test_feed_that_is_refused_is_explained_beside_what_was_typed(
    api: Api, typed: dict[str, str], status: int, said: str
) -> None:
    api.post("/feeds", {"source": "taken", "url": "https://taken.example/"})
    page = post_form(api, "/admin/feeds-add", status, **typed)
    assert said in page.message
    assert page.value("urls") == typed["urls"]
    assert len(urls(api)) == 1


def test_adding_counts_as_a_start_and_says_when_to_try_again(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with open_api(redis_client, stores, api_rate_limit="1/minute") as api:
        add(api, "https://a.example/", as_is="true")
        page = add(api, "https://b.example/", 429, as_is="true")
        assert "try again in" in page.message
        assert page.value("urls") == "https://b.example/"
        assert len(urls(api)) == 1


def test_form_of_its_own_shows_all_fields(api: Api) -> None:
    page = get_page(api, "/admin/feeds-add")
    assert page.all("details", open="")
    assert page.all("input", name="every", placeholder="1 h")


WINDOW = {
    "window_from": "2026-11-01T00:00:00",
    "window_step_s": "3600",
    "window_in_flight": "2",
    "window_format": "epoch_s",
}


def test_windowed_feed_is_added_without_looking_at_its_url(api: Api) -> None:
    page = add(api, "https://board.example/?from={start}", source="board", **WINDOW)
    assert "Feed board is added and is being imported." in page.message
    window = api.client.get("/feeds/board").json()["window"]
    assert window["from"] == "2026-11-01T00:00:00.000Z"
    assert (window["step_s"], window["in_flight"], window["format"]) == (3600, 2, "epoch_s")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"window_from": ""}, "Window from '': a date and time is needed"),
        ({"window_from": "soon"}, "Window from 'soon'"),
        ({"window_step_s": "often"}, "Window step_s 'often': a whole number is accepted"),
        ({"window_step_s": ""}, "step_s"),
    ],
)
def test_window_that_is_refused_is_explained_and_kept(
    api: Api, typed: dict[str, str], said: str
) -> None:
    page = add(api, "https://board.example/?from={start}", 422, **(WINDOW | typed))
    assert said in page.message
    assert page.value("window_in_flight") == "2"
    assert api.client.get("/feeds").json()["items"] == []


def test_title_and_tags_are_typed_in_the_form(api: Api) -> None:
    add(api, URL_AS_IS, as_is="true", title=" My news ", tags="Tech, big news")
    [feed] = api.client.get("/feeds").json()["items"]
    assert (feed["title"], feed["tags"]) == ("My news", ["big", "news", "tech"])
