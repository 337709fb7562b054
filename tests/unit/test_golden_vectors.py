"""Ids and hashes of known documents, frozen.

A difference here means that an upgrade would import every stored item again. Rules of identity and
hash change only together with ``HASH_VERSION``, a migration, and new files in ``golden/``.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.importing.identity import identify, suffixed_guid
from server.parsing import parse_feed
from shared.models import HASH_VERSION, content_hash, job_data, make_guid, make_item_id

FEEDS = Path(__file__).parents[1] / "feeds"
GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 3, tzinfo=UTC)
FILES = ("documents.json", "entries.json", "guids.json")
WHAT_TO_DO = (
    "A known document got other ids or hashes: an upgrade would import its items anew. Undo that. "
    "If it is meant, raise HASH_VERSION in shared/models.py, write a migration of what is stored, "
    "add vectors of the new rules, and write the new hash_version into the golden files."
)


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((GOLDEN / name).read_text())["vectors"]
    return vectors


def ids_and_hashes(
    bodies: Sequence[bytes],
    *,
    url: str,
    content_type: str | None = None,
    colliding: Sequence[str] = (),
) -> list[list[str]]:
    """Return what the items of an import are called and hashed to, under the source ``golden``."""
    feeds = [parse_feed(body, content_type=content_type, url=url, now=NOW) for body in bodies]
    items = identify([feed.entries for feed in feeds], colliding=colliding).items
    return [
        [make_item_id("golden", item.guid), content_hash(job_data("golden", item))]
        for item in items
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_vectors_are_those_of_the_rules_in_force(name: str) -> None:
    assert json.loads((GOLDEN / name).read_text())["hash_version"] == HASH_VERSION, WHAT_TO_DO


@pytest.mark.parametrize("vector", load("documents.json"), ids=lambda vector: vector["feed"])
def test_documents_give_the_ids_and_hashes_they_always_gave(vector: dict[str, Any]) -> None:
    body = (FEEDS / vector["feed"]).read_bytes()
    assert ids_and_hashes([body], url=vector["url"]) == vector["items"], WHAT_TO_DO


@pytest.mark.parametrize("vector", load("entries.json"), ids=lambda vector: vector["case"])
def test_entries_give_the_ids_and_hashes_they_always_gave(vector: dict[str, Any]) -> None:
    """A wrong byte is written as half a surrogate pair, as Python does."""
    encoding = vector.get("encoding", "utf-8")
    found = ids_and_hashes(
        [document.encode(encoding, "surrogateescape") for document in vector["documents"]],
        url=vector["url"],
        content_type=vector.get("content_type"),
        colliding=vector.get("colliding", ()),
    )
    assert found == vector["items"], WHAT_TO_DO


@pytest.mark.parametrize("vector", load("guids.json"), ids=lambda vector: vector["case"])
def test_guids_are_what_they_always_were(vector: dict[str, Any]) -> None:
    assert make_guid(vector["written"]) == vector["guid"], WHAT_TO_DO
    suffixed = suffixed_guid(vector["guid"], vector["discriminator"])
    assert suffixed == vector["suffixed"], WHAT_TO_DO
