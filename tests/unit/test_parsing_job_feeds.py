"""Job boards' feeds as their plugins write them, and as they write them when they are broken."""

from datetime import UTC, datetime

import pytest

from server.importing.identity import identify
from server.parsing import ParsedFeed, parse_feed
from shared.models import ExtraField, content_hash, job_data

NOW = datetime(2026, 11, 3, tzinfo=UTC)
ITEM = """<item>
<title><![CDATA[AI &amp; Data Lead]]></title>
<link>https://board.example/jobs/ai-data-lead/</link>
<guid isPermaLink="false">https://board.example/?post_type=job_listing&#038;p=123</guid>
<dc:creator><![CDATA[Acme &amp; Sons<br />Berlin]]></dc:creator>
<content:encoded><![CDATA[<p>R&amp;D &#8211; caf&eacute;</p>]]></content:encoded>
<job_listing:company><![CDATA[Acme &amp; Sons]]></job_listing:company>
<job_listing:location></job_listing:location>
<job_listing:job_type>Full Time</job_listing:job_type>
<job_listing:job_type>Remote</job_listing:job_type>
<job_listing:job_category>R&amp;D</job_listing:job_category>
</item>"""
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
CONTENT = 'xmlns:content="http://purl.org/rss/1.0/modules/content/"'
JOB = 'xmlns:job_listing="https://board.example"'


def feed(*items: str, namespaces: str = f"{DC} {CONTENT} {JOB}", before: str = "") -> ParsedFeed:
    document = f'<rss version="2.0" {namespaces}><channel>{before}{"".join(items)}</channel></rss>'
    return parse_feed(document.encode(), content_type=None, url=None, now=NOW)


def fingerprints(parsed: ParsedFeed) -> list[tuple[str, str]]:
    items = identify([parsed.entries], colliding=()).items
    return [(item.guid, content_hash(job_data("s", item))) for item in items]


def test_a_posts_query_address_is_its_guid_and_the_pretty_one_its_link() -> None:
    item = feed(ITEM).entries[0].item
    assert item.guid == "https://board.example/?post_type=job_listing&p=123"
    assert item.link == "https://board.example/jobs/ai-data-lead/"


def test_entities_inside_cdata_stay_as_written() -> None:
    item = feed(ITEM).entries[0].item
    assert item.title == "AI &amp; Data Lead"
    assert item.author == "Acme &amp; Sons<br />Berlin"
    assert item.content == "<p>R&amp;D &#8211; caf&eacute;</p>"


def test_repeated_elements_are_all_kept_and_empty_ones_left_out() -> None:
    assert feed(ITEM).entries[0].item.extra == (
        ExtraField("job_listing:company", "Acme &amp; Sons"),
        ExtraField("job_listing:job_type", "Full Time"),
        ExtraField("job_listing:job_type", "Remote"),
        ExtraField("job_listing:job_category", "R&D"),
    )


@pytest.mark.parametrize(
    ("namespaces", "before"),
    [
        (f"{DC} {CONTENT}", ""),
        (JOB, ""),
        ("", ""),
        (f"{DC} {CONTENT} {JOB}", "<description>a & b</description>"),
        (f"{DC} {CONTENT}", "<copyright>&copy; &raquo;</copyright>"),
        (f"{DC} {CONTENT} {JOB}", "<description>\x01&#x110000;</description>"),
        (f'{DC} {CONTENT} xmlns:job_listing="https://moved.example"', ""),
        (f'{DC} {CONTENT} xmlns:job_listing="urn:x" xmlns:unused="urn:y"', ""),
    ],
)
def test_a_feed_that_alternates_between_valid_and_invalid_is_the_same(
    namespaces: str, before: str
) -> None:
    """Undeclared prefixes, a site that moved its namespace, faults elsewhere."""
    other = feed(ITEM, namespaces=namespaces, before=before)
    assert other.is_whole
    assert fingerprints(other) == fingerprints(feed(ITEM))


def test_prefixes_of_boards_are_kept_apart() -> None:
    namespaces = 'xmlns:himalayasJobs="urn:h" xmlns:job_listing="urn:j"'
    restrictions = "".join(
        f"<himalayasJobs:locationRestriction>{place}</himalayasJobs:locationRestriction>"
        for place in ("Portugal", "Spain", "Portugal")
    )
    item = (
        f"<item><guid>1</guid>{restrictions}<job_listing:location>x</job_listing:location></item>"
    )
    assert feed(item, namespaces=namespaces).entries[0].item.extra == (
        ExtraField("himalayasJobs:locationRestriction", "Portugal"),
        ExtraField("himalayasJobs:locationRestriction", "Spain"),
        ExtraField("himalayasJobs:locationRestriction", "Portugal"),
        ExtraField("job_listing:location", "x"),
    )


def test_a_changed_order_of_repeated_elements_is_a_change() -> None:
    swapped = ITEM.replace("Full Time", "§").replace("Remote", "Full Time").replace("§", "Remote")
    assert fingerprints(feed(swapped))[0][0] == fingerprints(feed(ITEM))[0][0]
    assert fingerprints(feed(swapped))[0][1] != fingerprints(feed(ITEM))[0][1]
