"""What feedparser makes of its own test inputs, against what we make of them.

``corpus_differences.toml`` lists every difference with its reason: one that is not there fails, and
so does an entry that is there without being a difference.
"""

import calendar
import functools
import io
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import feedparser

from server.parsing import ParsedEntry, ParsedFeed, parse_feed
from shared.errors import ParseError
from tests.corpus import Sample, needs_corpus, read_samples
from tests.expectations import ShownTitle, holds, read_clauses, shown_title, view_feed

NOW = datetime(2026, 11, 3, tzinfo=UTC)
DIFFERENCES = tomllib.loads((Path(__file__).parent / "corpus_differences.toml").read_text())

pytestmark = needs_corpus


@functools.cache
def parse(sample: Sample) -> ParsedFeed | None:
    try:
        return parse_feed(sample.body, content_type=sample.content_type, url=sample.url, now=NOW)
    except ParseError:
        return None


def reasons(kind: str) -> dict[tuple[str, str], str]:
    """Return the listed differences of a kind: file and field to reason."""
    return {
        (name, group.get("field", "")): group["reason"]
        for group in DIFFERENCES[kind]
        for name in group["files"]
    }


def summary(what: str, agreed: int, listed: Mapping[tuple[str, str], str]) -> Iterable[str]:
    yield f"{what}: {agreed} agree, {len(listed)} differences are listed"
    for reason, count in Counter(listed.values()).most_common():
        yield f"  {count:4} {reason}"


def test_every_difference_is_listed_once_and_of_a_file_that_exists() -> None:
    known = {sample.name for sample in read_samples()}
    for kind, groups in DIFFERENCES.items():
        places = [(name, group.get("field")) for group in groups for name in group["files"]]
        assert len(places) == len(set(places)), kind
        assert {name for name, _ in places} <= known
        assert all(group["reason"].endswith(".") for group in groups)


def test_expectations_of_ids_links_titles_and_dates_hold_or_are_listed(
    record_property: Callable[[str, str], None],
) -> None:
    agreed, found = 0, set()
    for sample in read_samples():
        view = view_feed(parse(sample))
        for clause in read_clauses(sample.body) if sample.is_feed else ():
            if holds(clause, view):
                agreed += 1
            else:
                found.add((sample.name, ""))
    listed = reasons("expectation")
    record_property("figures", "\n".join(summary("expectations", agreed, listed)))
    assert found - set(listed) == set(), "differences without a reason"
    assert set(listed) - found == set(), "listed, but no difference any more"
    assert agreed >= 477


@functools.cache
def reference(sample: Sample) -> list[dict[str, Any]]:
    parsed = feedparser.parse(
        io.BytesIO(sample.body),
        sanitize_html=False,
        resolve_relative_uris=False,
        response_headers={"content-type": sample.content_type} if sample.content_type else {},
    )
    return list(parsed.entries)


def test_no_item_of_the_reference_is_missing() -> None:
    counts = {}
    for sample in read_samples():
        feed = parse(sample)
        if feed is not None and feed.format != "json_feed":
            ours = len(feed.entries) + len(feed.rejected)
            counts[sample.name] = (ours, len(reference(sample)))
    assert len(counts) > 2000
    assert {name: pair for name, pair in counts.items() if pair[0] != pair[1]} == {}


def fields_of(entry: ParsedEntry) -> dict[str, object]:
    item = entry.item
    title = shown_title(item)
    return {
        "guid": entry.written_guid,
        "title": ShownTitle(title) if title is not None else None,
        "author": item.author,
        "categories": item.categories,
        "published": _whole_seconds(item.published_at),
        "updated": _whole_seconds(item.updated_at),
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


def _whole_seconds(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(microsecond=0)


def differing_fields(feed: ParsedFeed, sample: Sample) -> Iterable[str | None]:
    """Yield the name of each field in which an entry differs, and None for each that agrees."""
    for entry, theirs in zip(feed.entries, reference(sample), strict=True):
        expected = reference_fields(theirs)
        for field, value in fields_of(entry).items():
            yield field if value != expected[field] else None


def test_fields_agree_with_the_reference_or_are_listed(
    record_property: Callable[[str, str], None],
) -> None:
    agreed, found = 0, set()
    for sample in read_samples():
        feed = parse(sample)
        if feed is None or feed.rejected or feed.format == "json_feed":
            continue
        for field in differing_fields(feed, sample):
            if field is None:
                agreed += 1
            else:
                found.add((sample.name, field))
    listed = reasons("reference")
    record_property("figures", "\n".join(summary("fields", agreed, listed)))
    assert found - set(listed) == set(), "differences without a reason"
    assert set(listed) - found == set(), "listed, but no difference any more"
    assert agreed > 8000
