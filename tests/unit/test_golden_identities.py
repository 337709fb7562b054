"""What items that share a link or a guid are called, frozen as all ids are."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.importing.identity import identify
from server.parsing import parse_feed

FILE = Path(__file__).parent / "golden" / "shared_links.json"
VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text())["vectors"]
NOW = datetime(2026, 11, 3, tzinfo=UTC)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["case"])
def test_items_that_share_a_link_or_guid_are_called_as_always(vector: dict[str, Any]) -> None:
    feeds = [
        parse_feed(body.encode(), content_type=None, url=vector["url"], now=NOW)
        for body in vector["documents"]
    ]
    identified = identify(
        [feed.entries for feed in feeds],
        colliding=vector.get("colliding", ()),
        aliases=vector.get("aliases", {}),
    )
    assert {item.guid: item.title for item in identified.items} == vector["titles_by_guid"]
    assert sorted(identified.colliding) == vector["colliding_then"]
