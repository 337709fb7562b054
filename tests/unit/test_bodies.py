"""Kept bodies: which are kept, in which order they are read, and what goes."""

import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.store import BodyStore, KeptBody
from tests.kept_bodies import read_kept
from tests.memory_database import make_memory_database

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
_SOURCE = "news"


@pytest.fixture
def bodies() -> BodyStore:
    return BodyStore(make_memory_database())


def body(text: str, revision: int, **fields: Any) -> KeptBody:
    content = zlib.compress(text.encode())
    url = "https://src.example/feed"
    kept = KeptBody(_SOURCE, url, revision, f"i{revision}", NOW, len(text), content)
    return replace(kept, **fields)


def texts(bodies: BodyStore) -> list[str]:
    return [each.read().decode() for each in read_kept(bodies, _SOURCE)]


def test_the_latest_of_a_url_are_kept(bodies: BodyStore) -> None:
    for revision in range(1, 6):
        bodies.keep(body(f"text {revision}", revision), 2)
    bodies.keep(body("other", 1, url="https://src.example/other"), 2)

    assert texts(bodies) == ["text 5", "text 4", "other"]


def test_the_same_body_is_kept_once_and_moves_to_the_front(bodies: BodyStore) -> None:
    for revision, text in enumerate(["a", "b", "a"], start=1):
        bodies.keep(body(text, revision), 3)
    bodies.keep(body("a", 1), 3)

    assert [(each.read(), each.revision) for each in read_kept(bodies, _SOURCE)] == [
        (b"a", 3),
        (b"b", 2),
    ]


def test_intervals_of_an_indexer_share_their_room(bodies: BodyStore) -> None:
    for number in range(4):
        url = f"https://src.example/{number}"
        bodies.keep(body(f"{number}", number, url=url, indexer=_SOURCE, start=number), 2)

    assert texts(bodies) == ["3", "2"]


def test_keys_are_those_since_then_latest_read_first(bodies: BodyStore) -> None:
    early, late = body("a", 1), body("b", 2, fetched_at=NOW + timedelta(hours=1))
    for each in (early, late):
        bodies.keep(each, 3)

    assert bodies.find_keys(_SOURCE, NOW) == [late.key, early.key]
    assert bodies.find_keys(_SOURCE, NOW + timedelta(minutes=1)) == [late.key]


def test_reparses_are_remembered_until_the_body_is_fetched_again(bodies: BodyStore) -> None:
    kept = body("a", 1)
    bodies.keep(kept, 3)
    for revision in (2, 3):
        bodies.note_reparsed([kept.key], revision)
    found = bodies.get(kept.key)
    assert found is not None
    assert found.reparsed == [2, 3]

    bodies.keep(body("a", 4), 3)
    again = bodies.get(kept.key)
    assert again is not None
    assert (again.revision, again.reparsed) == (4, [])
