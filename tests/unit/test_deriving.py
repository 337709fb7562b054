"""What became of a journal entry is read from the record, row by row of the design's table."""

from typing import Any

import pytest

from server.importing.deriving import derive_chunk
from shared.store import Chunk, DeadLetter, LetterKind, StoredVersion
from tests.factories import NOON, make_letter, make_version

REMOVED = LetterKind.REMOVED


def derive(
    version: StoredVersion | None,
    letter: DeadLetter | None = None,
    *,
    is_replay: bool = False,
    is_lenient: bool = False,
    revision: int = 5,
) -> str:
    """Derive an entry of import ``me`` at a revision with hash ``h``."""
    # Decoded as from the record: equal to what a version holds, never the same object.
    me, content_hash = b"me".decode(), b"h".decode()
    lenient_ids = ["lwn#1"] if is_lenient else []
    chunk = Chunk("c", me, 0, ["lwn#1"], [revision], [content_hash], lenient_ids)
    [derived] = derive_chunk(
        chunk,
        is_replay=is_replay,
        letters={"lwn#1": letter} if letter else {},
        stored={"lwn#1": version} if version else {},
    )
    assert (derived.item_id, derived.revision) == ("lwn#1", revision)
    return derived.outcome


def test_a_chunk_that_lacks_a_revision_is_refused_rather_than_derived_in_part() -> None:
    chunk = Chunk("c", "me", 0, ["lwn#1", "lwn#2"], [5], ["h", "h"], [])
    with pytest.raises(ValueError, match="shorter"):
        derive_chunk(chunk, is_replay=False, letters={}, stored={})


def end(revision: int, kind: str = "dead", import_id: str = "x") -> dict[str, Any]:
    return {
        "revision": revision,
        "kind": kind,
        "import_id": import_id,
        "content_hash": "h",
        "at": NOON,
    }


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (make_version(5, created_by="me"), "new"),
        (make_version(9, created_by="me", modified_by="you", content_hash="x"), "new"),
        (make_version(5, created_by="you", modified_by="me"), "updated"),
        (make_version(5, created_by="you"), "unchanged"),
        (make_version(9, modified_by="you"), "unchanged"),
        (make_version(9, modified_by="you", content_hash="x"), "superseded"),
        (make_version(9, modified_by="you", content_hash="a"), "superseded"),
    ],
)
def test_what_is_stored_at_its_revision_or_a_higher_one_has_ended(
    version: StoredVersion, expected: str
) -> None:
    assert derive(version) == expected
    assert derive(version, make_letter(5)) == expected


@pytest.mark.parametrize("version", [None, make_version(4)])
@pytest.mark.parametrize(
    ("letter", "expected"),
    [
        (None, "pending"),
        (make_letter(4), "pending"),
        (make_letter(5), "dead"),
        (make_letter(7), "pending"),
        (make_letter(7, history=[end(5)]), "dead"),
        (make_letter(5, kind=REMOVED), "removed"),
        (make_letter(7, kind=REMOVED), "removed"),
        (make_letter(4, kind=REMOVED, content_hash="x"), "pending"),
        (make_letter(4, content_hash="x", history=[end(3, "removed")]), "pending"),
        (make_letter(7, history=[end(6, "removed")]), "removed"),
    ],
)
def test_what_is_not_stored_is_as_its_letter_says(
    version: StoredVersion | None, letter: DeadLetter | None, expected: str
) -> None:
    assert derive(version, letter) == expected


def test_removed_content_stays_away_at_a_higher_revision_until_something_is_stored_above() -> None:
    letter = make_letter(4, kind=REMOVED)
    assert derive(None, letter) == derive(make_version(3), letter) == "removed"
    assert derive(make_version(4), letter) == "pending"


def test_a_replay_is_ended_only_by_a_death_in_itself() -> None:
    assert derive(None, make_letter(5, import_id="you"), is_replay=True) == "pending"
    assert derive(None, make_letter(5, import_id="me"), is_replay=True) == "dead"
    later = make_letter(7, history=[end(5, import_id="me")])
    assert derive(None, later, is_replay=True) == "dead"


def test_a_replay_of_a_death_before_any_revision_is_ended_by_a_death_at_the_one_it_drew() -> None:
    before = make_letter(0, import_id="you")
    assert derive(None, before, is_replay=True, revision=0) == "pending"
    drawn = make_letter(3, import_id="me", history=[end(0, import_id="you")])
    assert derive(None, drawn, is_replay=True, revision=0) == "dead"
    elsewhere = make_letter(3, import_id="you", history=[end(0, import_id="you")])
    assert derive(None, elsewhere, is_replay=True, revision=0) == "pending"


@pytest.mark.parametrize("revision", [4, 5, 6])
@pytest.mark.parametrize("content_hash", ["h", "x"])
def test_a_lenient_entry_is_unchanged_where_a_strict_reading_is_stored(
    revision: int, content_hash: str
) -> None:
    version = make_version(revision, content_hash=content_hash)
    assert derive(version, is_lenient=True) == "unchanged"
    assert derive(version, make_letter(5, read_by="feedparser"), is_lenient=True) == "unchanged"


def test_a_lenient_entry_counts_for_what_it_did_before_a_strict_reading_replaced_it() -> None:
    assert derive(make_version(4, created_by="me"), is_lenient=True) == "new"
    assert derive(make_version(4, modified_by="me"), is_lenient=True) == "updated"


@pytest.mark.parametrize("revision", [4, 5, 6])
def test_a_strict_entry_is_pending_while_a_lenient_reading_is_stored(revision: int) -> None:
    version = make_version(revision, read_by="feedparser")
    assert derive(version) == "pending"
    assert derive(version, make_letter(5)) == "dead"
    assert derive(version, make_letter(5, kind=REMOVED)) == "removed"


def test_among_lenient_readings_the_table_holds() -> None:
    later = make_version(6, read_by="feedparser", content_hash="x")
    assert derive(later, is_lenient=True) == "superseded"
    assert derive(make_version(4, read_by="feedparser"), is_lenient=True) == "pending"
