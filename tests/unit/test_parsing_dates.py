"""Dates in whole documents: read together, and kept where they cannot be read."""

import json
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import pytest

from server.parsing import ParsedFeed, parse_feed
from shared.models import ExtraField, FeedItem, content_hash, counters_hash, job_data

NOW = datetime(2026, 11, 3, tzinfo=UTC)
# Written, and what is meant; some from reports about other readers.
MEANT = [
    ("Mon, May 25 2020 04:45:26 +0000", "2020-05-25T04:45:26Z"),
    ("Sun, 15 Dec 2024 12:15 PM", "2024-12-15T12:15:00Z"),
    ("Ke, 30 Lok 2013 11:34:37 +0000", "2013-10-30T11:34:37Z"),
    ("WED,23 MAY 2012 02:23:01", "2012-05-23T02:23:01Z"),
    ("Tue, 18 Sept 2018 15:53:56 +0300", "2018-09-18T12:53:56Z"),
    ("Sun, 06 Sep 2009 16:18:00 EST", "2009-09-06T21:18:00Z"),
    ("Чт, 02 окт 2025 10:00:00 +0300", "2025-10-02T07:00:00Z"),
    ("2025年11月2日 10:00", "2025-11-02T10:00:00Z"),
    ("Pzt, 03 Kas 2025 10:00:00 +0300", "2025-11-03T07:00:00Z"),
    ("czw., 02 paź 2025 10:00:00 +0200", "2025-10-02T08:00:00Z"),
    ("Thu, 02 Oct 2025 10:00:00 GMT+02:00", "2025-10-02T08:00:00Z"),
    ("2025-10-02T10:00:00+02", "2025-10-02T08:00:00Z"),
    ("1759392000", "2025-10-02T08:00:00Z"),
    ("Лютий 19, 2023, 12:19", "2023-02-19T12:19:00Z"),
    ("6 marraskuuta 2013", "2013-11-06T00:00:00Z"),
]


def parse_rss(*dates: str, head: str = "", name: str = "pubDate") -> list[FeedItem]:
    items = "".join(
        f"<item><guid>{number}</guid><title>t</title><{name}>{escape(date)}</{name}></item>"
        for number, date in enumerate(dates)
    )
    document = f'<rss version="2.0"><channel>{head}{items}</channel></rss>'
    return [entry.item for entry in parse(document).entries]


def parse(document: str) -> ParsedFeed:
    return parse_feed(document.encode(), content_type=None, url="https://x.example/f", now=NOW)


def test_dates_of_many_lands_are_read_as_meant_in_one_document() -> None:
    items = parse_rss(*(written for written, _ in MEANT))
    expected = [datetime.fromisoformat(meant) for _, meant in MEANT]
    assert [item.published_at for item in items] == expected


def test_one_certain_date_tells_the_order_of_all_in_the_document() -> None:
    items = parse_rss("07.08.2026 10:00", "27.08.2026 10:00")
    assert [item.published_at for item in items] == [
        datetime(2026, 8, 7, 10, tzinfo=UTC), datetime(2026, 8, 27, 10, tzinfo=UTC),
    ]  # fmt: skip
    items = parse_rss("Wed, 08/05/2026 - 15:09", "08/07/2026 - 15:09")
    assert items[1].published_at == datetime(2026, 8, 7, 15, 9, tzinfo=UTC)


def test_dates_of_one_document_that_contradict_leave_the_others_unknown() -> None:
    items = parse_rss("07/08/2026", "27/08/2026", "08/27/2026")
    assert [item.published_at is None for item in items] == [True, False, False]
    assert items[0].extra == (ExtraField("published", "07/08/2026"),)


@pytest.mark.parametrize(
    "head", ["<language>pl-PL</language>", "<dc:language xmlns:dc='http://purl.org/dc/elements/1.1/'>pl</dc:language>"]
)  # fmt: skip
def test_the_channels_language_tells_a_month_of_two_languages(head: str) -> None:
    assert parse_rss("7 listopada 2025")[0].published_at is None
    assert parse_rss("7 listopada 2025", head=head)[0].published_at == datetime(
        2025, 11, 7, tzinfo=UTC
    )


def test_the_language_of_an_atom_feed_is_its_xml_lang() -> None:
    entry = "<entry><id>1</id><title>t</title><updated>7 listopada 2025</updated></entry>"
    feed = parse(f'<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="hr">{entry}</feed>')
    assert feed.entries[0].item.updated_at == datetime(2025, 10, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    "written", ["two weeks ago", "Sun, 01 Jan 2034 10:00:00 GMT", "07/08/2026"]
)
def test_a_date_left_out_is_kept_word_for_word_outside_the_hash(written: str) -> None:
    [item] = parse_rss(written)
    assert item.published_at is None
    assert item.extra == (ExtraField("published", written),)
    [dated] = parse_rss("Mon, 02 Nov 2026 10:00:00 GMT")
    data = job_data("s", item)
    assert content_hash(data) == content_hash(job_data("s", dated))
    assert counters_hash(data) is None


def test_a_date_left_out_changes_no_identity() -> None:
    document = "<rss><channel><item><description>d</description>%s</item></channel></rss>"
    one = parse(document % "<pubDate>x</pubDate>").entries[0]
    document = document % "<pubDate>x</pubDate><slash:comments>2</slash:comments>"
    two = parse(
        document.replace("<rss", "<rss xmlns:slash='http://purl.org/rss/1.0/modules/slash/'")
    )
    assert one.item.guid == two.entries[0].item.guid


def test_json_dates_are_read_together_and_kept_as_well() -> None:
    dates = ["07/08/2026", "27/08/2026", "soon"]
    items = [{"id": str(n), "date_modified": date} for n, date in enumerate(dates)]
    document = {"version": "https://jsonfeed.org/version/1.1", "items": items}
    entries = parse(json.dumps(document)).entries
    assert [entry.item.updated_at for entry in entries] == [
        datetime(2026, 8, 7, tzinfo=UTC), datetime(2026, 8, 27, tzinfo=UTC), None,
    ]  # fmt: skip
    assert entries[2].item.extra == (ExtraField("updated", "soon"),)
