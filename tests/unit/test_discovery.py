"""Feeds that web pages name: found as browsers would, whatever else the page is made of."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.parsing import parse_feed
from server.parsing.isolation import ParserPool
from server.parsing.page_feeds import MAX_FEEDS, MAX_PAGE_LENGTH, WebPageError, find_feeds
from server.parsing.parsed import NamedFeed
from shared.errors import ParseError

PAGE = "https://site.example/blog/post"
NOW = datetime(2026, 11, 3, tzinfo=UTC)
LINK = '<link rel="alternate" type="application/rss+xml" href="/feed.xml">'
FEED = "https://site.example/feed.xml"


def urls(page: str, url: str | None = PAGE) -> list[str]:
    return [feed.url for feed in find_feeds(page, url=url)]


def link(href: str, kind: str = "application/rss+xml") -> str:
    return f'<link rel="alternate" type="{kind}" href="{href}">'


def test_feed_is_named_with_its_title_and_type() -> None:
    page = (
        "<!doctype html><html><head><title>Blog</title>"
        '<link rel="alternate" type="application/atom+xml; charset=utf-8" href="/atom"'
        ' title="News &amp;\n  &#8220;more&#8221;"></head><body></body></html>'
    )
    atom = "https://site.example/atom"
    assert find_feeds(page, url=PAGE) == (NamedFeed(atom, "News & “more”", "application/atom+xml"),)


@pytest.mark.parametrize(
    "written",
    [
        LINK,
        "<link rel=alternate type=application/rss+xml href=/feed.xml>",
        "<LINK REL='Alternate' TYPE='Application/RSS+XML' HREF='/feed.xml' />",
        "<link\n\thref=/feed.xml\n\ttype=application/rss+xml\n\trel='home alternate'\n>",
        '<link rel="feed" href="/feed.xml">',
        '<link rel="feed alternate" type="text/html" href="/feed.xml">',
        link("&#47;feed&period;xml"),
        link("  /feed.xml\n"),
        link("/feed.xml#top"),
        link("//site.example/feed.xml"),
        link("HTTPS://me:secret@site.example/feed.xml"),
        link("../feed.xml", "text/xml"),
        link("../feed.xml", "application/rdf+xml"),
        link("../feed.xml", "application/feed+json"),
        link("../feed.xml", "application/json"),
        "<link href='/a' href='/b' rel=alternate>" + LINK,
        "<p>no head at all<div>" + LINK,
        "<![if !IE]><![unheard of[x]]><!x>" + LINK,
        "<meta content='never closed><div class=\"x>" + LINK + "'\">" + LINK,
        "<a b='never closed <i>" + LINK,
        "</ ></x y=1><? php ?>< <3 &#" + "9" * 5000 + ";" + LINK,
    ],
)
def test_link_is_found_however_it_is_written(written: str) -> None:
    assert urls(written) == [FEED]


@pytest.mark.parametrize(
    "written",
    [
        "<link rel=alternate href=/feed.xml>",
        "<link rel=stylesheet type=text/css href=/feed.xml>",
        "<link rel=alternate hreflang=de type=text/html href=/de>",
        "<link rel='alternate stylesheet' type=text/css href=/x.css>",
        "<link rel=alternate type=application/rss+xml>",
        "<link rel=alternate type=application/rss+xml href='  '>",
        link("javascript:alert(1)"),
        link("ftp://site.example/feed"),
        link("file:///etc/passwd"),
        link("https://[::1/feed"),
        link("/" + "x" * 5000),
        link("/a\x01\u202e"),
        link("/wp-json/wp/v2/posts/7", "application/json"),
        link("/oembed?url=x", "application/json+oembed"),
        f"<!-- {LINK} -->",
        f"<!-- {LINK}",
        f"<script>document.write('{LINK}')</script>",
        f"<script>document.write('{LINK}')",
        f'<p title="{LINK.replace(chr(34), chr(39))}">',
        "&lt;link rel=feed href=/feed.xml&gt;",
    ],
)
def test_what_names_no_feed_that_can_be_fetched_is_left_out(written: str) -> None:
    assert urls(written) == []


@pytest.mark.parametrize(
    ("base", "href", "address"),
    [
        ("https://cdn.example/x/", "feed", "https://cdn.example/x/feed"),
        ("/x/", "feed", "https://site.example/x/feed"),
        ("", "feed", "https://site.example/blog/feed"),
        ("https://[bad", "/feed", "https://site.example/feed"),
        ("javascript:0", "https://a.example/feed", "https://a.example/feed"),
        ("/x/", "?feed=rss2&amp;x=a b", "https://site.example/x/?feed=rss2&x=a%20b"),
    ],
)
def test_links_are_resolved_against_the_first_base_wherever_it_stands(
    base: str, href: str, address: str
) -> None:
    page = f"{link(href)}<base target=_top><base href='{base}'><base href='https://no.example/'>"
    assert urls(page) == [address]


def test_page_without_address_names_only_absolute_links() -> None:
    assert urls(LINK + link("https://a.example/f"), url=None) == ["https://a.example/f"]


def test_each_feed_is_named_once_in_order_and_at_most_20() -> None:
    many = [f"https://a.example/{number}" for number in range(MAX_FEEDS + 5)]
    page = "".join(link(address) * 2 for address in many)
    assert urls(page) == many[:MAX_FEEDS]


def test_only_the_beginning_of_a_page_is_read() -> None:
    blanks = " " * (MAX_PAGE_LENGTH - len(LINK))
    assert urls(blanks + LINK) == [FEED]
    assert urls(blanks + " " + LINK) == []


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("<" * 1_000_000, id="brackets"),
        pytest.param("<a " * 300_000, id="unclosed tags"),
        pytest.param("<a b='" * 170_000, id="unclosed quotes"),
        pytest.param("<a b='\"" * 140_000 + ">", id="nested quotes"),
        pytest.param("<a b=\"'>" * 140_000, id="crossed quotes"),
        pytest.param("<!--" * 250_000, id="comments"),
        pytest.param("<!-- --!>" * 110_000, id="odd comments"),
        pytest.param("<![CDATA[" * 110_000, id="cdata"),
        pytest.param("<script></" * 100_000, id="scripts"),
        pytest.param("</" * 500_000, id="end tags"),
        pytest.param("<?" * 500_000, id="instructions"),
        pytest.param("<a" + " " * 999_000, id="blanks"),
        pytest.param("<a" + " /" * 499_000, id="slashes"),
        pytest.param("<a " + "b=c " * 249_000 + ">", id="attributes"),
        pytest.param("<a " + "b = " * 249_000 + ">", id="loose attributes"),
        pytest.param("&#" * 500_000, id="references"),
        pytest.param("&" * 1_000_000, id="ampersands"),
        pytest.param(LINK * 100_000, id="100k links"),
        pytest.param("".join(link(f"/{n}") for n in range(100_000)), id="100k different links"),
        pytest.param("<link rel=feed href=" + "x" * 999_999, id="one long link"),
        pytest.param(f"<base href='{'../' * 99_000}'>" + link("x") * 9000, id="long base"),
        pytest.param(link("a/../" * 200) * 500, id="long paths"),
    ],
)  # fmt: skip
def test_hostile_pages_cost_no_more_than_their_length(page: str) -> None:
    started_s = time.process_time()
    assert len(find_feeds(page, url=PAGE)) <= MAX_FEEDS
    assert time.process_time() - started_s < 3.0


@settings(max_examples=300)
@given(
    st.text(alphabet="<>&;#/!-[]\"' =abehiklnrstxABCDT:?.\t\n\x00\ud800é9", max_size=200),
    st.sampled_from(["{}", "<link rel=feed href={}>", "<base href='{}'>" + LINK, "<!{}" + LINK]),
)
def test_no_page_raises(inner: str, frame: str) -> None:
    assert len(urls(frame.format(inner))) <= MAX_FEEDS


def parse(page: str, url: str | None = PAGE) -> None:
    parse_feed(page.encode(), content_type="text/html", url=url, now=NOW)


@pytest.mark.parametrize(
    ("links", "said"),
    [
        (LINK, f"a web page instead of a feed; it links to: {FEED}"),
        (LINK + link("/2") + link("/3"), f"it links to: {FEED} (and 2 more)"),
        (link("/f?token=s3cr3t"), "it links to: https://site.example/f?token=***"),
    ],
)
def test_page_instead_of_a_feed_says_which_feeds_it_names(links: str, said: str) -> None:
    with pytest.raises(WebPageError) as caught:
        parse(f"<!DOCTYPE html><html><head>{links}</head></html>")
    assert caught.value.kind == "html"
    assert said in str(caught.value)


def test_page_that_names_feeds_is_no_challenge_whatever_script_its_shield_adds() -> None:
    with pytest.raises(WebPageError):
        parse(f"<html>{LINK}<script src='/_Incapsula_Resource?SWJIYLWA=1'></script></html>")


def test_page_without_feeds_stays_a_plain_refusal() -> None:
    with pytest.raises(ParseError, match=r"^a web page instead of a feed$") as caught:
        parse("<html><body>Not found</body></html>")
    assert not isinstance(caught.value, WebPageError)


def test_named_feeds_come_out_of_the_parser_process() -> None:
    with ParserPool(1) as pool, pytest.raises(WebPageError) as caught:
        pool.parse(f"<html>{LINK}</html>".encode(), content_type=None, url=PAGE, now=NOW)
    assert caught.value.feeds == (NamedFeed(FEED, None, "application/rss+xml"),)
