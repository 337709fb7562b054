"""Our sample feeds of each format, field by field."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.parsing import ParsedFeed, parse_feed
from shared.models import (
    Enclosure,
    ExtraField,
    FeedItem,
    content_hash,
    counters_hash,
    job_data,
)

FEEDS = Path(__file__).parents[1] / "feeds"
NOW = datetime(2026, 11, 3, tzinfo=UTC)


def parse(name: str, url: str = "https://feeds.example/sub/feed") -> ParsedFeed:
    return parse_feed((FEEDS / name).read_bytes(), content_type=None, url=url, now=NOW)


def parse_item(inner: str, **frame: str) -> FeedItem:
    """Return the only item of an RSS feed whose item holds ``inner``."""
    document = f"<rss version='2.0' {frame.get('ns', '')}><channel>{frame.get('channel', '')}"
    document += f"<item>{inner}</item></channel></rss>"
    url = frame.get("url", "https://feeds.example/feed")
    feed = parse_feed(document.encode(), content_type=None, url=url, now=NOW)
    return feed.entries[0].item


def test_rss_with_a_job_boards_namespace() -> None:
    feed = parse("jobs.xml")
    assert (feed.format, feed.version, feed.is_whole) == ("rss", "2.0", True)
    assert feed.title == "Harbour Board: jobs by the sea"
    assert feed.entries[0].item == FeedItem(
        guid="https://harbourboard.example/?p=1201",
        link="https://harbourboard.example/jobs/lighthouse-engineer",
        title="Lighthouse Engineer (Python & Optics)",
        summary="<p>Keep the lamp &amp; the code turning.</p>",
        content="<p>Keep the lamp turning.</p><ul><li>Fresnel lenses</li><li>Python</li></ul>",
        author="Nordlicht Signals",
        categories=("Engineering", "Night shift"),
        published_at=datetime(2026, 11, 2, 7, 15, tzinfo=UTC),
        extra=(
            ExtraField("job_listing:company", "Nordlicht Signals & Sons"),
            ExtraField("job_listing:location", "Kap Arkona"),
            ExtraField("job_listing:job_type", "Full Time"),
            ExtraField("job_listing:job_type", "Remote in winter"),
            ExtraField("job_listing:salary", "52000", {"currency": "EUR"}),
        ),
        formats=dict.fromkeys(("title", "extra"), "html"),
    )


def test_rss_enclosures_relative_links_and_unreadable_dates() -> None:
    feed = parse("jobs.xml")
    ferry, oysters = feed.entries[1].item, feed.entries[2].item
    assert ferry.link == "https://harbourboard.example/jobs/ferry-analyst"
    assert ferry.enclosures == (
        Enclosure("https://harbourboard.example/files/ferry.pdf", "application/pdf", 20480),
    )
    assert oysters.guid == oysters.link
    assert oysters.published_at is None
    assert "last Tuesday" in feed.warnings[0]


def test_the_publishers_wishes_about_polling_are_read() -> None:
    feed = parse("jobs.xml")
    assert (feed.ttl_s, feed.skip_hours, feed.skip_days) == (5400, {2, 3}, {"sunday"})


def test_atom_with_markup_people_and_relations() -> None:
    feed = parse("news.atom")
    item = feed.entries[0].item
    assert (feed.format, feed.version) == ("atom", "1.0")
    assert item.title == "Sails &lt;repaired&gt; at last"
    assert item.content == "<p>The <em>north</em> sail &amp; its rope turn again.</p>"
    assert item.author == "Mira Vane (mira@tidings.example), Otto Cog"
    assert item.categories == ("repairs", "sails")
    assert item.extra == (
        ExtraField("link", None, {"rel": "via", "href": "https://millers.example/notes/7"}),
        ExtraField("category", None, {"term": "repairs", "label": "Repairs"}),
        ExtraField("thr:total", "12"),
    )
    assert item.link == "https://tidings.example/blog/sails"
    assert item.updated_at == datetime(2026, 11, 2, 9, 30, 0, 250000, tzinfo=UTC)


def test_a_relative_id_stays_as_written_while_its_link_is_resolved() -> None:
    for url in ("https://a.example/x/feed", "https://b.example/feed"):
        entry = parse("news.atom", url).entries[1]
        assert entry.item.guid == "../posts/flour-day"
        assert entry.link == "https://tidings.example/posts/flour-day"
        assert entry.item.summary is None


def test_rdf_in_latin_1() -> None:
    feed = parse("bulletin.rdf")
    item = feed.entries[0].item
    assert (feed.format, feed.version, len(feed.entries)) == ("rdf", "1.0", 2)
    assert item.title == "Moss moved a millimètre"
    assert item.guid == "https://bulletin.example/2026/moss-moved"
    assert item.published_at == datetime(2026, 10, 31, 17, 4, tzinfo=UTC)
    assert item.extra == (ExtraField("slash:comments", "3"),)


def test_json_feed_and_its_items_of_wrong_types() -> None:
    feed = parse("garden.json")
    first, second = (entry.item for entry in feed.entries)
    assert (feed.format, feed.version) == ("json_feed", "1.1")
    assert first.link == "https://garden.example/log/9"
    assert first.author == "Iva Trellis, Sam Pot"
    assert first.extra[0] == ExtraField("_weather", '{"low":-1,"wind":"north"}')
    assert (second.guid, second.content) == ("8", "Watered everything.")
    assert len(feed.rejected) == 2
    assert feed.rejected[1].guid == "https://garden.example/log/6"
    assert "'title' is a number" in feed.rejected[1].reason


@pytest.mark.parametrize(
    ("link", "channel", "url", "resolved"),
    [
        ("/a", "<link>https://site.example/x/</link>", "https://f.example/y", "https://site.example/a"),
        ("a", "", "https://f.example/y/feed", "https://f.example/y/a"),
        ("a", "<link>/x/</link>", "https://f.example/y/feed", "https://f.example/x/a"),
        ("mailto:a@b.example", "", "https://f.example/", "mailto:a@b.example"),
        ("//cdn.example/a", "", "https://f.example/", "https://cdn.example/a"),
        ("http://[broken", "", "https://f.example/", "http://[broken"),
    ],
)  # fmt: skip
def test_links_are_resolved_by_channel_then_document(
    link: str, channel: str, url: str, resolved: str
) -> None:
    assert parse_item(f"<link>{link}</link>", channel=channel, url=url).link == resolved


@pytest.mark.parametrize(
    ("inner", "guid", "rung"),
    [
        ("<guid>g</guid><link>l</link>", "g", "guid"),
        ("<guid> \n </guid><link>https://x/1</link>", "https://x/1", "link"),
        ("<guid isPermaLink='false'/><link>https://x/1</link>", "https://x/1", "link"),
        ("<guid>N/A</guid><link>https://x/1</link>", "https://x/1", "link"),
        ("<guid>0</guid><link>https://x/1</link>", "https://x/1", "link"),
        ("<guid>https://feeds.example/feed</guid><link>/1</link>", "/1", "link"),
        ("<title>t</title><enclosure url='https://x/f.mp3'/>", "https://x/f.mp3", "enclosure"),
        ("<guid>https://x/a?b=1#c</guid>", "https://x/a?b=1#c", "guid"),
    ],
)
def test_the_guid_is_the_first_rung_that_holds(inner: str, guid: str, rung: str) -> None:
    document = f"<rss><channel><item>{inner}</item></channel></rss>".encode()
    entry = parse_feed(
        document, content_type=None, url="https://feeds.example/feed", now=NOW
    ).entries[0]
    assert (entry.item.guid, entry.guid_rung) == (guid, rung)


def test_items_without_any_identity_are_told_apart_by_what_they_say() -> None:
    texts = ["<title>a</title>", "<title>b</title>", "<description>c</description>",
             "<title>a</title><pubDate>Mon, 02 Nov 2026 10:00:00 GMT</pubDate>"]  # fmt: skip
    assert len({parse_item(text).guid for text in texts}) == 4


def test_an_empty_item_is_rejected_and_harms_no_other() -> None:
    document = b"<rss><channel><item/><item><guid>1</guid></item></channel></rss>"
    feed = parse_feed(document, content_type=None, url=None, now=NOW)
    assert [entry.item.guid for entry in feed.entries] == ["1"]
    assert [entry.reason for entry in feed.rejected] == ["the entry is empty"]


def test_counters_that_change_by_themselves_are_kept_but_are_no_content() -> None:
    ns = "xmlns:slash='http://purl.org/rss/1.0/modules/slash/' xmlns:j='urn:jobs'"
    inner = "<title>t</title><slash:comments>3</slash:comments><j:a>b</j:a>"
    item = parse_item(inner, ns=ns)
    assert item.extra == (ExtraField("slash:comments", "3"), ExtraField("j:a", "b"))
    data, later = (
        job_data("s", each) for each in (item, parse_item(inner.replace("3", "4"), ns=ns))
    )
    assert content_hash(data) == content_hash(later)
    assert counters_hash(data) != counters_hash(later)


def test_nested_extension_elements_keep_their_path() -> None:
    inner = "<title>t</title><j:place><j:city>Ur</j:city><j:city>Uruk</j:city></j:place>"
    item = parse_item(inner, ns="xmlns:j='urn:jobs'")
    assert item.extra == (
        ExtraField("j:place/j:city", "Ur"),
        ExtraField("j:place/j:city", "Uruk"),
    )


def test_known_modules_have_one_name_whatever_prefix_a_feed_gives_them() -> None:
    item = parse_item("<d:creator>Ada</d:creator><d:rights>all</d:rights>",
                      ns="xmlns:d='http://purl.org/dc/elements/1.1/'")  # fmt: skip
    assert (item.author, item.extra) == ("Ada", (ExtraField("dc:rights", "all"),))


def test_a_guid_is_the_link_only_when_it_is_an_address() -> None:
    assert parse_item("<guid>https://x.example/1</guid>").link == "https://x.example/1"
    assert parse_item("<guid>17</guid>").link is None
    assert parse_item("<guid isPermaLink='false'>https://x.example/1</guid>").link is None


def test_parsing_is_pure() -> None:
    for name in ("jobs.xml", "news.atom", "bulletin.rdf", "broken.xml", "garden.json"):
        assert parse(name) == parse(name)
