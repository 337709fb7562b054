"""Finding feeds over HTTP: a page is fetched once, from loopback, and nothing is stored."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any

import pytest

from server.feeds.discovery import MAX_DISCOVERIES, Discovery
from shared.queue import RedisConnection
from shared.store import Stores
from tests.api import Api, open_api
from tests.feeds.make_feed import make_feed
from tests.publisher import Answer, Publisher

PAGE = """<!DOCTYPE html><html><head><title>Blog</title>
<link rel="alternate" type="application/rss+xml" title="News" href="/feed.xml">
<link rel="alternate" type="application/atom+xml" href="http://me:pw@other.example/a?token=s3cr3t">
</head><body>Hello</body></html>"""


@pytest.fixture
def open_door(redis_client: RedisConnection, stores: Stores) -> Iterator[Api]:
    """An API that may fetch from loopback."""
    settings = {"fetch_allow_private": True, "fetch_per_host": MAX_DISCOVERIES}
    with open_api(redis_client, stores, **settings) as opened:
        yield opened


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


def discover(api: Api, url: str) -> Any:
    return api.post("/feeds/discover", {"url": url})


def test_page_names_its_feeds_and_nothing_is_stored(open_door: Api, publisher: Publisher) -> None:
    url = publisher.serve("/blog", PAGE, content_type="text/html")
    answer = discover(open_door, url)
    assert answer.status_code == 200
    assert answer.json() == {
        "feeds": [
            {"url": publisher.url(), "title": "News", "type": "application/rss+xml"},
            {
                "url": "http://other.example/a?token=s3cr3t",
                "title": None,
                "type": "application/atom+xml",
            },
        ],
        "is_feed": False,
    }
    assert publisher.count() == 1
    assert open_door.client.get("/feeds").json()["items"] == []
    assert open_door.client.get("/imports").json()["items"] == []


def test_feed_names_itself_as_asked_for(open_door: Api, publisher: Publisher) -> None:
    publisher.serve("/new", make_feed(1))
    url = publisher.redirect("/old", "/new", 301)
    shown = discover(open_door, url.replace("http://", "http://me:s3cr3t@")).json()
    assert shown["is_feed"] is True
    [found] = shown["feeds"]
    assert found["url"] == url.replace("http://", "http://***@")
    assert found["type"] == "application/rss+xml"
    assert found["title"]


def test_links_are_relative_to_where_redirects_led(open_door: Api, publisher: Publisher) -> None:
    publisher.serve("/blog/", PAGE.replace('"/feed.xml"', '"feed.xml"'), content_type="text/html")
    shown = discover(open_door, publisher.redirect("/", "/blog/")).json()
    assert shown["feeds"][0]["url"] == publisher.url("/blog/feed.xml")


def test_what_is_no_feed_is_left_out(open_door: Api, publisher: Publisher) -> None:
    page = """<html><head>
        <link rel=alternate type=application/json href=/index.json title=search>
        <link rel="alternate" type="application/json+oembed" href="/oembed?url=x">
        <link rel=alternate type=text/xml href=/sitemap.xml>
        <link rel=alternate type=text/xml href=/plain.xml>
        <link rel=alternate type=application/json href=/gone.json>
        <link rel=alternate type=application/rss+xml href=/blog/index.xml title=Blog>
        </head><body>hello</body></html>"""
    url = publisher.serve("/", page, content_type="text/html")
    publisher.serve("/index.json", '[{"title": "A page", "href": "/a"}]')
    publisher.serve("/sitemap.xml", "<urlset><url><loc>http://a.example/</loc></url></urlset>")
    publisher.serve("/plain.xml", make_feed(1))
    found = [each["url"] for each in discover(open_door, url).json()["feeds"]]
    # What could not be looked at, for now perhaps, is not judged.
    assert found == [
        publisher.url(path) for path in ("/plain.xml", "/gone.json", "/blog/index.xml")
    ]
    assert publisher.count("/blog/index.xml") == 0


def test_a_feed_named_by_the_link_header_alone_is_found(
    open_door: Api, publisher: Publisher
) -> None:
    header = (
        '</style.css>; rel=preload, </feed.atom>; rel="alternate"; type="application/atom+xml"; '
        'title="A, b", <https://b.example/f>; type=application/rss+xml; rel="home alternate"'
    )
    url = publisher.serve("/", "<html><p>x</html>", headers={"Link": header})
    assert discover(open_door, url).json()["feeds"] == [
        {"url": publisher.url("/feed.atom"), "title": "A, b", "type": "application/atom+xml"},
        {"url": "https://b.example/f", "title": None, "type": "application/rss+xml"},
    ]


def test_links_in_the_text_are_looked_at_where_there_are_no_others(
    open_door: Api, publisher: Publisher
) -> None:
    page = (
        '<html><body><a href="/about">About</a> <a href=/no/feed/>x</a> <A HREF="/news/rss">RSS</A>'
    )
    url = publisher.serve("/", page, content_type="text/html")
    publisher.serve("/no/feed/", "<html>Feed your cat</html>", content_type="text/html")
    publisher.serve("/news/rss", make_feed(1))
    assert [each["url"] for each in discover(open_door, url).json()["feeds"]] == [
        publisher.url("/news/rss")
    ]
    assert publisher.count("/about") == 0


def test_page_without_feeds_is_an_empty_list(open_door: Api, publisher: Publisher) -> None:
    url = publisher.serve("/", "<html><body>Not here</body></html>", content_type="text/html")
    assert discover(open_door, url).json() == {"feeds": [], "is_feed": False}


@pytest.mark.parametrize(
    ("answer", "status", "kind", "said"),
    [
        (Answer(404), 502, "http_status", "server answered 404"),
        (Answer(429, headers={"Retry-After": "60"}), 502, "rate_limited", "server answered 429"),
        (Answer(302, headers={"Location": "ftp://x/"}), 502, "redirect", "http:// or https://"),
        (Answer(200, b""), 502, "empty", "the document is empty"),
        (Answer(200, b'{"error": "no"}'), 502, "json_error", "an error in JSON"),
        (Answer(200, b"<title>Just a moment...</title>"), 502, "waf_challenge", "bot shield"),
        (Answer(200, b"hello"), 502, "not_a_feed", "neither RSS"),
        (Answer(hang=True), 504, "timeout", "took too long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_had_is_a_problem_that_says_why(
    redis_client: RedisConnection,
    stores: Stores,
    publisher: Publisher,
    answer: Answer,
    status: int,
    kind: str,
    said: str,
) -> None:
    url = publisher.answer("/x", answer)
    with open_api(redis_client, stores, fetch_allow_private=True, fetch_timeout_s=0.5) as api:
        got = discover(api, url.replace("http://", "http://me:s3cr3t@"))
    assert got.status_code == status
    assert got.headers["content-type"] == "application/problem+json"
    assert got.json()["kind"] == kind
    assert said in got.json()["detail"]
    assert "s3cr3t" not in got.text


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://127.0.0.1/"},
        {"url": "http://[::1]/"},
        {"url": "http://0x7f.1/"},
        {"url": "file:///etc/passwd"},
        {"url": "not a url"},
        {"url": ""},
        {"url": "https://a.example/", "source": "x"},
        {},
    ],
)
def test_address_that_may_not_be_fetched_is_refused(api: Api, body: dict[str, str]) -> None:
    answer = api.post("/feeds/discover", body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_discovery_counts_as_a_call_that_starts_work(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with open_api(redis_client, stores, api_rate_limit="1/minute") as api:
        assert discover(api, "http://127.0.0.1/").status_code == 422
        refused = discover(api, "http://127.0.0.1/")
        assert refused.status_code == 429
        assert "retry-after" in refused.headers


def test_few_are_looked_at_at_a_time_and_room_comes_back(
    open_door: Api, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = publisher.serve("/", PAGE, content_type="text/html")
    discoverer, arrived, go_on = open_door.services.discoverer, Semaphore(0), Event()
    look_at = discoverer._look_at

    def look_at_when_told(checked: str) -> Discovery:
        arrived.release()
        assert go_on.wait(20)
        return look_at(checked)

    monkeypatch.setattr(discoverer, "_look_at", look_at_when_told)
    with ThreadPoolExecutor(MAX_DISCOVERIES) as pool:
        running = [pool.submit(discover, open_door, url) for _ in range(MAX_DISCOVERIES)]
        for _ in running:
            assert arrived.acquire(timeout=20)
        refused = discover(open_door, url)
        go_on.set()
        assert [each.result(20).status_code for each in running] == [200] * MAX_DISCOVERIES
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert discover(open_door, url).status_code == 200


def test_host_that_asked_to_be_left_alone_is_not_asked(
    open_door: Api, publisher: Publisher
) -> None:
    url = publisher.answer("/busy", Answer(429, headers={"Retry-After": "120"}))
    assert discover(open_door, url).status_code == 502
    answer = discover(open_door, publisher.url("/blog"))
    assert answer.status_code == 502
    assert "rate-limited by " in answer.json()["detail"]
    assert publisher.count() == 1
    open_door.clock.advance(seconds=121)
    publisher.serve("/blog", PAGE, content_type="text/html")
    assert discover(open_door, publisher.url("/blog")).status_code == 200
