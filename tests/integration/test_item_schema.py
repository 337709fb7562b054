"""The JSON Schema of an item, and the page about it, against what is stored of real feeds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pymongo import MongoClient

from server.api.routes.items import read_item_schema, show_item
from shared.queue import RedisConnection
from shared.store import open_database
from shared.store.database import Document
from tests.fake_publisher import feed_url
from tests.fakes import FakeClock
from tests.harness import Harness

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/items.md").read_text("utf-8")
SCHEMA: dict[str, Any] = json.loads(read_item_schema())
FEEDS = [
    *(f"feeds/{name}" for name in ("jobs.xml", "news.atom", "garden.json", "broken.xml")),
    "feeds/bulletin.rdf",
    *(
        f"feeds/cases/real/{name}.xml"
        for name in ("youtube", "jobicy", "mastodon", "wordpress", "podcast", "hn")
    ),
    *(f"feeds/cases/texts/{name}" for name in ("titles.json", "media-only.xml", "base.atom")),
]


def as_json(document: Document) -> Document:
    """Return a document as JSON has it."""
    shown = show_item(document)
    if "counters_hash" in document:
        shown["counters_hash"] = document["counters_hash"]
    return shown


@pytest.fixture(scope="module")
def harness(
    session_redis_client: RedisConnection,
    session_mongo_client: MongoClient[Document],
    mongodb_url: str,
    database_name: str,
) -> Iterator[Harness]:
    """One for all tests here, which only read what is stored."""
    session_redis_client.flushdb()
    database = open_database(f"{mongodb_url}/{database_name}")
    yield Harness(session_redis_client, database, FakeClock())
    database.close()
    session_mongo_client.drop_database(database_name)


@pytest.fixture(scope="module")
def stored(harness: Harness) -> list[Document]:
    """What is stored of all these feeds, each a source of its own."""
    for name in FEEDS:
        source = Path(name).stem
        harness.publisher.show_document(source, (ROOT / "tests" / name).read_bytes())
        harness.server.services.feeds.add([feed_url(source)], source=source)
        harness.server.start(source)
    harness.come_to_rest()
    return list(harness.database.collection("items").find({}))


def strict_schema() -> dict[str, Any]:
    """Return the schema with fields that it does not know refused."""
    closed = {"additionalProperties": False}
    kinds = {
        name: {**kind, **closed} if kind["type"] == "object" else kind
        for name, kind in SCHEMA["$defs"].items()
    }
    return {**SCHEMA, **closed, "$defs": kinds}


def test_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_stored_item_is_as_the_schema_and_has_no_other_field(
    stored: list[Document],
) -> None:
    assert len({document["source"] for document in stored}) >= len(FEEDS) - 1
    validator = Draft202012Validator(
        strict_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    for document in stored:
        errors = [each.message for each in validator.iter_errors(as_json(document))]
        assert errors == [], document["_id"]


def test_fields_that_the_schema_demands_are_those_that_every_item_has(
    stored: list[Document],
) -> None:
    in_all = set.intersection(*(set(document) for document in stored))
    assert set(SCHEMA["required"]) == in_all


def test_page_names_every_field() -> None:
    named = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))
    assert named == set(SCHEMA["properties"]) - {"id"}


def test_examples_of_the_page_find_items(harness: Harness, stored: list[Document]) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {"items": harness.database.collection("items")}
    exec(block, found)
    assert found["one"]["title"] == "Lighthouse Engineer (Python & Optics)"
    assert {each["source"] for each in found["newest"]} == {"jobs"}
    assert len(found["changed"]) == len(stored)
    assert [each["_id"] for each in found["found"]] == [found["one"]["_id"]]
    assert [each["title"] for each in found["by_company"]] == ["Ferry Timetable Analyst"]
    assert sum(each["items"] for each in found["counts"]) == len(stored)
