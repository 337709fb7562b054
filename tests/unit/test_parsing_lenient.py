"""Ill-formed documents: what is repaired or read leniently, and that neither changes an item."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.parsing import ParsedFeed, parse_feed
from server.parsing.lenient import Lenience
from shared.errors import ParseError
from shared.models import content_hash, job_data

JOBS = (Path(__file__).parents[1] / "feeds" / "jobs.xml").read_bytes()
NOW = datetime(2026, 11, 3, tzinfo=UTC)


def parse(document: bytes | str, lenience: Lenience = "feedparser") -> ParsedFeed:
    body = document.encode() if isinstance(document, str) else document
    url = "https://feeds.example/f"
    return parse_feed(body, content_type=None, url=url, now=NOW, lenience=lenience)


def fingerprints(feed: ParsedFeed) -> list[tuple[str, str]]:
    return [(e.item.guid, content_hash(job_data("s", e.item))) for e in feed.entries]


def rss(*items: str) -> str:
    return "<rss version='2.0'><channel>" + "".join(items) + "</channel></rss>"


def test_the_broken_sample_gives_its_whole_items_and_names_the_cut_one() -> None:
    feed = parse((Path(__file__).parents[1] / "feeds" / "broken.xml").read_bytes())
    assert [entry.item.title for entry in feed.entries] == [
        "Found: one ladder – yours?",
        "Lost: a cat named Ampersand & her bell",
    ]
    assert not feed.is_whole
    assert [(cut.guid, cut.is_cut) for cut in feed.rejected] == [
        ("https://notices.example/n/3", True)
    ]


@pytest.mark.parametrize(
    ("sound", "faulty"),
    [
        (b"<ttl>90</ttl>", b"<ttl>90</ttl><copyright>A & B</copyright>"),
        (b"<ttl>90</ttl>", b"<ttl>90</ttl><copyright>&raquo; all &nbsp;</copyright>"),
        (b"<ttl>90</ttl>", b"<ttl>90</ttl><copyright>&#x110000; &#55296; &#0;</copyright>"),
        (b"<ttl>90</ttl>", b"<ttl>90</ttl><copyright>bell \x07 null \x00</copyright>"),
        (b"<ttl>90</ttl>", b"<ttl>90</ttl><copyright>caf\xe9</copyright>"),
        (b' xmlns:job_listing="https://harbourboard.example"', b""),
        (b"xmlns:dc=", b"xmlns:unused="),
        (b'<?xml version="1.0" encoding="UTF-8"?>', b'\n\n<?xml version="1.1"?>\n<!DOCTYPE rss>'),
    ],
)
def test_mending_leaves_ids_and_hashes_as_those_of_the_sound_feed(
    sound: bytes, faulty: bytes
) -> None:
    assert sound in JOBS
    assert fingerprints(parse(JOBS.replace(sound, faulty, 1))) == fingerprints(parse(JOBS))


def test_an_ampersand_in_one_item_changes_no_other() -> None:
    broken = JOBS.replace(b"Ferry Timetable Analyst", b"Ferry & Timetable Analyst")
    sound, repaired = fingerprints(parse(JOBS)), fingerprints(parse(broken))
    assert [sound[0], sound[2]] == [repaired[0], repaired[2]]
    assert parse(broken).entries[1].item.title == "Ferry & Timetable Analyst"


def test_an_ampersand_in_cdata_stays_as_it_is() -> None:
    feed = parse(
        rss("<item><title>a & b</title><description><![CDATA[c & d &amp; e]]></description></item>")
    )
    assert feed.entries[0].item.title == "a & b"
    assert feed.entries[0].item.summary == "c & d &amp; e"


@given(st.integers(min_value=0, max_value=len(JOBS) - 1))
def test_a_cut_document_gives_only_items_that_were_closed(cut_at: int) -> None:
    try:
        feed = parse(JOBS[:cut_at], "strict")
    except ParseError:
        assert b"</item>" not in JOBS[:cut_at]
        return
    closed = JOBS[:cut_at].count(b"</item>")
    assert fingerprints(feed) == fingerprints(parse(JOBS))[:closed]
    assert not feed.is_whole or JOBS[cut_at:].strip() in (b"", b">")


CROSSED = rss(
    "<item><guid>1</guid></item>",
    "<item><guid>2</guid><title>a<description>b</title>c</description></item>",
    "<item><guid>3</guid></item>",
)


def test_without_lenience_only_what_stands_before_the_damage_is_taken() -> None:
    feed = parse(CROSSED, "off")
    assert [entry.item.guid for entry in feed.entries] == ["1"]
    assert [(cut.guid, cut.is_cut) for cut in feed.rejected] == [("2", True)]
    assert not feed.is_whole


def test_the_strict_reader_alone_reads_the_undamaged_items_and_rejects_the_others() -> None:
    feed = parse(CROSSED, "strict")
    assert [entry.item.guid for entry in feed.entries] == ["1", "3"]
    assert [(dead.guid, dead.is_cut) for dead in feed.rejected] == [("2", False)]
    assert "mismatched tag in line 1" in feed.rejected[0].reason
    assert not feed.is_whole


def test_what_may_mean_several_things_is_read_by_feedparser_and_says_so() -> None:
    feed = parse(CROSSED)
    read_by = [(entry.item.guid, entry.item.read_by) for entry in feed.entries]
    assert read_by == [("1", None), ("2", "feedparser"), ("3", None)]
    assert not feed.is_whole


@pytest.mark.parametrize("cut", ["<title>half", "<title>t</title><link>http", "<title>a</title>"])
def test_an_only_item_that_is_cut_is_read_with_the_elements_that_were_closed(cut: str) -> None:
    feed = parse(f"<rss><channel><item><guid>1</guid>{cut}")
    assert [(e.written_guid, e.written_link, e.item.read_by) for e in feed.entries] == [
        ("1", None, "feedparser")
    ]
    assert not feed.is_whole


def test_an_only_item_that_is_cut_before_its_identity_is_no_item_but_no_refusal_either() -> None:
    feed = parse("<rss><channel><item><title>half")
    assert (feed.entries, [cut.is_cut for cut in feed.rejected]) == ((), [True])
    assert "damaged: line 1: the document breaks off inside an item" in feed.warnings


def test_a_half_read_guid_names_nothing() -> None:
    whole = "<item><guid>1</guid></item>"
    cut = parse(f"<rss><channel>{whole}<item><title>whole</title><guid>https://x/12").rejected[0]
    assert cut.title == "whole"
    assert cut.guid.startswith("sha256:")


@pytest.mark.parametrize(
    "noise",
    [
        "Notice: undefined index in feed.php\n",
        "<br />\n<b>Warning</b>: undefined index in <b>feed.php</b> on line <b>3</b><br />\n",
        "<!-- cached --><div class='error'>slow</div>",
    ],
)
def test_messages_before_the_feed_are_skipped(noise: str) -> None:
    assert fingerprints(parse(noise.encode() + JOBS)) == fingerprints(parse(JOBS))


def test_a_feed_without_items_is_a_feed() -> None:
    feed = parse(rss())
    assert (feed.entries, feed.rejected, feed.is_whole) == ((), (), True)


@pytest.mark.parametrize("after", [b"<script>track()</script>", b"Warning: slow", b"<!-- ", b"&"])
def test_noise_after_the_feed_costs_nothing(after: bytes) -> None:
    feed = parse(JOBS + after)
    assert fingerprints(feed) == fingerprints(parse(JOBS))
    assert feed.is_whole
    assert "not well-formed" in feed.warnings[0]


@pytest.mark.parametrize("lenience", ["strict", "off"])
@pytest.mark.parametrize("document", ["<rss><channel><title>x", "<rss><channel><item><title>x"])
def test_a_document_without_one_whole_item_before_its_damage_fails(
    document: str, lenience: Lenience
) -> None:
    with pytest.raises(ParseError) as caught:
        parse(document, lenience)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize(
    "frame",
    [
        "<rss xmlns:job_listing='urn:x'>",
        "<rss xmlns:a='x>y' xmlns:job='urn:x'>",
        "<rss>",
        "<rss title='a > b'>",
    ],
)
def test_a_prefix_is_declared_where_it_is_missing_and_only_there(frame: str) -> None:
    items = "<item><title>a & b</title><job:x>1</job:x><p><![CDATA[ a\u00b2:b=1 d:e= ]]></p></item>"
    feed = parse(f"{frame}<channel>{items}</channel></rss>")
    assert feed.is_whole
    extra = {field.name: field.value for field in feed.entries[0].item.extra}
    assert extra["job:x"] == "1"


def test_a_prefix_declared_further_in_keeps_its_meaning_when_repaired() -> None:
    channel = "<channel xmlns:d='http://purl.org/dc/elements/1.1/'>"
    feed = parse(f"<rss>{channel}<item><title>a & b</title><d:creator>Ada</d:creator></item>"
                 "</channel></rss>")  # fmt: skip
    assert feed.entries[0].item.author == "Ada"
