"""Whole documents of feeds of the kinds that people import: job board, podcast, blog, videos."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.documents import documents_of

FEEDS = Path(__file__).parents[1] / "feeds" / "cases" / "real"
WANTED: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "real.json").read_text())


@pytest.mark.parametrize("name", sorted(WANTED))
def test_the_documents_of_a_feed_are_right_in_every_value(name: str) -> None:
    documents = documents_of((FEEDS / name).read_bytes())
    assert json.loads(json.dumps(documents, default=str)) == WANTED[name]
