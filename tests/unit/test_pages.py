"""Pages of a feed: which of them are asked, and with what of the feed's own secrets."""

from datetime import UTC, datetime

import pytest

from server.importing.pages import PageLimits, follow_links
from server.importing.values import Run, UrlAnswer
from server.parsing import ParsedFeed
from shared.store import Feed, Import, ImportState, Trigger
from shared.urls import is_same_site, with_login

NOW = datetime(2026, 11, 1, tzinfo=UTC)
OWN = "https://user:pw@a.example/feed"


def answer(url: str, next_page: str | None, final_url: str | None = None) -> UrlAnswer:
    parsed = ParsedFeed("rss", "2.0", None, ())
    return UrlAnswer(url, 200, parsed=parsed, final_url=final_url or url, next_page=next_page)


def asked_behind(first: UrlAnswer, headers: dict[str, str] | None = None) -> list[str]:
    """Return which pages are asked behind a first one."""
    importing = Import("i1", "a", [first.url], Trigger.API, ImportState.FETCHING, NOW)
    feed = Feed(source="a", urls=[first.url], created_at=NOW, headers=headers or {})
    asked: list[str] = []

    def ask(url: str) -> UrlAnswer:
        asked.append(url)
        return answer(url, None)

    run = Run(importing, feed, 1)
    list(follow_links(first, run, ask, PageLimits(10, 10**6), share_left=lambda: 1.0))
    return asked


def test_a_page_of_the_feeds_own_site_is_asked_with_its_login() -> None:
    assert asked_behind(answer(OWN, "https://a.example/feed?page=2")) == [
        "https://user:pw@a.example/feed?page=2"
    ]


def test_neither_login_nor_headers_go_to_another_site_that_a_feed_leads_to() -> None:
    there = "https://b.example/feed?page=2"
    assert asked_behind(answer(OWN, there, "https://b.example/feed")) == []
    plain = answer("https://a.example/feed", there, "https://b.example/feed")
    assert asked_behind(plain, headers={"X-Key": "secret"}) == []
    assert asked_behind(plain) == [there]


@pytest.mark.parametrize(
    ("url", "is_same"),
    [
        ("https://a.example/2", True),
        ("https://a.example:443/2", True),
        ("https://A.example/2", True),
        ("https://a.example:8443/2", False),
        ("http://a.example/2", False),
        ("https://b.example/2", False),
        ("https://a.example.b.example/2", False),
        ("https://a.example:x/2", False),
        ("/2", False),
    ],
)
def test_a_site_is_scheme_host_and_port(url: str, is_same: bool) -> None:
    assert is_same_site(url, OWN) is is_same
    assert ("user:pw@" in with_login(url, OWN)) is is_same


def test_a_site_by_http_is_the_same_by_https() -> None:
    assert is_same_site("https://a.example/2", "http://a.example/feed")
    assert not is_same_site("https://a.example:8443/2", "http://a.example/feed")
