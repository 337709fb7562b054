"""An item's JSON is made once: what is spliced on to it, and what need not be encoded as BSON."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from server.importing.enqueueing import _with_origin
from server.importing.selecting import prepare
from server.importing.values import Merged, Run
from shared.models import Enclosure, ExtraField, FeedItem, write_json
from shared.store import Feed, Import, ImportState, JournalEntry, Trigger

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def entry_of(data: dict[str, Any]) -> JournalEntry:
    return JournalEntry("lwn#1", 7, "h", orjson.dumps(data))


def import_of(import_id: str) -> Import:
    return Import(import_id, "lwn", [], Trigger.API, ImportState.IMPORTING, NOW, revision=7)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"title": "Ñandú"}, '{"title":"Ñandú"}'),
        ({"length": 2**64}, '{"length": 18446744073709551616}'),
        ({"title": "\ud800"}, '{"title": "\\ud800"}'),
        ({"at": {1}}, '{"at": "{1}"}'),
    ],
)
def test_a_record_for_people_is_written_whatever_it_holds(value: object, written: str) -> None:
    assert write_json(value) == written
    assert write_json(value).encode()


def test_a_job_carries_its_import_and_revision_behind_the_item() -> None:
    data = {"source": "lwn", "guid": "1", "title": 'says "import_id": x'}
    expected = orjson.dumps({**data, "import_id": "i1", "revision": 7})
    assert _with_origin(entry_of(data), import_of("i1")) == expected


@pytest.mark.parametrize("name", ["import_id", "revision"])
def test_a_replayed_job_names_its_import_and_revision_once(name: str) -> None:
    data = {"source": "lwn", "guid": "1", name: 3}
    written = _with_origin(entry_of(data), import_of("i2"))
    assert written.count(b'"import_id"') == written.count(b'"revision"') == 1
    assert orjson.loads(written) == {**data, "import_id": "i2", "revision": 7}


def outcome_of(item: FeedItem) -> str:
    """Prepare one item; return why it is dead, nothing when it can be stored."""
    importing = Import("i1", "lwn", [], "api", ImportState.FETCHING, NOW, revision=1)
    run = Run(importing, Feed(source="lwn", urls=[], created_at=NOW), 1)
    prepared = prepare(run, Merged((item,)), queue="items", max_item_bytes=10**6, now=NOW)
    assert len(prepared.candidates) + len(prepared.dead_letters) == 1
    return "".join(letter.error_type for letter in prepared.dead_letters)


@pytest.mark.parametrize(
    ("item", "error_type"),
    [
        (FeedItem("1", title="plain"), ""),
        (FeedItem("1", title="a \x00 in a text"), ""),
        (FeedItem("1", extra=(ExtraField("x", attributes={"a\x00": "b"}),)), "unencodable"),
        (FeedItem("1", title="\ud800"), "unencodable"),
        (FeedItem("1", enclosures=(Enclosure("u", length=2**63 - 1),)), ""),
        (FeedItem("1", enclosures=(Enclosure("u", length=2**63),)), "unencodable"),
        (FeedItem("1", enclosures=(Enclosure("u", length=2**64),)), "unencodable"),
        (FeedItem("1", content="x" * 10**6), "too_large"),
    ],
)
def test_what_neither_json_nor_bson_can_hold_is_dead_at_once(
    item: FeedItem, error_type: str
) -> None:
    assert outcome_of(item) == error_type
