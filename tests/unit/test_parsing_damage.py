"""Damaged feeds: each item comes with the id and the hash that the corrected feed would give."""

import contextlib
import time
from datetime import UTC, datetime

import pytest

from server.parsing import ParsedFeed, parse_feed
from server.parsing.isolation import ParserPool
from server.parsing.lenient import MAX_WARNINGS, Lenience
from server.parsing.lenient_feedparser import MAX_PIECE, MAX_PIECES
from shared.errors import ParseError
from shared.models import content_hash, job_data

NOW = datetime(2026, 11, 3, tzinfo=UTC)
HEAD = "<title>t</title><link>http://a.example.test/</link>"
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'


def parse(document: str, lenience: Lenience = "feedparser") -> ParsedFeed:
    url = "https://f.example/f"
    return parse_feed(document.encode(), content_type=None, url=url, now=NOW, lenience=lenience)


def fingerprints(feed: ParsedFeed) -> list[tuple[str, str]]:
    return [(e.item.guid, content_hash(job_data("s", e.item))) for e in feed.entries]


def rss(*items: str, head: str = HEAD) -> str:
    return f'<rss version="2.0">\n<channel>{head}\n' + "\n".join(items) + "\n</channel></rss>"


def item(number: int, inner: str) -> str:
    return f'<item><guid isPermaLink="false">{number}</guid>{inner}</item>'


def between(inner: str) -> str:
    """A feed of three items, the second of which holds ``inner``."""
    return rss(item(1, "<title>a</title>"), item(2, inner), item(3, "<title>c &amp; d</title>"))


FAULTS = {
    "bare <": ("<title>x < y</title>", "<title>x &lt; y</title>"),
    "<3": ("<title>I <3 U &amp; me</title>", "<title>I &lt;3 U &amp; me</title>"),
    "<br>": ("<description>a<br>b</description>", "<description>a&lt;br&gt;b</description>"),
    "<p>": ("<description><p>a<p>b</description>",
            "<description><![CDATA[<p>a<p>b]]></description>"),
    "<img>": ('<description>a <img src="/x.png" alt> b</description>',
              '<description><![CDATA[a <img src="/x.png" alt> b]]></description>'),
    "crossed": ("<description><b>a<i>b</b></i></description>",
                "<description>&lt;b&gt;a&lt;i&gt;b&lt;/b&gt;&lt;/i&gt;</description>"),
    "generic": ("<title>a List<String> b</title>", "<title>a List&lt;String&gt; b</title>"),
    "bare attribute": ('<enclosure url="http://a/1" download type="x/y"/>',
                       '<enclosure url="http://a/1" type="x/y"/>'),
    "empty attribute": ('<enclosure url="http://a/1" length= type="x/y"/>',
                        '<enclosure url="http://a/1" type="x/y"/>'),
    "no quotes": ("<enclosure url=http://a/1?x=1&y=2 type=x/y />",
                  '<enclosure url="http://a/1?x=1&amp;y=2" type="x/y"/>'),
    "attribute twice": ('<enclosure url="http://a/1" length="1" length="2" type="x"/>',
                        '<enclosure url="http://a/1" length="1" type="x"/>'),
    "attributes together": ('<enclosure url="http://a/1"length="1"type="x"/>',
                            '<enclosure url="http://a/1" length="1" type="x"/>'),
    "< in an attribute": ('<category domain="a<b">c</category>',
                          '<category domain="a&lt;b">c</category>'),
    "nested CDATA": ("<description><![CDATA[x <![CDATA[y]]> z]]></description>",
                     "<description><![CDATA[x y z]]></description>"),
    "open CDATA": ("<description><![CDATA[x y</description>",
                   "<description><![CDATA[x y]]></description>"),
    "]]>": ("<title>x ]]> y</title>", "<title>x ]]&gt; y</title>"),
    "comment": ("<!-- a -- b --><title>x</title>", "<title>x</title>"),
    "open comment": ("<title>x</title><!-- a", "<title>x</title>"),
    "stray end tag": ("<title>x</title></b>", "<title>x</title>"),
    "stray end tag inside": ("<description>x</b> y</description>",
                             "<description>x&lt;/b&gt; y</description>"),
    "slip in an end tag": ("<title>x</titel><link>http://a/2</link>",
                           "<title>x</title><link>http://a/2</link>"),
    "no end tag": ("<title>x<link>http://a/2</link>", "<title>x</title><link>http://a/2</link>"),
    "case": ("<Title>x</title>", "<title>x</title>"),
    "markup in the date": ("<pubDate><b>Mon, 02 Nov 2026 10:00:00 GMT<b></pubDate>",
                           "<pubDate>Mon, 02 Nov 2026 10:00:00 GMT</pubDate>"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_one_item_gives_ids_and_hashes_of_the_corrected_feed(fault: str) -> None:
    broken, corrected = (parse(between(inner)) for inner in FAULTS[fault])
    assert fingerprints(broken) == fingerprints(corrected)
    assert [entry.item.guid for entry in broken.entries] == ["1", "2", "3"]
    assert all(entry.item.read_by is None for entry in broken.entries)
    assert broken.is_whole
    assert any("line 4" in warning for warning in broken.warnings)


FRAMES = {
    "mismatch": (HEAD + "<language>en</langauge>", HEAD + "<language>en</language>"),
    "bare <": (HEAD + "<description>a < b</description>", HEAD),
    "<br>": (HEAD + "<description>a<br>b</description>", HEAD),
    "stray end": (HEAD + "</b>", HEAD),
    "bare attribute": (HEAD + "<cloud domain=x port/>", HEAD),
    "open comment": (HEAD + "<!-- a", HEAD),
}


@pytest.mark.parametrize("fault", FRAMES)
def test_a_fault_around_the_items_costs_none(fault: str) -> None:
    items = item(1, "<title>a</title><link>/1</link>"), item(2, "<title>b</title>")
    broken, corrected = (parse(rss(*items, head=head)) for head in FRAMES[fault])
    assert fingerprints(broken) == fingerprints(corrected)
    assert (broken.title, broken.entries[0].link) == ("t", "http://a.example.test/1")


@pytest.mark.parametrize(
    ("root", "corrected"),
    [
        ("<rss version=2.0>", "<rss version='2.0'>"),
        (f"<rss {DC} version='2.0' {DC}>", f"<rss {DC} version='2.0'>"),
        (f"<rss hidden {DC}>", f"<rss {DC}>"),
        ("<rss xmlns:dc=' http://purl.org/dc/elements/1.1/'>", f"<rss {DC}>"),
        ("<rss xmlns:dc='http://purl.org/dc/\nelements/1.1/'>", f"<rss {DC}>"),
    ],
)
def test_a_fault_in_the_root_element_costs_nothing(root: str, corrected: str) -> None:
    body = f"<channel>{HEAD}{item(1, '<dc:creator>Ada</dc:creator>')}</channel></rss>"
    feed = parse(root + body)
    assert fingerprints(feed) == fingerprints(parse(corrected + body))
    assert feed.entries[0].item.author == "Ada"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_one_missing_end_tag_of_an_item_costs_nothing(number: int) -> None:
    sound = between("<title>b</title>")
    pieces = sound.split("</item>")
    broken = "</item>".join(pieces[:number]) + "</item>".join(["", *pieces[number:]])[7:]
    feed = parse(broken)
    assert broken.count("</item>") == 2
    assert fingerprints(feed) == fingerprints(parse(sound))
    assert "</item> is missing" in " ".join(feed.warnings)


def test_what_looks_like_an_item_in_cdata_and_comments_splits_nothing() -> None:
    quoted = "<![CDATA[</item><item><guid>no</guid></item>]]>"
    feed = parse(rss(item(1, f"<description>{quoted}</description>"), "<!-- <item>no</item> -->",
                     item(2, "<title>a<br>b</title>"),
                     item(3, f"<description>{quoted}</description>")))  # fmt: skip
    assert [entry.item.guid for entry in feed.entries] == ["1", "2", "3"]
    assert feed.entries[2].item.summary == "</item><item><guid>no</guid></item>"


def test_lists_of_items_inside_an_item_stay_in_it_when_another_is_damaged() -> None:
    listed = "<list><item>a</item><item>b</item></list><title>x</title>"
    sound = rss(item(1, listed), item(2, "<title>b</title>"), item(3, listed))
    broken = sound.replace("<title>b", "<title>b < c", 1)
    assert [pair for pair in fingerprints(parse(broken)) if pair[0] != "2"] == [
        pair for pair in fingerprints(parse(sound)) if pair[0] != "2"
    ]


def test_in_atom_xhtml_with_an_open_br_is_what_it_would_be_closed() -> None:
    def feed(inner: str) -> ParsedFeed:
        content = f'<content type="xhtml"><div>{inner}</div></content>'
        return parse('<feed xmlns="http://www.w3.org/2005/Atom"><title>t</title>'
                     f"<entry><id>1</id>{content}</entry></feed>")  # fmt: skip

    assert fingerprints(feed("a<br>b < c")) == fingerprints(feed("a<br/>b &lt; c"))


def test_crossed_elements_of_an_item_are_read_by_feedparser_under_the_same_id() -> None:
    crossed = "<title>a<description>b</title>c</description><category>k</category>"
    feed = parse(between(crossed))
    assert [(e.item.guid, e.item.read_by) for e in feed.entries] == [
        ("1", None), ("2", "feedparser"), ("3", None)
    ]  # fmt: skip
    assert feed.entries[1].item.categories == ("k",)
    assert not feed.is_whole
    assert "line 4: the item was read by feedparser" in " ".join(feed.warnings)


def test_no_more_items_go_to_feedparser_than_may_and_the_others_are_named() -> None:
    crossed = "<title>a<description>b</title>c</description>"
    count = MAX_PIECES + 5
    feed = parse(rss(*(item(number, crossed) for number in range(1, count + 1))))
    assert [entry.item.guid for entry in feed.entries] == [str(n + 1) for n in range(MAX_PIECES)]
    assert [entry.guid for entry in feed.rejected] == [
        str(n) for n in range(MAX_PIECES + 1, count + 1)
    ]
    assert len(feed.warnings) <= MAX_WARNINGS + 2


def test_an_item_with_more_bare_brackets_than_are_repaired_is_read_by_feedparser() -> None:
    feed = parse(between("<title>b</title><description>" + "a < b " * 600 + "</description>"))
    assert [(e.item.guid, e.item.read_by) for e in feed.entries] == [
        ("1", None), ("2", "feedparser"), ("3", None)
    ]  # fmt: skip
    assert feed.entries[1].item.title == "b"


# More of it than feedparser is asked for.
LONG = "<description>" + "a < b " * (MAX_PIECE // 6) + "</description>"
DATED = "<title>x</title><pubDate>Mon, 02 Nov 2026 10:00:00 GMT</pubDate><author>Ada</author>"
IDENTITIES = {
    "guid": "<title>x</title>{}<guid isPermaLink=false>a&amp;1</guid>",
    "guid in CDATA": "<!-- <guid>0</guid> -->{}<guid><![CDATA[a&amp;1]]></guid><link>/1</link>",
    "link": "<title>x</title>{}<link>http://a/1?b&amp;c</link>",
    "enclosure": "<title>x</title>{}<enclosure url='http://a/1.mp3' type='audio/mpeg'/>",
    "title": "<source><title>no</title><id>0</id></source>" + DATED + "{}",
}


@pytest.mark.parametrize("lenience", ["feedparser", "strict"])
@pytest.mark.parametrize("identity", IDENTITIES)
def test_an_unreadable_item_has_the_id_of_the_corrected_one(
    identity: str, lenience: Lenience
) -> None:
    sound = f"<item>{IDENTITIES[identity]}</item>".format(LONG.replace("<", "&lt;"))
    broken = f"<item>{IDENTITIES[identity]}</item>".format(LONG)
    [dead] = parse(rss(item(1, ""), broken), lenience).rejected
    assert dead.guid == parse(rss(item(1, ""), sound)).entries[1].item.guid


@pytest.mark.parametrize("lenience", ["feedparser", "strict"])
def test_the_id_of_an_unreadable_item_is_its_own_wherever_it_stands(lenience: Lenience) -> None:
    crossed = "<title>a<guid>b</title>{}</guid>" + LONG
    one, two = (f"<item>{crossed.format(text)}</item>" for text in "cd")
    first = parse(rss(one + two), lenience).rejected
    moved = rss(item(1, ""), item(2, ""), one.replace(" ", "\n  ", 1), two)
    later = parse(moved, lenience)
    assert [dead.guid for dead in first] == [dead.guid for dead in later.rejected]
    assert first[0].guid != first[1].guid
    assert first[0].guid.startswith("sha256:")


@pytest.mark.parametrize("reference", ["&#x110000;", "&#55296;", "&#99999999999;"])
def test_references_to_no_character_cost_no_item_in_the_hands_of_feedparser(reference: str) -> None:
    feed = parse(between(f"<title>a<description>{reference}b</title>c</description>"))
    assert [entry.item.guid for entry in feed.entries] == ["1", "2", "3"]


def test_a_document_that_only_feedparser_can_read_is_not_refused() -> None:
    feed = parse(f'<rss version="2.0><channel>{item(1, "<title>a</title>")}</channel></rss>')
    assert [(e.item.guid, e.item.read_by) for e in feed.entries] == [("1", "feedparser")]
    assert not feed.is_whole


def test_the_parser_process_reads_as_the_setting_says() -> None:
    body = between("<title>a<description>b</title>c</description>").encode()
    counts = {}
    for lenience in ("feedparser", "strict", "off"):
        with ParserPool(1, wall_s=30.0, lenience=lenience) as pool:
            feed = pool.parse(body, content_type=None, url=None, now=NOW)
        counts[lenience] = (len(feed.entries), len(feed.rejected))
    assert counts == {"feedparser": (3, 0), "strict": (2, 1), "off": (1, 1)}


def test_an_emoji_written_as_two_halves_is_one_character() -> None:
    for halves in ("&#55357;&#56832;", "&#xD83D;&#xDE00;", "&#xd83d;&#56832;"):
        feed = parse(between(f"<title>a {halves} b &#55357; c</title>"))
        assert feed.entries[1].item.title == "a \U0001f600 b  c"


MODULES = ["http://search.yahoo.com/mrss/", "http://www.itunes.com/dtds/podcast-1.0.dtd",
           "http://purl.org/dc/elements/1.1/", "http://www.w3.org/1999/xhtml",
           "http://purl.org/rss/1.0/modules/content/"]  # fmt: skip


@pytest.mark.parametrize("address", MODULES)
@pytest.mark.parametrize("place", ["<rss", "<channel", "<item"])
def test_a_modules_address_as_default_namespace_hides_no_item(address: str, place: str) -> None:
    inner = "<title>a</title><link>http://a/1</link><description>d</description>"
    sound = f"<rss><channel>{HEAD}{item(1, inner)}</channel></rss>"
    feed = parse(sound.replace(place, f'{place} xmlns="{address}"', 1))
    assert fingerprints(feed) == fingerprints(parse(sound))


def test_a_modules_own_elements_keep_their_meaning_without_a_prefix() -> None:
    inner = (
        '<group xmlns="http://search.yahoo.com/mrss/"><title>m</title></group>'
        '<creator xmlns="http://purl.org/dc/elements/1.1/">Ada</creator>'
    )
    feed = parse(rss(item(1, inner)))
    assert feed.entries[0].item.author == "Ada"
    assert [field.name for field in feed.entries[0].item.extra] == ["media:group/media:title"]


def test_a_feed_whose_items_are_none_is_never_silent() -> None:
    feed = parse(
        "<rss xmlns:x='urn:x'><channel><x:item><x:guid>1</x:guid></x:item></channel></rss>"
    )
    assert feed.entries or any("item" in warning for warning in feed.warnings)


@pytest.mark.parametrize("namespace", ['xmlns="http://www.w3.org/2005/Atom"', ""])
def test_a_document_that_is_one_entry_is_read(namespace: str) -> None:
    feed = parse(f"<entry {namespace}><id>1</id><title>a</title></entry>")
    assert (feed.format, [entry.item.guid for entry in feed.entries]) == ("atom", ["1"])
    broken = parse(f"<entry {namespace}><id>1</id><title>a < b</title></entry>")
    assert [entry.item.title for entry in broken.entries] == ["a < b"]


def test_rss_1_1_with_prefixes_is_read() -> None:
    feed = parse('<r:Channel xmlns:r="http://purl.org/net/rss1.1#"><r:title>t</r:title><r:items>'
                 "<r:item><r:title>a</r:title><r:link>http://a/1</r:link></r:item>"
                 "</r:items></r:Channel>")  # fmt: skip
    assert [entry.item.guid for entry in feed.entries] == ["http://a/1"]


DEEP = {
    "<br>": ("<description>" + "a<br>" * 200 + "</description>",
             "<description>" + "a&lt;br&gt;" * 200 + "</description>"),
    "<img>": ("<description>" + "a<img src='/x.png'>" * 200 + "</description>",
              "<description><![CDATA[" + "a<img src='/x.png'>" * 200 + "]]></description>"),
    "<li>": ("<description><ul>" + "<li>a" * 200 + "</ul></description>",
             "<description><![CDATA[<ul>" + "<li>a" * 200 + "</ul>]]></description>"),
    "closed": ("<description>" + "<div>" * 200 + "a" + "</div>" * 200 + "</description>",
               "<description><![CDATA[" + "<div>" * 200 + "a" + "</div>" * 200
               + "]]></description>"),
}  # fmt: skip


@pytest.mark.parametrize("fault", DEEP)
def test_hundreds_of_open_elements_in_one_item_cost_nothing(fault: str) -> None:
    broken, corrected = (parse(between(inner)) for inner in DEEP[fault])
    assert fingerprints(broken) == fingerprints(corrected)
    assert [entry.item.guid for entry in broken.entries] == ["1", "2", "3"]
    assert broken.is_whole
    assert any("line 4: the item was repaired" in warning for warning in broken.warnings)


def test_hundreds_of_items_without_end_tag_are_all_read() -> None:
    sound = [item(number, "<title>a</title>") for number in range(200)]
    feed = parse(rss(*(each.removesuffix("</item>") for each in sound)))
    assert fingerprints(feed) == fingerprints(parse(rss(*sound)))


def test_hundreds_of_open_elements_around_the_items_cost_none() -> None:
    head = HEAD + "<description>" + "a<br>" * 200 + "</description>"
    items = item(1, "<title>a</title><link>/1</link>"), item(2, "<title>b</title>")
    assert fingerprints(parse(rss(*items, head=head))) == fingerprints(parse(rss(*items)))


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param("<q:a>" * 2000 + "</q:a>" * 2000, id="closed"),
        pytest.param("<q:a>" * 2000 + "<" + "</q:a>" * 2000, id="damaged"),
        pytest.param("< " + "<q:a>" * 2000 + "<" + "</q:a>" * 2000, id="damaged before"),
    ],
)
def test_an_item_that_is_too_deep_is_rejected_and_the_others_are_read(inner: str) -> None:
    feed = parse(between("<title>b</title>" + inner))
    assert fingerprints(feed) == [
        pair for pair in fingerprints(parse(between("<title>b</title>"))) if pair[0] != "2"
    ]
    assert [(entry.guid, entry.title) for entry in feed.rejected] == [("2", "b")]
    assert "nested deeper than 150" in feed.rejected[0].reason


def test_before_items_that_are_too_deep_the_others_are_read_when_none_is_to_be_repaired() -> None:
    body = between("<description>" + "a<br>" * 200 + "</description>").encode()
    feeds = [
        parse_feed(body, content_type=None, url=None, now=NOW, lenience=lenience)
        for lenience in ("strict", "off")
    ]
    assert [[entry.item.guid for entry in feed.entries] for feed in feeds] == [["1", "3"], ["1"]]
    assert [[entry.guid for entry in feed.rejected] for feed in feeds] == [["2"], ["2"]]


HOSTILE = {
    "deep": between("<title>a<description>" + "<b>" * 140 + "</title>c</description>"),
    "deep items": rss(*[item(n, "<x>" * 160 + "<" + "</x>" * 160) for n in range(600)]),
    "deepest items": rss(*[item(n, "<x>" * 9000 + "<" + "</x>" * 9000) for n in range(10)]),
    "deep in unclear": between("<x>" * 20_001 + "</x>" * 20_001),
    "crossed and wide": between("<title>a<description>" + "<b>x</b>" * 4500 + "</title></descript"),
    "crossed everywhere": rss(*[item(n, "<title>a<guid>b</title>c</guid>") for n in range(1500)]),
    "open quotes": between("<a b='" * 30_000),
    "open tags": between("<x:y>" * 10_000),
    "open texts": between("<title>" * 15_000),
    "open cdata": between("<title><![CDATA[" * 15_000),
    "quotes and brackets": between('<a b="<"' * 15_000),
    "open items": rss("<item><title>x < y" * 4_000),
    "many damaged": rss(*[item(n, "<title>a<br>b</title>") for n in range(1500)]),
    "unclosed guids": between("<guid><![CDATA[" * 60_000 + "<"),
    "open containers": between("a < b <author><id>" * 10_000 + "<source>" * 10_000),
    "half comments": rss("<!-- <item>" * 5_000, item(1, "<title>a < b</title>")),
    "declarations": "<rss " + " ".join(f'xmlns:p{n}="urn:{n}"' for n in range(190)) + ">"
    + "<channel>" + item(1, "<title>a < b</title>") * 3000 + "</channel></rss>",
}  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_damage_costs_seconds_at_most(attack: str) -> None:
    started_s = time.process_time()
    with contextlib.suppress(ParseError):
        parse(HOSTILE[attack])
    assert time.process_time() - started_s < 3.0
