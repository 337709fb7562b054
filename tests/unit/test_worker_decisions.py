"""The highest rank wins: what is written, and how it ends, given what is stored."""

import pytest

from shared.queue import JobQueue, connect
from shared.store import LetterKind, StoredVersion
from shared.store.items import WriteKind
from tests.factories import NOON, make_data, make_decoded, make_letter, make_version
from tests.fakes import FakeClock
from worker.decisions import Decision, Outcome, decide, newest_by_id, outcome_beneath
from worker.decoding import DecodedItem

QUEUE = JobQueue(connect("redis://127.0.0.1:1"), "items", clock=FakeClock())


def item(
    revision: int = 5, import_id: str | None = "i5", title: str = "A", **fields: str
) -> DecodedItem:
    data = make_data(title=title, **fields)
    return make_decoded(QUEUE, data | ({"import_id": import_id} if import_id else {}), revision)


HASH = item().content_hash


def test_an_absent_item_is_inserted() -> None:
    assert decide(item(), None, None) == Decision(WriteKind.INSERT, Outcome.NEW)


# Below and above any hash: whether content is the same is not a matter of order.
@pytest.mark.parametrize("other_hash", ["", "x"])
def test_older_content_is_updated_and_the_same_content_only_raised(other_hash: str) -> None:
    other = make_version(4, content_hash=other_hash)
    assert decide(item(), other, None) == Decision(WriteKind.UPDATE, Outcome.UPDATED)
    same = make_version(4, content_hash=HASH)
    assert decide(item(), same, None) == Decision(WriteKind.RAISE, Outcome.UNCHANGED)


@pytest.mark.parametrize(
    ("stored", "outcome"),
    [
        (make_version(5, created_by="i5"), Outcome.NEW),
        (make_version(6, created_by="i5"), Outcome.NEW),
        (make_version(5, modified_by="i5"), Outcome.UPDATED),
        (make_version(6, content_hash=HASH), Outcome.UNCHANGED),
        (make_version(6, content_hash=""), Outcome.SUPERSEDED),
        (make_version(6, content_hash="x"), Outcome.SUPERSEDED),
        (make_version(5), Outcome.SUPERSEDED),
    ],
)
def test_the_same_or_a_higher_revision_is_never_written(stored: object, outcome: Outcome) -> None:
    assert decide(item(), stored, None) == Decision(None, outcome)  # type: ignore[arg-type]


def test_an_item_of_no_import_does_not_pass_for_the_author_of_another_such() -> None:
    assert decide(item(import_id=None), make_version(5), None).outcome is Outcome.SUPERSEDED


@pytest.mark.parametrize("revision", [5, 6])
def test_what_an_operator_removed_does_not_come_back(revision: int) -> None:
    letter = make_letter(revision, kind=LetterKind.REMOVED)
    assert decide(item(), None, letter) == Decision(None, Outcome.REMOVED)
    assert decide(item(), make_version(3), letter) == Decision(None, Outcome.REMOVED)


def test_the_same_content_of_a_later_import_does_not_come_back_either() -> None:
    letter = make_letter(4, kind=LetterKind.REMOVED, content_hash=HASH)
    assert decide(item(), None, letter) == Decision(None, Outcome.REMOVED)
    assert decide(item(), make_version(3), letter) == Decision(None, Outcome.REMOVED)


def test_a_removal_beneath_what_is_stored_holds_no_longer() -> None:
    letter = make_letter(2, kind=LetterKind.REMOVED, content_hash=HASH)
    assert decide(item(), make_version(3), letter).write is WriteKind.UPDATE


def test_other_content_newer_than_a_removal_is_stored() -> None:
    letter = make_letter(4, kind=LetterKind.REMOVED)
    assert decide(item(), None, letter).write is WriteKind.INSERT


def test_a_removal_below_a_later_death_still_holds() -> None:
    history = [
        {"revision": 5, "kind": "removed", "import_id": None, "content_hash": "h", "at": NOON}
    ]
    letter = make_letter(7, history=history)
    assert decide(item(), None, letter).outcome is Outcome.REMOVED


def test_a_death_in_this_very_import_is_not_run_again() -> None:
    assert decide(item(), None, make_letter(5, import_id="i5")) == Decision(None, Outcome.DEAD)


@pytest.mark.parametrize(
    "letter", [make_letter(5, import_id="other"), make_letter(4, import_id="i5"), make_letter(9)]
)
def test_any_other_death_does_not_keep_an_item_away(letter: object) -> None:
    assert decide(item(), None, letter).write is WriteKind.INSERT  # type: ignore[arg-type]


def test_a_letter_says_nothing_of_an_item_that_is_stored() -> None:
    letter = make_letter(5, import_id="i5", kind=LetterKind.REMOVED)
    stored = make_version(5, created_by="i5")
    assert decide(item(), stored, letter).outcome is Outcome.NEW


def test_of_two_jobs_of_one_item_the_higher_revision_is_written() -> None:
    low, high = item(3), item(4)
    assert newest_by_id([low, high]) == newest_by_id([high, low]) == {"lwn#1": high}


def lenient(revision: int = 5) -> DecodedItem:
    return item(revision, read_by="feedparser")


def lenient_version(revision: int, **fields: str) -> StoredVersion:
    return make_version(revision, read_by="feedparser", **fields)


@pytest.mark.parametrize("revision", [4, 5, 6])
@pytest.mark.parametrize("content_hash", ["x", HASH])
def test_a_lenient_reading_leaves_a_strict_one_alone_whatever_the_revisions(
    revision: int, content_hash: str
) -> None:
    stored = make_version(revision, content_hash=content_hash)
    assert decide(lenient(), stored, None) == Decision(None, Outcome.UNCHANGED)


@pytest.mark.parametrize("revision", [4, 5, 6])
def test_a_strict_reading_replaces_a_lenient_one_whatever_the_revisions(revision: int) -> None:
    other = decide(item(), lenient_version(revision), None)
    assert other == Decision(WriteKind.UPDATE, Outcome.UPDATED, over_lenient=True)
    same = decide(item(), lenient_version(revision, content_hash=HASH), None)
    assert same == Decision(WriteKind.RAISE, Outcome.UNCHANGED, over_lenient=True)


def test_among_lenient_readings_the_higher_revision_wins() -> None:
    assert decide(lenient(), lenient_version(4), None).write is WriteKind.UPDATE
    assert decide(lenient(), lenient_version(6), None) == Decision(None, Outcome.SUPERSEDED)


def test_a_lenient_reading_that_its_import_stored_is_new_though_a_strict_one_replaced_it() -> None:
    assert decide(lenient(), make_version(4, created_by="i5"), None).outcome is Outcome.NEW


def test_of_two_jobs_of_one_item_the_strict_one_is_written() -> None:
    strict, later = item(3), lenient(4)
    assert newest_by_id([strict, later]) == newest_by_id([later, strict]) == {"lwn#1": strict}
    assert outcome_beneath(later, strict.rank, "x") is Outcome.UNCHANGED
    assert outcome_beneath(strict, item(4).rank, "x") is Outcome.SUPERSEDED


def test_a_removal_holds_for_older_readings_of_either_kind() -> None:
    letter = make_letter(5, kind=LetterKind.REMOVED, read_by="feedparser")
    assert decide(item(), None, letter).outcome is Outcome.REMOVED
    assert decide(lenient(), None, letter).outcome is Outcome.REMOVED
    assert decide(item(), lenient_version(6), letter).outcome is Outcome.REMOVED
