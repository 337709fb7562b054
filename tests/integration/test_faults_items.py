"""Items that cannot be stored die on their own; late, repeated and stale ones change nothing."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import bson
import pytest
from pymongo.database import Database

from shared.queue import AddOutcome, JobState, RedisConnection
from shared.store import Stores
from tests.factories import Bench, make_data, make_job
from tests.failpoints import refuse_titles
from tests.queue_states import lose_locks, whole_state
from worker.decoding import DecodedItem


def add_raw(bench: Bench, job_id: str, raw_data: bytes) -> None:
    """Add a job whose data a foreign producer wrote, whatever it is."""
    bench.queue.add_many([make_job(make_data(job_id.partition("#")[2]), 1, id=job_id)])
    bench.redis.hset(bench.queue.keys.job(job_id), "data", raw_data)


def foreign(**fields: Any) -> bytes:
    return json.dumps({"source": "lwn", "guid": "bad"} | fields).encode()


BAD = {
    "surrogate in what is not json": (b'{"title": "\\ud800"', "undecodable"),
    "surrogate where no text may be": (foreign(published_at="\ud800"), "invalid"),
    "number over 64 bits": (foreign(enclosures=[{"url": "u", "length": 2**70}]), "invalid"),
    "number over int64": (foreign(enclosures=[{"url": "u", "length": 2**64 - 1}]), "unencodable"),
    "deep": (foreign(title=0).replace(b"0", b"[" * 3000 + b"]" * 3000), "undecodable"),
    "not utf-8": (b'{"source": "lwn", "guid": "bad", "title": 5, "x": "\xff\xfe"}', "invalid"),
    "not json": (b"{nonsense", "undecodable"),
    "empty": (b"", "undecodable"),
    "no object": (b"[]", "invalid"),
    "no guid": (b'{"source": "lwn"}', "invalid"),
    "wrong type": (foreign(title=5), "invalid"),
    "operator as source": (b'{"source": {"$gt": ""}, "guid": "bad"}', "invalid"),
    "year 10000": (foreign(published_at="10000-01-01T00:00:00Z"), "invalid"),
    "over the limit": (foreign(title="x" * 1_100_000), "too_large"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_item_is_dead_at_once_and_its_batch_mates_are_stored(bench: Bench, name: str) -> None:
    raw_data, error_type = BAD[name]
    bench.add(make_data("1"), make_data("2"))
    add_raw(bench, "lwn#bad", raw_data)
    bench.add(make_data("3"), make_data("4"))
    bench.work()
    assert set(bench.titles()) == {"1", "2", "3", "4"}
    assert bench.left() == {}
    [letter] = bench.dead().values()
    assert (letter.item_id, letter.error_type, letter.attempts) == ("lwn#bad", error_type, 1)
    assert bench.dlq.counts()[JobState.WAITING] == 1
    assert len(bench.held) == 0


def test_an_item_with_half_an_emoji_is_stored(bench: Bench) -> None:
    add_raw(bench, "lwn#half", foreign(guid="half", title="Hello \ud83d", categories=["\ude00"]))
    bench.work()
    [stored] = bench.documents().values()
    assert (stored["title"], stored["categories"]) == ("Hello \ufffd", ["\ufffd"])
    assert bench.left() == {}


def test_an_item_whose_producer_has_fields_called_indexer_and_epoch_is_stored_or_dies(
    bench: Bench,
) -> None:
    named = {"indexer": "some-value", "epoch": 1}
    bench.import_items(make_data("1", **named), make_data("2", title=5, **named), revision=None)
    assert bench.titles() == {"1": "Title 1"}
    assert bench.dead().keys() == {"2"}


def test_an_import_that_a_producer_names_is_not_that_of_its_item(bench: Bench) -> None:
    for title in ("first", "second"):
        job = make_job(make_data("1", title=title, import_id="mine-123"), None)
        bench.queue.add_many([replace(job, tally=None)])
        bench.work()
    [item] = bench.documents().values()
    assert (item["title"], item["created_by"], item["modified_by"]) == ("second", None, None)


def test_all_bad_items_of_one_batch_die_together(bench: Bench) -> None:
    for number, (raw_data, _) in enumerate(BAD.values()):
        add_raw(bench, f"lwn#{number}", raw_data.replace(b'"bad"', f'"{number}"'.encode()))
    bench.add(make_data("good"))
    bench.work()
    assert set(bench.titles()) == {"good"}
    assert len(bench.dead()) == len(BAD)
    assert bench.left() == {}


@pytest.mark.parametrize("text", ["漢" * 6_000_000, "x" * 17_000_000], ids=["6M of 3", "17M of 1"])
def test_a_dead_letter_too_large_for_a_document_is_recorded_without_its_data(
    bench: Bench, text: str
) -> None:
    add_raw(bench, "lwn#bad", json.dumps(make_data("bad", title=text), ensure_ascii=False).encode())
    bench.work()
    assert bench.dead()["bad"].error_type == "too_large"
    assert bench.left() == {}
    assert len(bench.held) == 0


def test_a_job_whose_id_is_no_text_dies_like_any_other(bench: Bench) -> None:
    bench.add(make_data("1"))
    job = bench.queue.keys.base.encode() + b"lwn#\xff"
    bench.redis.hset(job, mapping={"name": "item", "data": "{", "opts": "{}", "timestamp": "1"})
    bench.redis.lpush(bench.queue.keys.wait, b"lwn#\xff")
    bench.work()
    assert set(bench.titles()) == {"1"}
    [letter] = bench.dead().values()
    assert letter.guid.startswith("sha256:")
    assert bench.left() == {}


# Poison: what fails each time it is run.


def run_to_the_end(bench: Bench) -> list[int]:
    """Let time pass until nothing is left; return the delays that were waited for."""
    delays: list[int] = []
    bench.work()
    while bench.left():
        [view] = bench.queue.list_jobs(JobState.DELAYED, 0, 10)
        delays.append(view.delay_ms)
        bench.clock.advance(seconds=view.delay_ms / 1000)  # type: ignore[attr-defined]
        bench.work()
    return delays


def test_poison_is_tried_with_growing_pauses_and_is_stored_when_the_cause_is_fixed(
    bench: Bench, mongo_database: Database[dict[str, Any]]
) -> None:
    refuse_titles(mongo_database, "poison")
    bench.add(make_data("1"), make_data("2", title="poison"))
    assert run_to_the_end(bench) == [1000, 2000]
    [letter] = bench.dead().values()
    assert (letter.guid, letter.attempts) == ("2", 3)
    assert bench.queue.read_totals() == {"completed": 1, "failed": 1, "retried": 2}
    refuse_titles(mongo_database, None)
    replayer = bench.make_replayer()
    assert replayer.replay(everything=True).replayed == 1
    bench.work()
    assert bench.titles() == {"1": "Title 1", "2": "poison"}
    assert bench.dead() == {}
    assert sum(bench.dlq.counts().values()) == 0


def test_a_replay_that_fails_again_starts_with_fresh_attempts_and_keeps_the_history(
    bench: Bench, mongo_database: Database[dict[str, Any]]
) -> None:
    refuse_titles(mongo_database, "poison")
    bench.add(make_data("2", title="poison", import_id="i1"))
    run_to_the_end(bench)
    replayer = bench.make_replayer()
    [replayed] = replayer.replay(everything=True).imports
    assert run_to_the_end(bench) == [1000, 2000]
    [letter] = bench.dead().values()
    assert letter.attempts == 3
    assert [end["import_id"] for end in letter.history] == ["i1", replayed.import_id]


# Workers that die.


def worker_dies(bench: Bench) -> None:
    """Let a worker vanish with all that it holds, and the others notice."""
    for queue, locks in bench.held.by_queue():
        lose_locks(queue, *[lock.job_id for lock in locks])
    bench.queue.reclaim_stalled(max_stalled=2)


def test_a_job_that_kills_its_workers_is_run_alone_and_then_dead_and_no_other_is(
    redis_client: RedisConnection, stores: Stores
) -> None:
    crashes: list[list[str]] = []
    bench = Bench(redis_client, stores)
    bench.add(*[make_data(guid) for guid in ("1", "2", "killer", "3")])
    for _ in range(20):
        bench = Bench(redis_client, stores)
        taken = bench.take()
        held = [str(item.content["guid"]) for item in taken.items]
        if "killer" in held:
            crashes.append(held)
            worker_dies(bench)
        else:
            bench.finish(taken)
    assert bench.left() == {}
    assert set(bench.titles()) == {"1", "2", "3"}
    assert {guid: letter.error_type for guid, letter in bench.dead().items()} == {
        "killer": "stalled"
    }
    assert crashes[-1] == ["killer"]
    assert len(crashes) == 4


@pytest.fixture
def zombie(redis_client: RedisConnection, stores: Stores) -> Bench:
    """A worker that was frozen for longer than its locks last."""
    return Bench(redis_client, stores)


def settled_keys(bench: Bench) -> dict[str, Any]:
    """Return all that Redis holds of both queues; what a call alone leaves behind is left out."""
    state = whole_state(bench.queue) | whole_state(bench.dlq)
    return {name: value for name, value in state.items() if ":own:" not in name}


def test_a_worker_that_was_frozen_changes_nothing_of_what_another_one_holds(
    bench: Bench, zombie: Bench
) -> None:
    bench.add(make_data("1"), make_data("2", title=5))
    stale = zombie.take()
    worker_dies(zombie)
    fresh = bench.take()
    assert len(fresh.items) == len(fresh.failed) == 1
    before = settled_keys(bench)
    zombie.heartbeat.beat()
    assert len(zombie.held) == 0
    zombie.finish(stale)
    settlement = zombie.storer.reject(stale.items[0], ValueError("boom"))
    for kind, settle in zombie.settler._steps:
        if ends := settlement.of_kind(kind):
            settlement = settlement.without(kind, settle(settlement.queue, ends, Counter()))
    zombie.consumer.hand_over()
    assert bench.left() == {"active": 2}
    assert not any(bench.queue.read_totals().values())
    assert settled_keys(bench) == before
    bench.heartbeat.beat()
    assert len(bench.held) == 2
    bench.finish(fresh)
    assert bench.left() == {}
    assert bench.queue.read_totals() == {"completed": 1, "failed": 1, "retried": 0}


def test_the_late_write_of_a_frozen_worker_does_not_bring_old_content_back(
    bench: Bench, zombie: Bench
) -> None:
    bench.add(make_data("1", title="old"))
    stale = zombie.take()
    worker_dies(zombie)
    bench.work()
    bench.import_items(make_data("1", title="new"), revision=2)
    before = bench.documents()
    zombie.finish(stale)
    assert bench.documents() == before
    assert bench.titles() == {"1": "new"}


def test_a_buffered_item_whose_lock_was_lost_is_not_flushed(bench: Bench, zombie: Bench) -> None:
    bench.add(make_data("1"))
    [item] = zombie.take().items
    zombie.buffer.add(item)
    worker_dies(zombie)
    zombie.heartbeat.beat()
    zombie.consumer.step()
    assert [held.lock for held in zombie.buffer.drain_due(everything=True)] != [item.lock]


# Deliveries that are repeated, late or out of order.


def raw_document(bench: Bench, item_id: str) -> bytes:
    return bytes(bson.encode(bench.documents()[item_id]))


def test_an_item_delivered_ten_times_is_stored_once_and_stays_byte_for_byte(bench: Bench) -> None:
    bench.import_items(make_data("1"))
    before = raw_document(bench, "lwn#1")
    for _ in range(10):
        bench.clock.advance(seconds=60)  # type: ignore[attr-defined]
        bench.import_items(make_data("1"))
    assert raw_document(bench, "lwn#1") == before
    # Under other job ids, in one batch.
    bench.queue.add_many([make_job(make_data("1"), 1, id=f"other-{n}") for n in range(10)])
    bench.work()
    assert raw_document(bench, "lwn#1") == before
    assert bench.left() == {}


def test_a_stale_delivery_after_a_newer_import_is_superseded(bench: Bench, zombie: Bench) -> None:
    bench.import_items(make_data("1", title="v2", import_id="i2"), revision=2)
    before = raw_document(bench, "lwn#1")
    bench.import_items(make_data("1", title="v1", import_id="i1"), revision=1)
    assert raw_document(bench, "lwn#1") == before
    assert bench.queue.read_tallies(["i1", "i2"]) == [{"superseded": 1}, {"new": 1}]


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
def test_workers_that_flush_in_any_order_leave_the_highest_revision(
    redis_client: RedisConnection, stores: Stores, order: Sequence[int]
) -> None:
    in_hand = {}
    for revision in (1, 2, 3):
        worker = Bench(redis_client, stores)
        data = make_data("1", title=f"v{revision}")
        worker.queue.add_many([make_job(data, revision, id=f"job-{revision}")])
        in_hand[revision] = (worker, worker.take())
    for revision in order:
        worker, taken = in_hand[revision]
        worker.finish(taken)
    assert worker.titles() == {"1": "v3"}
    assert worker.documents()["lwn#1"]["revision"] == 3
    assert worker.left() == {}


def test_workers_that_flush_at_once_leave_the_highest_revision(
    redis_client: RedisConnection, stores: Stores
) -> None:
    acts = []
    for revision in range(1, 9):
        worker = Bench(redis_client, stores)
        data = [make_data(str(n), title=f"v{revision}") for n in range(20)]
        jobs = [make_job(one, revision, id=f"job-{revision}-{one['guid']}") for one in data]
        worker.queue.add_many(jobs)
        acts.append((worker, worker.take()))
    threads = [threading.Thread(target=one.finish, args=(taken,)) for one, taken in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    while worker.left():
        worker.work()
    assert set(worker.titles().values()) == {"v8"}


def test_content_that_returns_while_other_content_waits_is_what_stays(bench: Bench) -> None:
    bench.import_items(make_data("1", title="A"), revision=1)
    modified_at = bench.documents()["lwn#1"]["modified_at"]
    bench.clock.advance(seconds=60)  # type: ignore[attr-defined]
    assert bench.add(make_data("1", title="B"), revision=2) == [AddOutcome.ADDED]
    assert bench.add(make_data("1", title="A"), revision=3) == [AddOutcome.REPLACED]
    assert bench.add(make_data("1", title="B"), revision=2) == [AddOutcome.KEPT]
    bench.work()
    document = bench.documents()["lwn#1"]
    assert (document["title"], document["revision"]) == ("A", 3)
    assert document["modified_at"] == modified_at


# Jobs of foreign producers.


def test_a_foreign_job_draws_its_revision_once_for_its_life(bench: Bench, zombie: Bench) -> None:
    bench.import_items(make_data("0"), revision=None)
    bench.add(make_data("1"), revision=None)
    [first] = zombie.take().items
    worker_dies(zombie)
    [second] = bench.take().items
    assert (first.revision, second.revision) == (2, 2)
    assert second.import_id is None


def test_a_foreign_job_that_comes_later_wins_over_what_was_stored_before(bench: Bench) -> None:
    for title in ("A", "B", "A"):
        bench.import_items(make_data("1", title=title), revision=None)
    document = bench.documents()["lwn#1"]
    assert (document["title"], document["revision"], document["created_by"]) == ("A", 3, None)


def test_a_foreign_job_under_any_id_is_known_by_its_data(bench: Bench) -> None:
    bench.queue.add_many([make_job(make_data("1"), None, id="whatever")])
    bench.work()
    assert list(bench.documents()) == ["lwn#1"]
    assert bench.left() == {}


@pytest.mark.parametrize("written", [{}, {"revision": None, "title": "old", "link": "x"}])
def test_a_document_that_foreign_hands_wrote_without_a_revision_is_taken_over(
    bench: Bench, written: dict[str, Any]
) -> None:
    bench.stores.database.collection("items").insert_one({"_id": "lwn#1", **written})
    bench.import_items(make_data("1"))
    document = bench.documents()["lwn#1"]
    assert (document["title"], document["revision"]) == ("Title 1", 1)
    assert bench.left() == {}


# Errors of our own.


def test_flush_that_raises_what_nobody_foresaw_costs_the_job_at_fault_a_pause_and_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.batches.run

    def failing(batch: Sequence[DecodedItem], stop: threading.Event) -> None:
        if any(item.content["guid"] == "odd" for item in batch):
            raise ZeroDivisionError("a mistake of ours")
        run(batch, stop)

    monkeypatch.setattr(bench.batches, "run", failing)
    bench.pool.start()
    bench.add(*(make_data(guid) for guid in ("1", "2", "odd", "3")))
    bench.consumer.step()
    assert bench.pool.wait_until_idle(20.0)
    assert bench.titles().keys() == {"1", "2", "3"}
    assert len(bench.held) == 0
    [put_off] = bench.queue.list_jobs(JobState.DELAYED, 0, 10)
    assert (put_off.id, put_off.delay_ms, put_off.attempts_made) == ("lwn#odd", 60_000, 0)
    assert sum(bench.supervisor.failures().values()) == 2
