"""Over two thousand documents, with feedparser as the reference, where they are at hand."""

import calendar
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import feedparser
import pytest

from server.importing.identity import identify
from server.parsing import ParsedEntry, ParsedFeed, parse_feed
from server.parsing.decoding import decode_document
from shared.errors import ParseError
from shared.models import content_hash, encode_json, job_data

CORPUS = Path(__file__).parents[2] / ".." / "shared" / "feeds" / "feedparser"
NOW = datetime(2026, 11, 3, tzinfo=UTC)

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the sample feeds are not at ../shared/feeds"
)


@pytest.fixture(scope="module")
def documents() -> dict[str, tuple[bytes, str | None]]:
    """Return each document with the Content-Type that its comment asks for."""
    found = {}
    for path in sorted(CORPUS.rglob("*")):
        if path.suffix in (".xml", ".json"):
            body = path.read_bytes()
            header = re.search(rb"Header:\s*Content-[tT]ype:\s*(.*)", body)
            content_type = header[1].decode().strip() if header else None
            found[str(path.relative_to(CORPUS))] = (body, content_type)
    return found


def parse(body: bytes, content_type: str | None) -> ParsedFeed | None:
    try:
        return parse_feed(body, content_type=content_type, url=None, now=NOW)
    except ParseError:
        return None


def reference(body: bytes, content_type: str | None) -> list[dict[str, Any]]:
    parsed = feedparser.parse(
        io.BytesIO(body),
        sanitize_html=False,
        resolve_relative_uris=False,
        response_headers={"content-type": content_type} if content_type else {},
    )
    return list(parsed.entries)


def fingerprints(feed: ParsedFeed) -> list[tuple[str, str]]:
    items = identify([feed.entries], colliding=()).items
    return [(item.guid, content_hash(job_data("s", item))) for item in items]


def test_every_item_is_accepted_or_rejected_with_a_reason(
    documents: dict[str, tuple[bytes, str | None]],
) -> None:
    feeds = {name: parse(*document) for name, document in documents.items()}
    refused = [name for name, feed in feeds.items() if feed is None]
    recognised = [feed for feed in feeds.values() if feed is not None]
    rejected = [entry for feed in recognised for entry in feed.rejected]
    assert refused == ["illformed/rss_empty_document.xml", "illformed/rss_incomplete_cdata.xml"]
    assert sum(len(feed.entries) for feed in recognised) == 1217
    assert len(rejected) == 1
    assert all(entry.reason for entry in rejected)


def test_every_item_can_be_a_job(documents: dict[str, tuple[bytes, str | None]]) -> None:
    for document in documents.values():
        feed = parse(*document)
        for entry in feed.entries if feed else ():
            assert encode_json(job_data("s", entry.item))
            assert entry.item.guid


def test_no_item_of_the_reference_is_missing(
    documents: dict[str, tuple[bytes, str | None]],
) -> None:
    counts = {}
    for name, document in documents.items():
        feed = parse(*document)
        if feed is not None and feed.format != "json_feed":
            ours = len(feed.entries) + len(feed.rejected)
            counts[name] = (ours, len(reference(*document)))
    assert {name: pair for name, pair in counts.items() if pair[0] != pair[1]} == {}


def fields_of(entry: ParsedEntry) -> dict[str, object]:
    item = entry.item
    return {
        "guid": entry.written_guid,
        "title": item.title,
        "author": item.author,
        "categories": item.categories,
        "published": item.published_at,
        "updated": item.updated_at,
        "enclosures": tuple(enclosure.url for enclosure in item.enclosures),
    }


def reference_fields(entry: dict[str, Any]) -> dict[str, object]:
    # feedparser's dictionaries invent values on `get`; what it read is in the plain one.
    read = dict.get
    tags, links = read(entry, "tags") or (), read(entry, "links") or ()
    return {
        "guid": read(entry, "id") or None,
        "title": read(entry, "title") or None,
        "author": read(entry, "author") or None,
        "categories": tuple(tag.get("term") or tag.get("label") for tag in tags),
        "published": _moment(read(entry, "published_parsed")),
        "updated": _moment(read(entry, "updated_parsed")),
        "enclosures": tuple(
            link.get("href") for link in links if link.get("rel") == "enclosure" and "href" in link
        ),
    }


def _moment(parts: Any) -> datetime | None:
    return datetime.fromtimestamp(calendar.timegm(parts), UTC) if parts else None


# Where we differ on purpose: several authors are all named, `dc:date` and `created` are dates of
# publication, a wrapping div of XHTML is left out, bytes of an undeclared encoding are guessed.
EXPECTED_DIFFERENCES = {"title": 40, "author": 3, "published": 15, "updated": 1, "guid": 1}


def test_fields_agree_with_the_reference_but_for_known_differences(
    documents: dict[str, tuple[bytes, str | None]],
) -> None:
    differences: dict[str, list[str]] = {}
    for name, document in documents.items():
        feed = parse(*document)
        if feed is None or feed.rejected or feed.format == "json_feed":
            continue
        for entry, theirs in zip(feed.entries, reference(*document), strict=True):
            expected = reference_fields(theirs)
            for field, value in fields_of(entry).items():
                if _whole_seconds(value) != expected[field]:
                    differences.setdefault(field, []).append(name)
    found = {field: len(names) for field, names in differences.items()}
    assert all(count <= EXPECTED_DIFFERENCES.get(field, 0) for field, count in found.items()), {
        field: names for field, names in differences.items() if field not in ("title", "published")
    }


def _whole_seconds(value: object) -> object:
    return value.replace(microsecond=0) if isinstance(value, datetime) else value


def test_the_same_text_in_utf_8_gives_the_same_ids_and_hashes(
    documents: dict[str, tuple[bytes, str | None]],
) -> None:
    for name, (body, content_type) in documents.items():
        feed = parse(body, content_type)
        if feed is not None:
            again = parse(
                decode_document(body, content_type)[0].encode(), "text/xml; charset=utf-8"
            )
            assert again is not None, name
            assert fingerprints(again) == fingerprints(feed), name


def test_a_stray_ampersand_in_another_item_keeps_ids_and_hashes(
    documents: dict[str, tuple[bytes, str | None]],
) -> None:
    stray = b"<item><title>stray & here</title><guid>stray</guid></item>"
    tried = 0
    for name, (body, content_type) in documents.items():
        feed = parse(body, content_type)
        if feed is None or not feed.is_whole or body.count(b"</channel>") != 1:
            continue
        broken = parse(body.replace(b"</channel>", stray + b"</channel>"), content_type)
        assert broken is not None, name
        kept = [pair for pair in fingerprints(broken) if pair[0] != "stray"]
        assert kept == fingerprints(feed), name
        tried += 1
    assert tried > 300
