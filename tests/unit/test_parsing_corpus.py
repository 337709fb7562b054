"""Over two thousand documents, each through all that an import does with one up to the queue."""

import functools
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from server.importing.identity import identify
from server.parsing import ParsedFeed, parse_feed
from server.parsing.detection import decode_document
from shared.errors import ParseError
from shared.models import content_hash, encode_json, job_data, make_item_id
from shared.queue import JobQueue
from tests.corpus import Sample, needs_corpus, read_samples
from tests.factories import make_decoded

NOW = datetime(2026, 11, 3, tzinfo=UTC)
SLOWEST_S = 2.0

pytestmark = needs_corpus

# What would run, or reach out, in the page of whoever shows an item.
DANGEROUS = re.compile(
    r"<\s*/?\s*(script|iframe|object|embed|applet|meta|link|style|form|base)\b"
    r"|<[^>]*\son\w+\s*=|<[^>]*=\s*[\"']?\s*(javascript|vbscript|data):",
    re.IGNORECASE,
)


@functools.cache
def parse(body: bytes, content_type: str | None, url: str | None = None) -> ParsedFeed | None:
    try:
        return parse_feed(body, content_type=content_type, url=url, now=NOW)
    except ParseError:
        return None


def fingerprints(feed: ParsedFeed) -> list[tuple[str, str]]:
    items = identify([feed.entries], colliding=()).items
    return [(item.guid, content_hash(job_data("s", item))) for item in items]


@dataclass(frozen=True)
class Outcome:
    """What became of one file: its jobs as they would be queued, or the kind of its refusal."""

    name: str
    took_s: float
    jobs: dict[str, bytes]
    listed: int
    duplicates: int
    rejected_for: tuple[str, ...]
    refused_as: str | None


def import_sample(sample: Sample) -> Outcome:
    """Do all that an import does up to the queue."""
    started_s = time.process_time()
    jobs: dict[str, bytes] = {}
    listed, duplicates = 0, 0
    rejected_for: tuple[str, ...] = ()
    refused_as = None
    try:
        feed = parse_feed(sample.body, content_type=sample.content_type, url=sample.url, now=NOW)
    except ParseError as exc:
        refused_as = exc.kind
    else:
        identified = identify([feed.entries], colliding=())
        for item in identified.items:
            data = job_data("corpus", item)
            data |= {"content_hash": content_hash(data), "import_id": "1", "revision": 1}
            jobs[make_item_id("corpus", item.guid)] = encode_json(data)
        rejected_for = tuple(entry.reason for entry in feed.rejected)
        listed, duplicates = len(feed.entries), identified.duplicates
    took_s = time.process_time() - started_s
    return Outcome(sample.name, took_s, jobs, listed, duplicates, rejected_for, refused_as)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [import_sample(sample) for sample in read_samples()]


def summary(outcomes: list[Outcome]) -> Iterator[str]:
    refused = [outcome for outcome in outcomes if outcome.refused_as]
    slowest = max(outcomes, key=lambda outcome: outcome.took_s)
    typical_s = statistics.median(outcome.took_s for outcome in outcomes)
    items = sum(len(outcome.jobs) for outcome in outcomes)
    yield f"{len(outcomes)} files: {len(outcomes) - len(refused)} imported with {items} items"
    yield from (f"  refused as {outcome.refused_as}: {outcome.name}" for outcome in refused)
    yield f"slowest: {slowest.took_s * 1000:.0f} ms for {slowest.name}"
    yield f"typical: {typical_s * 1000:.1f} ms"


def test_every_file_imports_or_is_refused_with_a_reason(
    outcomes: list[Outcome], record_property: Callable[[str, str], None]
) -> None:
    record_property("figures", "\n".join(summary(outcomes)))
    assert {outcome.name: outcome.refused_as for outcome in outcomes if outcome.refused_as} == {
        "feedparser/LICENSE": "not_a_feed",
        "feedparser/README.md": "not_a_feed",
        "feedparser/DIFFERS-ON-6.0.14.txt": "not_a_feed",
        "feedparser/illformed/rss_empty_document.xml": "empty",
    }


def test_no_file_takes_two_seconds(outcomes: list[Outcome]) -> None:
    assert {o.name: o.took_s for o in outcomes if o.took_s >= SLOWEST_S} == {}


def test_every_item_becomes_a_job_or_is_rejected_with_a_reason(outcomes: list[Outcome]) -> None:
    assert sum(outcome.listed for outcome in outcomes) == 1217
    assert sum(outcome.duplicates for outcome in outcomes) == 7
    assert {o.name for o in outcomes if o.listed != len(o.jobs) + o.duplicates} == set()
    assert {o.name: o.rejected_for for o in outcomes if o.rejected_for} == {
        "feedparser/illformed/geo/georss_point_no_coords.xml": ("the entry is empty",),
        "feedparser/illformed/rss_incomplete_cdata.xml": (
            "the document breaks off inside the entry",
        ),
    }


def stored_texts(data: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of an item's document that are shown as HTML, and its addresses."""
    # Which job an item came with makes no difference to its document.
    content = make_decoded(cast(JobQueue, None), data).content
    yield from (content[name] for name in ("summary", "content") if name in content)
    yield from (f"<a href='{content[name]}'>" for name in ("link",) if name in content)
    yield from (f"<a href='{file['url']}'>" for file in content["enclosures"])


def test_what_would_run_in_a_page_is_hashed_but_never_stored() -> None:
    dangerous = 0
    for sample in read_samples():
        feed = parse(sample.body, sample.content_type)
        for entry in feed.entries if feed else ():
            data = job_data("corpus", entry.item)
            dangerous += DANGEROUS.search(repr(data)) is not None
            assert not any(map(DANGEROUS.search, stored_texts(data))), sample.name
    assert dangerous > 200


def test_the_same_text_in_utf_8_gives_the_same_ids_and_hashes() -> None:
    for sample in read_samples():
        feed = parse(sample.body, sample.content_type)
        if feed is not None:
            text = decode_document(sample.body, sample.content_type)[0]
            again = parse(text.encode(), "text/xml; charset=utf-8")
            assert again is not None, sample.name
            assert fingerprints(again) == fingerprints(feed), sample.name


def test_no_id_depends_on_the_address() -> None:
    for sample in read_samples():
        feed = parse(sample.body, sample.content_type, "https://a.example/feed")
        moved = parse(sample.body, sample.content_type, "https://b.example/x/")
        guids = [[entry.item.guid for entry in each.entries] for each in (feed, moved) if each]
        assert guids[:1] == guids[1:], sample.name


def test_a_stray_ampersand_in_another_item_keeps_ids_and_hashes() -> None:
    stray = b"<item><title>stray & here</title><guid>stray</guid></item>"
    tried = 0
    for sample in read_samples():
        feed = parse(sample.body, sample.content_type)
        if feed is None or not feed.is_whole or sample.body.count(b"</channel>") != 1:
            continue
        body = sample.body.replace(b"</channel>", stray + b"</channel>")
        broken = parse(body, sample.content_type)
        assert broken is not None, sample.name
        kept = [pair for pair in fingerprints(broken) if pair[0] != "stray"]
        assert kept == fingerprints(feed), sample.name
        tried += 1
    assert tried > 300
