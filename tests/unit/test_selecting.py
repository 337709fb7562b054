"""The shortcuts of compare, and when they must not be taken."""

from typing import Any

import pytest

from server.importing.selecting import Rivals, judge
from server.importing.values import Candidate
from shared.models import counters_hash, get_reader
from shared.store import DeadLetter, LetterKind, StoredVersion
from tests.factories import make_letter, make_version

NO_RIVALS = Rivals(frozenset(), is_any_uncommitted=False)
REMOVED = LetterKind.REMOVED


def sort(
    version: StoredVersion | None = None,
    letter: DeadLetter | None = None,
    rivals: Rivals = NO_RIVALS,
    data: dict[str, Any] | None = None,
) -> str:
    """Compare an item with hash ``h``; return the verdict."""
    held = data or {}
    is_lenient = get_reader(held) is not None
    candidate = Candidate("lwn#1", "h", b"{}", counters_hash(held), is_lenient)
    return judge(candidate, rivals, letter, version)


@pytest.mark.parametrize(
    ("version", "letter", "expected"),
    [
        (None, None, "journaled"),
        (make_version(1), None, "unchanged"),
        (make_version(1, content_hash="x"), None, "journaled"),
        (None, make_letter(2), "dead"),
        (None, make_letter(2, kind=REMOVED), "removed"),
        (None, make_letter(2, content_hash="x"), "journaled"),
        (make_version(1), make_letter(2), "dead"),
        (make_version(1), make_letter(2, content_hash="x"), "journaled"),
        (make_version(2), make_letter(2), "unchanged"),
        (make_version(3, content_hash="x"), make_letter(2), "journaled"),
    ],
)
def test_an_item_is_sorted_by_what_is_on_record(
    version: StoredVersion | None, letter: DeadLetter | None, expected: str
) -> None:
    assert sort(version, letter) == expected


@pytest.mark.parametrize(
    "rivals",
    [
        Rivals(frozenset({"lwn#1"}), is_any_uncommitted=False),
        Rivals(frozenset(), is_any_uncommitted=True),
    ],
)
@pytest.mark.parametrize(
    ("version", "letter"),
    [(make_version(1), None), (None, make_letter(2)), (None, make_letter(2, kind=REMOVED))],
)
def test_no_shortcut_is_taken_while_another_import_may_touch_the_item(
    rivals: Rivals, version: StoredVersion | None, letter: DeadLetter | None
) -> None:
    assert sort(version, letter, rivals) == "journaled"


LENIENT = {"read_by": "feedparser"}


@pytest.mark.parametrize(
    ("version", "letter", "expected"),
    [
        (None, None, "journaled"),
        (make_version(1), None, "unchanged"),
        (make_version(1, content_hash="x"), None, "unchanged"),
        (make_version(1), make_letter(2), "unchanged"),
        (make_version(1, **LENIENT), None, "unchanged"),
        (make_version(1, **LENIENT, content_hash="x"), None, "journaled"),
        (make_version(1, **LENIENT), make_letter(2, **LENIENT, content_hash="x"), "journaled"),
        # The death of a strict reading, which no lenient one would clear.
        (make_version(1, **LENIENT), make_letter(2, content_hash="x"), "unchanged"),
        (None, make_letter(2), "dead"),
    ],
)
def test_a_lenient_reading_is_sorted_by_what_is_on_record(
    version: StoredVersion | None, letter: DeadLetter | None, expected: str
) -> None:
    assert sort(version, letter, data=LENIENT) == expected


@pytest.mark.parametrize(
    ("version", "letter", "expected"),
    [
        (make_version(9, **LENIENT), None, "journaled"),
        (make_version(9, **LENIENT, content_hash="x"), None, "journaled"),
        # A lenient reading outdates no death of a strict one.
        (make_version(9, **LENIENT), make_letter(2), "dead"),
        (make_version(1), make_letter(2, **LENIENT), "unchanged"),
    ],
)
def test_a_strict_reading_is_not_stored_by_a_lenient_one(
    version: StoredVersion | None, letter: DeadLetter | None, expected: str
) -> None:
    assert sort(version, letter) == expected


def test_a_lenient_reading_takes_no_shortcut_beside_an_import_that_may_touch_it() -> None:
    rivals = Rivals(frozenset({"lwn#1"}), is_any_uncommitted=False)
    assert sort(make_version(1), None, rivals, data=LENIENT) == "journaled"


def test_changed_counters_are_journaled_and_the_same_are_not() -> None:
    data = {"extra": [{"name": "slash:comments", "value": "3"}]}
    assert sort(make_version(1), data=data) == "journaled"
    assert sort(make_version(1, counters_hash=counters_hash(data)), data=data) == "unchanged"
    assert sort(make_version(1, counters_hash=counters_hash(data))) == "journaled"
