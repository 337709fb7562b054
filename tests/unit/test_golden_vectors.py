"""Ids and hashes of known documents, frozen.

A difference here means that an upgrade would import every stored item again. Rules of identity and
hash change only together with ``HASH_VERSION``, a migration, and new files in ``golden/``.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.importing.identity import identify, suffixed_guid
from server.parsing import parse_feed
from shared.models import content_hash, job_data, make_guid, make_item_id

FEEDS = Path(__file__).parents[1] / "feeds"
GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 3, tzinfo=UTC)


def ids_and_hashes(body: bytes, url: str) -> list[list[str]]:
    """Return what the items of a document are called and hashed to, under the source ``golden``."""
    feed = parse_feed(body, content_type=None, url=url, now=NOW)
    items = identify([feed.entries], colliding=()).items
    return [
        [make_item_id("golden", item.guid), content_hash(job_data("golden", item))]
        for item in items
    ]


def load(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


@pytest.mark.parametrize("vector", load("documents.json"), ids=lambda vector: vector["feed"])
def test_documents_give_the_ids_and_hashes_they_always_gave(vector: dict[str, Any]) -> None:
    body = (FEEDS / vector["feed"]).read_bytes()
    assert ids_and_hashes(body, vector["url"]) == vector["items"]


@pytest.mark.parametrize("vector", load("entries.json"), ids=lambda vector: vector["case"])
def test_entries_give_the_ids_and_hashes_they_always_gave(vector: dict[str, Any]) -> None:
    assert ids_and_hashes(vector["document"].encode(), vector["url"]) == vector["items"]


@pytest.mark.parametrize("vector", load("guids.json"), ids=lambda vector: vector["case"])
def test_guids_are_what_they_always_were(vector: dict[str, Any]) -> None:
    assert make_guid(vector["written"]) == vector["guid"]
    assert suffixed_guid(vector["guid"], vector["discriminator"]) == vector["suffixed"]
