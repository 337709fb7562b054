"""The auditor among many imports: one that cannot be audited holds up no other, no mark is lost."""

from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.errors import StoreUnavailable
from shared.models import encode_json
from shared.queue import RedisConnection
from shared.store import Import, ImportState, JournalEntry, Stores, Trigger
from tests.factories import make_letter
from tests.failpoints import NO_DISK, FailPoints, full_redis
from tests.fakes import FakeClock
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for
from tests.roles import Held


def state_of(harness: Harness, wanted: Import) -> ImportState:
    found = harness.stores.imports.get(wanted.import_id)
    assert found is not None
    return found.state


def look_again(harness: Harness, seconds: float = 1) -> None:
    harness.clock.advance(seconds=seconds)
    harness.server.look()


def warnings_of(logs: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in logs if line["log_level"] in ("warning", "error")]


# Redis is full.


@pytest.fixture
def strict_harness(redis_client: RedisConnection, stores: Stores) -> Harness:
    return Harness(redis_client, stores.database, FakeClock(), job_max_bytes=2000)


def test_an_item_that_is_too_large_holds_up_no_commit_in_a_full_redis(
    strict_harness: Harness,
) -> None:
    harness = strict_harness
    good = {f"g{number}": "Title" for number in range(20)}
    harness.subscribe({**good, "large": "x" * 3000})
    started = harness.server.start(SOURCE)
    with full_redis(harness.redis):
        for _ in range(5):
            while harness.server.fetch():
                pass
            harness.clock.advance(seconds=30)
        assert state_of(harness, started) is ImportState.IMPORTING
    assert harness.publisher.requests == 1
    harness.come_to_rest()
    harness.clock.advance(hours=1)
    harness.come_to_rest()
    assert_accounted_for(harness, good, dead=["large"])


def poll_without_jobs(harness: Harness, source: str) -> Import:
    """Import a feed of one item, and lose its job."""
    harness.subscribe({"a": "A"}, source)
    imported = harness.poll(source=source)
    harness.item_queues[0].remove_many([f"{source}#a"])
    return imported


def test_an_import_whose_jobs_redis_refuses_holds_up_no_other(harness: Harness) -> None:
    lacking = [poll_without_jobs(harness, source) for source in ("a", "b", "c")]
    harness.subscribe({"z": "Z"}, "z")
    stored = harness.poll(source="z")
    harness.work()
    harness.server.look()
    harness.clock.advance(seconds=61)
    with full_redis(harness.redis), capture_logs() as logs:
        harness.server.look()
        assert state_of(harness, stored) is ImportState.COMPLETED
        [line] = warnings_of(logs)
        assert line["event"] == "audits_failed"
        assert line["imports"] == 3
        assert set(line["import_ids"]) == {one.import_id for one in lacking}
        for _ in range(3):
            look_again(harness, 0.3)
        assert len(warnings_of(logs)) == 1
    look_again(harness, 60)
    harness.work()
    look_again(harness)
    assert {state_of(harness, one) for one in lacking} == {ImportState.COMPLETED}


def test_an_import_whose_journal_is_spoilt_holds_up_no_other(harness: Harness) -> None:
    spoilt = poll_without_jobs(harness, "a")
    lacking = poll_without_jobs(harness, "b")
    chunks = harness.database.collection("journal")
    chunks.update_many({"import_id": spoilt.import_id}, {"$set": {"body": b"nonsense"}})
    harness.server.look()
    with capture_logs() as logs:
        look_again(harness, 61)
        look_again(harness)
    harness.work()
    look_again(harness)
    assert state_of(harness, lacking) is ImportState.COMPLETED
    assert state_of(harness, spoilt) is ImportState.IMPORTING
    [line] = warnings_of(logs)
    assert line["import_ids"] == [spoilt.import_id]
    assert f"journal: document '{spoilt.import_id}#1#0' cannot be read" in line["error"]


def test_a_death_in_another_import_of_the_same_content_revision_ends_no_entry(
    harness: Harness,
) -> None:
    item_id = f"{SOURCE}#g1"
    entry = JournalEntry(item_id, 1, "hash", encode_json({"source": SOURCE, "guid": "g1"}))
    importing = Import(
        "page2",
        SOURCE,
        [],
        Trigger.PULL,
        ImportState.FETCHING,
        harness.clock.now(),
        revision=5,
        content_revision=1,
    )
    harness.stores.imports.insert(importing)
    harness.stores.journal.insert_chunk("page2", 5, 0, [entry])
    outcome = {"state": ImportState.IMPORTING, "journaled": 1, "counts": {"fetched": 1}}
    assert harness.stores.imports.commit("page2", 5, outcome)
    died_before = make_letter(1, item_id=item_id, source=SOURCE, guid="g1", import_id="page1")
    harness.stores.dead_letters.record_many([died_before])

    assert not harness.server.audit("page2")
    died_here = make_letter(1, item_id=item_id, source=SOURCE, guid="g1", import_id="page2")
    harness.stores.dead_letters.record_many([died_here])

    assert harness.server.audit("page2")


def test_a_record_that_is_away_is_told_once_and_not_once_an_import(
    harness: Harness, failing: FailPoints
) -> None:
    for source in ("a", "b", "c"):
        poll_without_jobs(harness, source)
    harness.server.look()
    harness.clock.advance(seconds=61)
    with capture_logs() as logs:
        failing.fail("update", times=None, errorCode=NO_DISK)
        with pytest.raises(StoreUnavailable):
            harness.server.look()
    assert warnings_of(logs) == []


def test_what_is_to_be_healed_and_refused_holds_up_no_audit(harness: Harness) -> None:
    harness.subscribe({"z": "Z"}, "z")
    stored = harness.poll(source="z")
    harness.work()
    harness.subscribe({"a": "A"}, "a")
    harness.server.start("a")
    harness.fetch_queue.remove_many(["feed#a"])
    harness.clock.advance(seconds=30)
    with full_redis(harness.redis):
        harness.server.look()
        look_again(harness)
    assert state_of(harness, stored) is ImportState.COMPLETED


def test_a_redis_that_was_lost_and_is_full_is_matched_when_it_has_room(harness: Harness) -> None:
    harness.subscribe({"a": "A", "bad": "poison"})
    harness.poll()
    harness.work()
    harness.clock.advance(seconds=60)
    harness.come_to_rest()
    imported = harness.poll({"a": "A", "bad": "poison", "b": "B"})
    harness.lose_redis()
    with full_redis(harness.redis):
        harness.server.look()
        look_again(harness)
        assert state_of(harness, imported) is ImportState.IMPORTING
    look_again(harness, 5)
    harness.come_to_rest()
    assert_accounted_for(harness, {"a": "A", "b": "B"}, dead=["bad"])


# Busy marks: each test ends within seconds, not after the minute of an import that stands still.


def close_soon(harness: Harness, wanted: Import) -> None:
    """Assert that an import is closed within three seconds of work."""
    for _ in range(3):
        harness.work()
        look_again(harness)
    assert state_of(harness, wanted) is ImportState.COMPLETED


def test_a_mark_of_an_import_that_is_committed_while_others_are_read_is_kept(
    harness: Harness,
) -> None:
    harness.subscribe({"a": "A"})
    harness.poll()
    with Held(harness.work, harness.worker.stores.items, "write_many"):
        look = Held(
            harness.server.look, harness.server.stores.imports, "find_importing", after=True
        )
        with look:
            newer = harness.poll({"a": "A2"})
    close_soon(harness, newer)


def test_a_mark_that_is_set_during_an_audit_is_kept(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    imported = harness.poll()
    harness.server.process.base.audits.note_busy(imported.import_id)
    harness.server.look()
    harness.clock.advance(seconds=1)
    harness.server.process.base.audits.note_busy(imported.import_id)
    with Held(harness.server.look, harness.server.stores.journal, "read_entries"):
        harness.server.process.base.audits.note_busy(imported.import_id)
    [mark_before] = audited_at(harness)
    look_again(harness)
    [mark_after] = audited_at(harness)
    assert mark_after > mark_before


def audited_at(harness: Harness) -> list[Any]:
    return [found["audited_at"] for found in harness.database.collection("imports").find()]


def test_a_mark_outlives_an_audit_that_failed(harness: Harness, failing: FailPoints) -> None:
    harness.subscribe({"a": "A"})
    imported = harness.poll()
    harness.item_queues[0].remove_many([f"{SOURCE}#a"])
    harness.server.look()
    harness.server.process.base.audits.note_busy(imported.import_id)
    harness.clock.advance(seconds=1)
    with full_redis(harness.redis):
        harness.server.look()
    close_soon(harness, imported)


def test_a_replay_of_an_item_that_is_being_run_is_closed_when_that_has_ended(
    harness: Harness,
) -> None:
    harness.subscribe({"a": "poison"})
    harness.poll()
    harness.work()
    harness.clock.advance(seconds=60)
    harness.come_to_rest()
    harness.poll({"a": "Good"})
    with Held(harness.work, harness.worker.stores.items, "write_many"):
        [replayed] = harness.server.services.replayer.replay(everything=True).imports
    close_soon(harness, replayed)
    assert_accounted_for(harness, {"a": "Good"})
