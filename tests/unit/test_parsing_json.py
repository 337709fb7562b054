"""JSON Feed: its versions, its items' oddities, and documents that are not JSON to the letter."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.parsing import ParsedFeed, parse_feed
from shared.errors import ParseError
from shared.models import Enclosure, ExtraField, content_hash, job_data

GARDEN = (Path(__file__).parents[1] / "feeds" / "garden.json").read_bytes()
NOW = datetime(2026, 11, 3, tzinfo=UTC)
FRAME = '{"version": "https://jsonfeed.org/version/1.1", "title": "t", "items": %s}'


def parse(document: bytes | str) -> ParsedFeed:
    body = document.encode() if isinstance(document, str) else document
    return parse_feed(body, content_type=None, url="https://feeds.example/f", now=NOW)


def parse_items(*items: dict[str, Any], **members: Any) -> ParsedFeed:
    version = members.pop("version", "https://jsonfeed.org/version/1.1")
    return parse(json.dumps({"version": version, "items": items, **members}))


def fingerprints(feed: ParsedFeed) -> list[tuple[str, str]]:
    return [(e.item.guid, content_hash(job_data("s", e.item))) for e in feed.entries]


@pytest.mark.parametrize("end", ["", ","])
def test_a_number_of_any_length_identifies_as_written(end: str) -> None:
    ids = ["123456789012345678901", "123456789012345678902", "-9223372036854775809", "17"]
    items = ", ".join(f'{{"id": {written}, "title": "t"}}' for written in ids)
    feed = parse(FRAME % f"[{items}{end}]")
    assert [entry.item.guid for entry in feed.entries] == ids


def test_a_long_number_in_a_deep_document_stops_nothing() -> None:
    deep = "[" * 1000 + "12345678901234567890" + "]" * 1000
    feed = parse(FRAME % f'[{{"id": "1", "x": {deep}}}]')
    assert len(feed.entries) + len(feed.rejected) == 1


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("https://jsonfeed.org/version/1", "1"),
        ("https://jsonfeed.org/version/1.1", "1.1"),
        ("http://jsonfeed.org/version/1", "1"),
    ],
)
def test_each_version_is_recognised(written: str, version: str) -> None:
    feed = parse_items({"id": "1"}, version=written)
    assert (feed.format, feed.version) == ("json_feed", version)


def test_the_author_of_version_1_and_the_authors_of_1_1_are_the_same() -> None:
    old, new = parse_items(
        {"id": "1", "author": {"name": "Ada"}}, {"id": "2", "authors": [{"name": "Ada"}]}
    ).entries
    assert old.item.author == new.item.author == "Ada"


def test_every_field_of_an_item_is_read() -> None:
    [entry] = parse_items(
        {
            "id": "https://x.example/1",
            "url": "/1",
            "external_url": "https://other.example/",
            "title": "t",
            "summary": "s",
            "content_html": "<p>c</p>",
            "content_text": "c",
            "image": "https://x.example/i.png",
            "date_published": "2026-11-02T10:00:00Z",
            "date_modified": "2026-11-02T11:00:00+01:00",
            "tags": ["a", "b", "a"],
            "language": "en",
            "attachments": [
                {"url": "https://x.example/1.mp3", "mime_type": "audio/mpeg", "size_in_bytes": 9},
                {"url": "https://x.example/2.mp3", "mime_type": "audio/mpeg"},
            ],
            "_job": [{"company": "A"}, {"company": "B"}],
        },
        home_page_url="https://x.example/",
    ).entries
    item = entry.item
    assert (item.guid, item.link, item.title) == ("https://x.example/1", "https://x.example/1", "t")
    assert (item.summary, item.content, item.categories) == ("s", "<p>c</p>", ("a", "b"))
    assert item.published_at == item.updated_at == datetime(2026, 11, 2, 10, tzinfo=UTC)
    assert item.enclosures == (
        Enclosure("https://x.example/1.mp3", "audio/mpeg", 9),
        Enclosure("https://x.example/2.mp3", "audio/mpeg", None),
    )
    assert item.extra == (
        ExtraField("image", "https://x.example/i.png"),
        ExtraField("language", "en"),
        ExtraField("_job", '{"company":"A"}'),
        ExtraField("_job", '{"company":"B"}'),
        ExtraField("external_url", "https://other.example/"),
    )


def test_relative_attachments_are_resolved_and_identify_as_written() -> None:
    [entry] = parse_items({"attachments": [{"url": "/1.mp3"}]}).entries
    assert entry.item.enclosures == (Enclosure("https://feeds.example/1.mp3"),)
    assert entry.item.guid == "/1.mp3"


@pytest.mark.parametrize(
    ("item", "guid", "rung"),
    [
        ({"id": 17}, "17", "guid"),
        ({"id": 1.5}, "1.5", "guid"),
        ({"id": "", "url": "https://x/1"}, "https://x/1", "link"),
        ({"id": 0, "url": "https://x/1"}, "https://x/1", "link"),
        ({"id": "N/A", "url": "https://x/1"}, "https://x/1", "link"),
        ({"id": "https://own.example/f", "url": "https://x/1"}, "https://x/1", "link"),
        ({"external_url": "https://x/2"}, "https://x/2", "link"),
        ({"attachments": [{"url": "https://x/3"}]}, "https://x/3", "enclosure"),
    ],
)
def test_the_guid_is_the_first_rung_that_holds(item: Any, guid: str, rung: str) -> None:
    entry = parse_items(item, feed_url="https://own.example/f").entries[0]
    assert (entry.item.guid, entry.guid_rung) == (guid, rung)


@pytest.mark.parametrize(
    ("sound", "faulty"),
    [
        (b"Watered everything.", b"Watered \\ud800everything."),
        (b'"Watered', b'"\\udc00Watered'),
        (b'"title"', b'"_n": NaN, "title"'),
        (b"  ]\n}", b"  ]\n}<script>track()</script>"),
        (b"  ]\n}", b"  , ]\n,}"),
        (b'"language": "en"\n    }', b'"language": "en",\n    }'),
    ],
)
def test_mending_leaves_ids_and_hashes_as_those_of_the_sound_feed(
    sound: bytes, faulty: bytes
) -> None:
    assert sound in GARDEN
    feed = parse(GARDEN.replace(sound, faulty))
    assert feed.is_whole
    assert fingerprints(feed) == fingerprints(parse(GARDEN))


@pytest.mark.parametrize(
    ("faulty", "title"),
    [
        ('"a\tb\nc"', "a\tb\nc"),
        (r'"a\\ud800"', r"a\ud800"),
        (r'"\ud83d\ude00\ud83d"', "\U0001f600"),
        ('"a", "_x": NaN', "a"),
        (r'"a\",]b,}", "_x": [1,]', 'a",]b,}'),
        ('"a", "_x": 123456789012345678901234567890', "a"),
    ],
)
def test_faults_inside_an_item_cost_neither_it_nor_others(faulty: str, title: str) -> None:
    feed = parse(
        FRAME % f'[{{"id": "1", "_y": "\\ud800", "title": {faulty}, "_c": "\t"}}, {{"id": "2"}}]'
    )
    assert [entry.item.guid for entry in feed.entries] == ["1", "2"]
    assert feed.entries[0].item.title == title
    assert feed.is_whole
    assert "not valid JSON" in feed.warnings[0]


@given(st.integers(min_value=0, max_value=len(GARDEN) - 1))
def test_a_cut_document_gives_only_items_that_were_whole(cut_at: int) -> None:
    whole = parse(GARDEN)
    try:
        feed = parse(GARDEN[:cut_at])
    except ParseError:
        assert b'"language": "en"\n    }' not in GARDEN[:cut_at]
        return
    known = fingerprints(whole)
    assert fingerprints(feed) == known[: len(feed.entries)]
    assert feed.rejected == whole.rejected[: len(feed.rejected)]
    assert feed.is_whole == (GARDEN[cut_at:].strip() == b"")
    assert feed.is_whole or any("damaged" in warning for warning in feed.warnings)


def test_mending_costs_what_the_document_is_long() -> None:
    for part in ('\\"', '"', ",", ", ", ",]", '"\\', "[", "\\"):
        with pytest.raises(ParseError):
            parse('{"' + part * 500_000)


def test_damage_behind_an_item_keeps_it_and_guesses_none_after() -> None:
    feed = parse(FRAME % '[{"id": "1"}, {"id": "2", "title": }, {"id": "3"}]')
    assert [entry.item.guid for entry in feed.entries] == ["1"]
    assert not feed.is_whole
