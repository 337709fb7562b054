"""The auditor among many imports: one that cannot be audited holds up no other, no mark is lost."""

from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.errors import StoreUnavailable
from shared.queue import RedisConnection
from shared.store import Import, ImportState, Stores
from tests.actors import Held
from tests.failpoints import FailPoints, full_redis
from tests.fakes import FakeClock
from tests.mill import SOURCE, Mill
from tests.oracle import assert_accounted_for


def state_of(mill: Mill, wanted: Import) -> ImportState:
    found = mill.stores.imports.get(wanted.import_id)
    assert found is not None
    return found.state


def look_again(mill: Mill, seconds: float = 1) -> None:
    mill.clock.advance(seconds=seconds)
    mill.server.look()


def warnings_of(logs: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in logs if line["log_level"] in ("warning", "error")]


# Redis is full.


@pytest.fixture
def strict_mill(redis_client: RedisConnection, stores: Stores) -> Mill:
    return Mill(redis_client, stores.database, FakeClock(), job_max_bytes=2000)


def test_an_item_that_is_too_large_holds_up_no_commit_in_a_full_redis(strict_mill: Mill) -> None:
    mill = strict_mill
    good = {f"g{number}": "Title" for number in range(20)}
    mill.subscribe({**good, "large": "x" * 3000})
    started = mill.server.start(SOURCE)
    with full_redis(mill.redis):
        for _ in range(5):
            while mill.server.fetch():
                pass
            mill.clock.advance(seconds=30)
        assert state_of(mill, started) is ImportState.IMPORTING
    assert mill.press.requests == 1
    mill.come_to_rest()
    mill.clock.advance(hours=1)
    mill.come_to_rest()
    assert_accounted_for(mill, good, dead=["large"])


def poll_without_jobs(mill: Mill, source: str) -> Import:
    """Import a feed of one item, and lose its job."""
    mill.subscribe({"a": "A"}, source)
    imported = mill.poll(source=source)
    mill.item_queues[0].remove_many([f"{source}#a"])
    return imported


def test_an_import_whose_jobs_redis_refuses_holds_up_no_other(mill: Mill) -> None:
    lacking = [poll_without_jobs(mill, source) for source in ("a", "b", "c")]
    mill.subscribe({"z": "Z"}, "z")
    stored = mill.poll(source="z")
    mill.work()
    mill.server.look()
    mill.clock.advance(seconds=61)
    with full_redis(mill.redis), capture_logs() as logs:
        mill.server.look()
        assert state_of(mill, stored) is ImportState.COMPLETED
        [line] = warnings_of(logs)
        assert line["event"] == "audits_failed"
        assert line["imports"] == 3
        assert set(line["import_ids"]) == {one.import_id for one in lacking}
        for _ in range(3):
            look_again(mill, 0.3)
        assert len(warnings_of(logs)) == 1
    look_again(mill, 60)
    mill.work()
    look_again(mill)
    assert {state_of(mill, one) for one in lacking} == {ImportState.COMPLETED}


def test_an_import_whose_journal_is_spoilt_holds_up_no_other(mill: Mill) -> None:
    spoilt = poll_without_jobs(mill, "a")
    lacking = poll_without_jobs(mill, "b")
    chunks = mill.database.collection("journal")
    chunks.update_many({"import_id": spoilt.import_id}, {"$set": {"body": b"nonsense"}})
    mill.server.look()
    with capture_logs() as logs:
        look_again(mill, 61)
        look_again(mill)
    mill.work()
    look_again(mill)
    assert state_of(mill, lacking) is ImportState.COMPLETED
    assert state_of(mill, spoilt) is ImportState.IMPORTING
    [line] = warnings_of(logs)
    assert line["import_ids"] == [spoilt.import_id]
    assert f"journal: document '{spoilt.import_id}#1#0' cannot be read" in line["error"]


def test_a_record_that_is_away_is_told_once_and_not_once_an_import(
    mill: Mill, failing: FailPoints
) -> None:
    for source in ("a", "b", "c"):
        poll_without_jobs(mill, source)
    mill.server.look()
    mill.clock.advance(seconds=61)
    with capture_logs() as logs:
        failing.fail("update", times=None, errorCode=91)
        with pytest.raises(StoreUnavailable):
            mill.server.look()
    assert warnings_of(logs) == []


def test_what_is_to_be_healed_and_refused_holds_up_no_audit(mill: Mill) -> None:
    mill.subscribe({"z": "Z"}, "z")
    stored = mill.poll(source="z")
    mill.work()
    mill.subscribe({"a": "A"}, "a")
    mill.server.start("a")
    mill.fetch_queue.remove_many(["feed#a"])
    mill.clock.advance(seconds=30)
    with full_redis(mill.redis):
        mill.server.look()
        look_again(mill)
    assert state_of(mill, stored) is ImportState.COMPLETED


def test_a_redis_that_was_lost_and_is_full_is_matched_when_it_has_room(mill: Mill) -> None:
    mill.subscribe({"a": "A", "bad": "poison"})
    mill.poll()
    mill.work()
    mill.clock.advance(seconds=60)
    mill.come_to_rest()
    imported = mill.poll({"a": "A", "bad": "poison", "b": "B"})
    mill.lose_redis()
    with full_redis(mill.redis):
        mill.server.look()
        look_again(mill)
        assert state_of(mill, imported) is ImportState.IMPORTING
    look_again(mill, 5)
    mill.come_to_rest()
    assert_accounted_for(mill, {"a": "A", "b": "B"}, dead=["bad"])


# Busy marks: each test ends within seconds, not after the minute of an import that stands still.


def close_soon(mill: Mill, wanted: Import) -> None:
    """Assert that an import is closed within three seconds of work."""
    for _ in range(3):
        mill.work()
        look_again(mill)
    assert state_of(mill, wanted) is ImportState.COMPLETED


def test_a_mark_of_an_import_that_is_committed_while_others_are_read_is_kept(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    mill.poll()
    with Held(mill.work, mill.worker.stores.items, "write_many"):
        look = Held(mill.server.look, mill.server.stores.imports, "find_importing", after=True)
        with look:
            newer = mill.poll({"a": "A2"})
    close_soon(mill, newer)


def test_a_mark_that_is_set_during_an_audit_is_kept(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    imported = mill.poll()
    mill.server.process.base.audits.note_busy(imported.import_id)
    mill.server.look()
    mill.clock.advance(seconds=1)
    mill.server.process.base.audits.note_busy(imported.import_id)
    with Held(mill.server.look, mill.server.stores.journal, "read_entries"):
        mill.server.process.base.audits.note_busy(imported.import_id)
    [mark_before] = audited_at(mill)
    look_again(mill)
    [mark_after] = audited_at(mill)
    assert mark_after > mark_before


def audited_at(mill: Mill) -> list[Any]:
    return [found["audited_at"] for found in mill.database.collection("imports").find()]


def test_a_mark_outlives_an_audit_that_failed(mill: Mill, failing: FailPoints) -> None:
    mill.subscribe({"a": "A"})
    imported = mill.poll()
    mill.item_queues[0].remove_many([f"{SOURCE}#a"])
    mill.server.look()
    mill.server.process.base.audits.note_busy(imported.import_id)
    mill.clock.advance(seconds=1)
    with full_redis(mill.redis):
        mill.server.look()
    close_soon(mill, imported)


def test_a_replay_of_an_item_that_is_being_run_is_closed_when_that_has_ended(mill: Mill) -> None:
    mill.subscribe({"a": "poison"})
    mill.poll()
    mill.work()
    mill.clock.advance(seconds=60)
    mill.come_to_rest()
    mill.poll({"a": "Good"})
    with Held(mill.work, mill.worker.stores.items, "write_many"):
        [replayed] = mill.server.services.replayer.replay(everything=True).imports
    close_soon(mill, replayed)
    assert_accounted_for(mill, {"a": "Good"})
