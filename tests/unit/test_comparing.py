"""The shortcuts of compare, and when they must not be taken."""

import pytest

from server.importing.comparing import Candidate, Compared, Rivals, _sort
from shared.store import DeadLetter, DeathKind, StoredVersion
from tests.factories import make_letter, make_version

NO_RIVALS = Rivals(frozenset(), is_any_uncommitted=False)
REMOVED = DeathKind.REMOVED


def sort(
    version: StoredVersion | None = None,
    letter: DeadLetter | None = None,
    rivals: Rivals = NO_RIVALS,
) -> str:
    """Compare an item with hash ``h``; return the name of where it ended."""
    compared = Compared()
    _sort(
        Candidate("lwn#1", "h", {}),
        5,
        rivals,
        {"lwn#1": letter} if letter else {},
        {"lwn#1": version} if version else {},
        compared,
    )
    counts = {
        "journaled": len(compared.entries),
        "unchanged": compared.unchanged,
        "dead": compared.dead,
        "removed": compared.removed,
    }
    [ended] = [name for name, count in counts.items() if count]
    return ended


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
