"""The cases that lie beside the repository: each document gives the items a reader must get."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.parsing import ParsedFeed, parse_feed

CASES = Path(__file__).parents[2] / ".." / "shared" / "cases"
NOW = datetime(2026, 11, 28, tzinfo=UTC)
# By file: how many items its fixed document has.
WANTED = {
    "broken/atom-entry-doc.xml": 1,
    "broken/attr-no-quotes.xml": 1,
    "broken/bare-lt-in-1st-title.xml": 2,
    "broken/bare-lt-in-3rd-of-5.xml": 5,
    "broken/cdata-nested.xml": 2,
    "broken/dup-attr.xml": 1,
    "broken/mismatch-channel.xml": 1,
    "broken/ns-newline.xml": 1,
    "broken/ns-space.xml": 1,
    "broken/unclosed-br-in-desc.xml": 2,
    "reports/02-namespace-declared-twice/attribute-twice.xml": 2,
    "reports/02-namespace-declared-twice/twice.xml": 2,
    "reports/07-json-author-as-text/authors.json": 8,
    "reports/11-dates-of-many-lands/dates.xml": 15,
}
CHARSETS = ["ISO-8859-1", "us-ascii", "windows-1252"]

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not at ../shared/cases")


def parse(name: str, content_type: str | None = None) -> ParsedFeed:
    body = (CASES / name).read_bytes()
    return parse_feed(body, content_type=content_type, url="https://case.example/feed", now=NOW)


@pytest.mark.parametrize("name", WANTED)
def test_a_document_gives_each_of_its_items_read_strictly_and_whole(name: str) -> None:
    feed = parse(name)
    print(f"{name}: {WANTED[name]} wanted, {len(feed.entries)} got")
    assert (len(feed.entries), feed.rejected) == (WANTED[name], ())
    assert {entry.item.read_by for entry in feed.entries} == {None}
    assert feed.is_whole


def test_items_of_a_mended_document_are_called_as_written() -> None:
    guids = [entry.item.guid for entry in parse("broken/bare-lt-in-3rd-of-5.xml").entries]
    assert guids == ["1", "2", "3", "4", "5"]


def test_every_date_is_the_moment_that_was_meant() -> None:
    folder = "reports/11-dates-of-many-lands"
    with (CASES / folder / "dates.tsv").open(encoding="utf-8", newline="") as file:
        meant = {row[0]: row[2] for row in csv.reader(file, delimiter="\t")}
    read = {
        entry.item.guid: entry.item.published_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        for entry in parse(f"{folder}/dates.xml").entries
        if entry.item.published_at is not None
    }
    assert read == meant


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_charset_that_lies_breaks_no_character(charset: str) -> None:
    folder = "reports/09-charset-header-lies"
    [entry] = parse(f"{folder}/utf8.xml", f"text/xml; charset={charset}").entries
    assert "Müller – „Straße“ 😀" in (entry.item.title or "")
    [other] = parse(f"{folder}/latin1.xml", "text/xml; charset=UTF-8").entries
    assert "Müller Straße" in (other.item.title or "")
