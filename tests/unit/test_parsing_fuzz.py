"""Samples, mutated at random: whatever they become, it is a feed, or an error on purpose.

Bounded, and the same examples each time where ``CI`` is set. For a long run by hand::

    FUZZ_EXAMPLES=100000 .venv/bin/python -m pytest tests/unit/test_parsing_fuzz.py
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from server.importing.identity import identify
from server.parsing import ParsedFeed, parse_feed
from shared.errors import ParseError
from shared.models import MAX_GUID_BYTES, content_hash, encode_json, job_data
from tests.corpus import needs_corpus, read_samples

NOW = datetime(2026, 11, 3, tzinfo=UTC)
FEEDS = Path(__file__).parents[1] / "feeds"
OURS = tuple(
    path.read_bytes() for path in sorted(FEEDS.iterdir()) if path.suffix not in ("", ".py")
)
TOKENS = (
    *(b"<", b">", b"&", b"\x00", b"\xff", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"<?xml ", b"?>"),
    *(b"&#x110000;", b"&#55296;", b"&nbsp;", b"<item>", b"</item>", b"<entry>", b"</channel>"),
    *(
        b"<guid>",
        b"</guid>",
        b"<x:y z:w='1'>",
        b' xmlns:a="b"',
        b" xml:base='http://['",
        b"{",
        b"}",
    ),
    *(b'"', b"\\ud800", b"[", b"]", b",", b":", b"NaN", b"1e999", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"<!DOCTYPE r [<!ENTITY a 'b'>]>", b"&a;", b"<a>" * 200, b"[" * 2000, b"9" * 5000),
)
CONTENT_TYPES = (None, "text/xml; charset=utf-16", "text/html; charset=shift_jis", "charset=rot13")

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))
fuzzed = settings(max_examples=EXAMPLES)
# Long runs take as long as they are asked to.
pytestmark = pytest.mark.timeout(120 + EXAMPLES // 20)


@dataclass(frozen=True)
class Change:
    """One mutation: what stands between two places, in parts of the length, is put otherwise."""

    start: float
    length: int
    token: bytes
    repeats: int

    def apply(self, body: bytes) -> bytes:
        start = int(self.start * len(body))
        end = start + self.length
        return body[:start] + body[start:end] * self.repeats + self.token + body[end:]


changes = st.lists(
    st.builds(
        Change,
        start=st.floats(0, 1),
        length=st.integers(0, 80),
        token=st.sampled_from(TOKENS) | st.binary(max_size=4),
        repeats=st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)
addresses = st.sampled_from((None, "https://feeds.example/f", "http://[", "//x"))


def check(body: bytes, content_type: str | None, url: str | None) -> ParsedFeed | None:
    """Parse and do with what comes of it all that an import does."""
    try:
        feed = parse_feed(body, content_type=content_type, url=url, now=NOW)
    except ParseError as exc:
        event(exc.kind)
        return None
    event("whole" if feed.is_whole else "damaged")
    identified = identify([feed.entries], colliding=())
    assert len(identified.items) + identified.duplicates == len(feed.entries)
    for item in identified.items:
        data = job_data("fuzz", item)
        assert content_hash(data)
        assert encode_json(data)
        assert 0 < len(item.guid.encode()) <= MAX_GUID_BYTES
    assert all(entry.reason and entry.guid for entry in feed.rejected)
    assert feed.is_whole or feed.warnings
    return feed


@fuzzed
@given(st.sampled_from(OURS), changes, st.sampled_from(CONTENT_TYPES), addresses)
def test_no_mutated_sample_raises_anything_but_a_parse_error(
    sample: bytes, mutations: list[Change], content_type: str | None, url: str | None
) -> None:
    for change in mutations:
        sample = change.apply(sample)
    assert check(sample, content_type, url) == check(sample, content_type, url)


@needs_corpus
@fuzzed
@given(st.data(), changes)
def test_no_mutated_file_of_the_corpus_raises_anything_else(
    data: st.DataObject, mutations: list[Change]
) -> None:
    body = data.draw(st.sampled_from(read_samples())).body
    for change in mutations:
        body = change.apply(body)
    check(body, None, None)
