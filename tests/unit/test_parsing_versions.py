"""Every version of RSS, RDF, Atom and CDF gives the same item from the same facts."""

import re
from datetime import UTC, datetime

import pytest

from server.parsing import ParsedFeed, parse_feed
from server.parsing.parsed import hash_guid
from shared.models import Enclosure, ExtraField, FeedItem

NOW = datetime(2026, 11, 3, tzinfo=UTC)
TEN = datetime(2026, 11, 2, 10, tzinfo=UTC)
LINK = "https://site.example/1"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
RSS_090 = 'xmlns="http://my.netscape.com/rdf/simple/0.9/"'
RSS_10 = 'xmlns="http://purl.org/rss/1.0/"'
USERLAND = 'xmlns="http://backend.userland.com/rss2"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
MEDIA = 'xmlns:media="http://search.yahoo.com/mrss/"'
NETSCAPE = (
    '<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" '
    '"http://my.netscape.com/publish/formats/rss-0.91.dtd">'
)
PLAIN = f"<item><title>t</title><link>{LINK}</link><description>d</description></item>"
CHANNEL = f"<channel><title>f</title>{PLAIN}</channel>"
ATOM_10 = (
    f'<entry><id>{LINK}</id><title>t</title><link href="{LINK}"/><summary>d</summary>'
    "<updated>2026-11-02T10:00:00Z</updated></entry>"
)
ATOM_03 = (
    f'<entry><id>{LINK}</id><title>t</title><link rel="alternate" href="{LINK}"/>'
    "<summary>d</summary><issued>2026-11-02T10:00:00Z</issued>"
    "<modified>2026-11-02T10:00:00Z</modified></entry>"
)
PREFIXED_ATOM = re.sub(
    "<(/?)", r"<\1a:", f"<feed xmlns:a='http://www.w3.org/2005/Atom'>{ATOM_10}</feed>"
)
CDF_ITEM = f"<item href='{LINK}'><title>t</title><abstract>d</abstract></item>"


def parse(document: str) -> ParsedFeed:
    return parse_feed(document.encode(), content_type=None, url=None, now=NOW)


def parse_item(inner: str, namespaces: str = "") -> FeedItem:
    document = f"<rss version='2.0' {namespaces}><channel><item>{inner}</item></channel></rss>"
    return parse(document).entries[0].item


@pytest.mark.parametrize(
    ("document", "kind", "version"),
    [
        (f'<rss version="0.91">{CHANNEL}</rss>', "rss", "0.91"),
        (f'{NETSCAPE}<rss version="0.91">{CHANNEL}</rss>', "rss", "0.91"),
        (f'<rss version="0.92">{CHANNEL}</rss>', "rss", "0.92"),
        (f'<rss version="0.93">{CHANNEL}</rss>', "rss", "0.93"),
        (f'<rss version="0.94">{CHANNEL}</rss>', "rss", "0.94"),
        (f'<rss version="2.0">{CHANNEL}</rss>', "rss", "2.0"),
        (f'<rss version="2.0" {USERLAND}>{CHANNEL}</rss>', "rss", "2.0"),
        (f'<RSS VERSION="2.0">{CHANNEL.upper().replace(LINK.upper(), LINK)}</RSS>', "rss", "2.0"),
        (f"<rss>{CHANNEL}</rss>", "rss", ""),
        (f"<rdf:RDF {RDF} {RSS_090}><channel/>{PLAIN}</rdf:RDF>", "rdf", "0.90"),
        (f"<rdf:RDF {RDF} {RSS_10}><channel/>{PLAIN}</rdf:RDF>", "rdf", "1.0"),
        (f'<feed version="0.3" xmlns="http://purl.org/atom/ns#">{ATOM_03}</feed>', "atom", "0.3"),
        (f'<feed xmlns="http://www.w3.org/2005/Atom">{ATOM_10}</feed>', "atom", "1.0"),
        (PREFIXED_ATOM, "atom", "1.0"),
        (f"<channel href='https://site.example/'>{CDF_ITEM}</channel>", "cdf", ""),
    ],
)
def test_each_version_gives_the_same_item(document: str, kind: str, version: str) -> None:
    feed = parse(document)
    assert (feed.format, feed.version, feed.is_whole) == (kind, version, True)
    item = feed.entries[0].item
    assert (item.guid, item.link) == (LINK, LINK)
    assert ((item.title or "").lower(), (item.summary or "").lower()) == ("t", "d")
    assert item.extra == ()


@pytest.mark.parametrize(
    ("element", "field"),
    [
        ("<pubDate>Mon, 02 Nov 2026 10:00:00 GMT</pubDate>", "published_at"),
        ("<dc:date>2026-11-02T10:00Z</dc:date>", "published_at"),
        ("<dc:date>2026-11-02T10:00Z</dc:date>", "updated_at"),
        ("<published>2026-11-02T10:00:00Z</published>", "published_at"),
        ("<issued>2026-11-02T11:00:00+01:00</issued>", "published_at"),
        ("<created>2026-11-02T10:00:00Z</created>", "published_at"),
        ("<updated>2026-11-02T10:00:00Z</updated>", "updated_at"),
        ("<modified>2026-11-02T10:00:00Z</modified>", "updated_at"),
        ("<lastBuildDate>Mon, 02 Nov 2026 05:00:00 EST</lastBuildDate>", "updated_at"),
    ],
)
def test_each_date_element_is_read_and_is_no_extra(element: str, field: str) -> None:
    item = parse_item(f"<title>t</title>{element}", DC)
    assert getattr(item, field) == TEN
    assert item.extra == ()


def test_a_date_out_of_bounds_is_absent_warned_of_and_costs_no_item() -> None:
    dates = ("1893456000", "Sun, 01 Dec 2041 00:00:00 GMT", "02/11/2026", "")
    items = "".join(f"<item><title>{n}</title><pubDate>{date}</pubDate></item>"
                    for n, date in enumerate(dates))  # fmt: skip
    feed = parse(f"<rss><channel>{items}</channel></rss>")
    assert [entry.item.published_at for entry in feed.entries] == [None] * 4
    assert feed.warnings[0].startswith("3 date(s) left out")


def test_a_date_that_moves_changes_neither_guid_nor_hash_fields() -> None:
    early = parse_item("<guid>1</guid><pubDate>Mon, 02 Nov 2026 10:00:00 GMT</pubDate>")
    late = parse_item("<guid>1</guid><pubDate>Mon, 02 Nov 2026 11:00:00 GMT</pubDate>")
    assert (early.guid, early.extra) == (late.guid, late.extra)


def test_enclosures_of_every_format_are_kept_in_order_and_as_often_as_they_come() -> None:
    item = parse_item(
        '<enclosure url="https://x/1.mp3" length="9" type="audio/mpeg"/>'
        '<enclosure url="https://x/2.mp3" length="unknown"/><enclosure url=""/>'
        '<a:link rel="enclosure" href="https://x/3.mp4" type="video/mp4" length="99"/>',
        'xmlns:a="http://www.w3.org/2005/Atom"',
    )
    assert item.enclosures == (
        Enclosure("https://x/1.mp3", "audio/mpeg", 9),
        Enclosure("https://x/2.mp3", None, None),
        Enclosure("https://x/3.mp4", "video/mp4", 99),
    )
    assert item.guid == "https://x/1.mp3"


def test_relative_enclosures_are_resolved_and_identify_as_written() -> None:
    document = (
        '<rss xml:base="https://base.example/a/"><channel><item><title>t</title>'
        '<enclosure url="1.mp3"/><enclosure url="/2.mp3" xml:base="https://own.example/"/>'
        "</item></channel></rss>"
    )
    item = parse(document).entries[0].item
    assert [enclosure.url for enclosure in item.enclosures] == [
        "https://base.example/a/1.mp3",
        "https://own.example/2.mp3",
    ]
    assert item.guid == "1.mp3"


def test_media_elements_are_kept_with_their_attributes_and_repeats() -> None:
    item = parse_item(
        "<title>t</title><media:group>"
        '<media:content url="https://x/1.jpg" medium="image"/>'
        '<media:content url="https://x/2.jpg" medium="image"/></media:group>'
        '<media:thumbnail url="https://x/t.jpg"/><media:statistics views="7"/>',
        MEDIA,
    )
    assert item.extra == (
        ExtraField(
            "media:group/media:content", None, {"url": "https://x/1.jpg", "medium": "image"}
        ),
        ExtraField(
            "media:group/media:content", None, {"url": "https://x/2.jpg", "medium": "image"}
        ),
        ExtraField("media:thumbnail", None, {"url": "https://x/t.jpg"}),
        ExtraField("media:statistics", None, {"views": "7"}),
    )
    assert item.enclosures == (Enclosure("https://x/1.jpg"), Enclosure("https://x/2.jpg"))


def test_an_items_source_and_unknown_elements_are_extra_in_document_order() -> None:
    item = parse_item("<b>2</b><title>t</title><source url='https://o/f'>Other</source><b>1</b>")
    assert item.extra == (
        ExtraField("b", "2"),
        ExtraField("source", "Other", {"url": "https://o/f"}),
        ExtraField("b", "1"),
    )


def test_the_feeds_own_address_is_no_guid_wherever_it_was_fetched() -> None:
    own = '<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="self" href="https://own.example/f"/>'
    document = f"<rss><channel>{own}<item><guid>https://own.example/f</guid><link>{LINK}</link>"
    assert parse(f"{document}</item></channel></rss>").entries[0].item.guid == LINK


@pytest.mark.parametrize("guid", ["", " ", "N/A", "n/a", "0", "-", "#", "none", "NULL", "\t0\n"])
def test_a_placeholder_is_a_missing_guid(guid: str) -> None:
    item = parse_item(f"<guid>{guid}</guid><link>{LINK}</link><title>t</title>")
    assert item.guid == LINK
    assert parse_item(f"<guid>{guid}</guid><link>{guid}</link><title>t</title>").guid.startswith(
        "sha256:"
    )


def test_xml_base_goes_before_the_channels_link() -> None:
    document = (
        '<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://base.example/a/">'
        '<link href="https://channel.example/"/><entry xml:base="b/"><id>x/1</id>'
        '<link href="c"/></entry><entry><id>2</id><link href="/d" xml:base="https://own.example/"/>'
        "</entry></feed>"
    )
    first, second = parse(document).entries
    assert (first.item.guid, first.item.link) == ("x/1", "https://base.example/a/b/c")
    assert second.item.link == "https://own.example/d"


def parse_xhtml(inner: str, frame: str = "", identity: str = "<id>1</id>") -> FeedItem:
    """Return the only entry of an Atom feed whose content is XHTML."""
    content = f'<content type="xhtml">{inner}</content>'
    link = '<link href="https://link.example/z"/>' if identity else ""
    document = f'<feed xmlns="http://www.w3.org/2005/Atom" {frame}><entry>{identity}{link}'
    return parse(f"{document}{content}</entry></feed>").entries[0].item


def test_xml_base_of_the_div_around_xhtml_is_the_contents() -> None:
    item = parse_xhtml('<div xml:base="https://inner.example/q/"><a href="v">v</a></div>')
    assert (item.content, item.bases) == (
        '<a href="v">v</a>', {"content": "https://inner.example/q/"}
    )  # fmt: skip
    item = parse_xhtml('<div xml:base="q/">v<br/></div>', frame='xml:base="https://b.example/a/"')
    assert item.bases["content"] == "https://b.example/a/q/"


@pytest.mark.parametrize(
    ("inner", "resolved"),
    [
        ('<p xml:base="https://i.example/q/"><a href="v">v</a></p>', ["https://i.example/q/v"]),
        ('<p><img xml:base="https://i.example/q/" src="/v"/></p>', ["https://i.example/v"]),
        (('<p xml:base="https://i.example/"><b xml:base="r/"><a href="v">v</a></b></p>'
         '<a href="w">w</a>'), ["https://i.example/r/v", "w"]),
        ('<p xml:base="q/"><a href="v">v</a></p>', ["q/v"]),
        (('<p xml:base="https://i.example/"><a href="http://a.example/">v</a>'
         '<a href="mailto:a@b.example">w</a></p>'), ["http://a.example/", "mailto:a@b.example"]),
        ('<p xml:base="//["><a href="v">v</a></p>', ["v"]),
    ],
)  # fmt: skip
def test_xml_base_inside_xhtml_resolves_what_is_in_its_element(
    inner: str, resolved: list[str]
) -> None:
    item = parse_xhtml(f"<div>{inner}<i>a</i></div>")
    assert re.findall(r' (?:href|src)="([^"]*)"', item.content or "") == resolved
    assert item.bases == {}


def test_xml_base_inside_xhtml_changes_no_identity() -> None:
    inner = "<div><p xml:base='https://{}.example/'><a href='v'>v</a></p></div>"
    one, other = (parse_xhtml(inner.format(host), identity="") for host in ("i", "j"))
    assert (one.content or "").count("https://i.example/v") == 1
    raw = hash_guid((None, None, None, '<p xml:base="https://i.example/"><a href="v">v</a></p>'))
    assert (one.guid, one.guid == other.guid) == (raw, False)


def test_a_long_xml_base_does_not_swell_a_text_without_end() -> None:
    base = "https://i.example/" + "x" * 10_000 + "/"
    item = parse_xhtml(f'<div><p xml:base="{base}">' + '<a href="v">v</a>' * 5000 + "</p></div>")
    assert 30_000 < len(item.content or "") < 200_000
