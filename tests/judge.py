"""The one judgement on what has come to rest: is every item accounted for, and no other."""

from collections.abc import Collection, Mapping

from shared.queue import JobState
from shared.store import ImportState, LetterKind
from tests.fake_publisher import hash_of
from tests.harness import SOURCE, Harness

# What a queue keeps when all its jobs are gone.
_LASTING_KEYS = frozenset({"meta", "id", "events", "marker", "stalled-check"})
_DEAD_LETTERS = 10_000


def assert_accounted_for(
    harness: Harness,
    stored: Mapping[str, str],
    *,
    dead: Collection[str] = (),
    removed: Collection[str] = (),
    source: str = SOURCE,
) -> None:
    """Assert that a source's items ended as they should, and that nothing is left over.

    ``stored`` holds the titles by guid of the latest version that was shown, each of which has to
    be the document exactly. ``dead`` and ``removed`` are guids whose latest version must have a
    dead letter, and is no document; an older version of theirs may be one. There is nothing else,
    neither in MongoDB nor in the dead-letter queue.
    """
    expected = {f"{source}#{guid}": hash_of(guid, title) for guid, title in stored.items()}
    dead_ids = {f"{source}#{guid}" for guid in dead}
    removed_ids = {f"{source}#{guid}" for guid in removed}
    _assert_documents(harness, expected, dead_ids | removed_ids)
    _assert_dead_letters(harness, dead_ids, removed_ids)
    assert_imports_balance(harness)
    assert_nothing_left(harness)


def _assert_documents(harness: Harness, expected: Mapping[str, str], ended: set[str]) -> None:
    hashes = _documents(harness)
    assert {item_id: hashes.get(item_id) for item_id in expected} == expected
    others = {item_id: digest for item_id, digest in hashes.items() if item_id not in expected}
    assert set(others) <= ended, "an item that nobody published"
    for item_id, digest in others.items():
        assert digest in harness.publisher.served[item_id], (
            f"{item_id} was never published like this"
        )


def _assert_dead_letters(harness: Harness, dead: set[str], removed: set[str]) -> None:
    letters = harness.database.collection("dead_letters")
    kinds = {letter["_id"]: letter["kind"] for letter in letters.find({}, {"kind": 1})}
    assert kinds == {
        **dict.fromkeys(dead, LetterKind.DEAD),
        **dict.fromkeys(removed, LetterKind.REMOVED),
    }
    jobs = harness.dead_letter_queue.list_jobs(JobState.WAITING, 0, _DEAD_LETTERS)
    assert {job.id for job in jobs} == dead, "the dead-letter queue differs from the record"


def assert_imports_balance(harness: Harness) -> None:
    """Assert that every import is closed, and that its counts sum up to what it fetched."""
    for found in harness.database.collection("imports").find():
        assert found["state"] in (ImportState.COMPLETED, ImportState.FAILED), found
        assert found["open"] is False, found
        counts = dict(found.get("counts") or {"fetched": 0})
        assert counts.get("pending", 0) == 0, found
        assert counts.pop("fetched") == sum(counts.values()), found


def assert_nothing_left(harness: Harness) -> None:
    """Assert that no journal, document, running import, job, lock or counter is left."""
    _assert_nothing_left_in_mongodb(harness)
    _assert_nothing_left_in_redis(harness)


def _assert_nothing_left_in_mongodb(harness: Harness) -> None:
    assert harness.stores.journal.read_lowest_revisions() == {}
    assert harness.stores.documents.read_import_ids() == set()
    assert harness.stores.feeds.find_running() == []


def _assert_nothing_left_in_redis(harness: Harness) -> None:
    """Jobs, locks and counters are gone; what only guards repeated calls may wait for its time."""
    for queue in harness.item_queues:
        base = queue.keys.base
        for key in harness.redis.scan_iter(match=f"{base}*", count=1000):
            name = key.decode().removeprefix(base)
            is_lasting = name in _LASTING_KEYS or name in ("own:totals", "own:incarnation")
            # A settlement that comes after its import was closed raises a counter once more.
            # -1 is a key without an end; one that has just gone answers -2.
            is_passing = (
                name.startswith(("own:claim:", "own:tally:")) and harness.redis.pttl(key) != -1
            )
            assert is_lasting or is_passing, f"left over in Redis: {key!r}"
    locks = list(harness.redis.scan_iter(match="*:lock", count=1000))
    assert locks == []


def _documents(harness: Harness) -> dict[str, str]:
    found = harness.database.collection("items").find({}, {"content_hash": 1})
    return {document["_id"]: document["content_hash"] for document in found}
