"""Removing jobs and dead letters while workers are at work: what was answered is what holds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from server.dashboard.mounting import create_site
from server.importing import remover
from server.importing.remover import Remover
from shared.errors import ConflictError, NotFoundError, StoreUnavailable
from shared.queue import AddOutcome, JobState, RedisConnection
from shared.store import LetterKind, Stores
from tests.factories import Bench, make_data, make_job
from tests.failpoints import NO_DISK, FailPoints
from tests.fakes import FakeClock
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for
from tests.roles import Held

ITEMS = {f"i{number}": f"Title {number}" for number in range(150)}


@pytest.fixture
def busy_harness(redis_client: RedisConnection, stores: Stores) -> Harness:
    """A deployment whose worker takes two jobs at a time, so that it claims again and again."""
    return Harness(
        redis_client,
        stores.database,
        FakeClock(),
        api_rate_limit="100000/minute",
        worker_concurrency=1,
        worker_batch_size=2,
    )


@contextmanager
def worker_at_work(harness: Harness) -> Iterator[threading.Thread]:
    """Let the worker work on a thread of its own until nothing waits any more."""
    thread = threading.Thread(target=harness.work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(120)
        assert not thread.is_alive()


def open_client(harness: Harness) -> TestClient:
    """Return a client of the API on the first server's services."""
    site = create_site(replace(harness.server.services, stores=harness.stores))
    return TestClient(site, base_url="http://127.0.0.1")


def delete_heads(
    harness: Harness, client: TestClient, worker: threading.Thread
) -> dict[str, set[int]]:
    """Delete the head of the line again and again; return what was answered for each item."""
    queue = harness.item_queues[0]
    answers: dict[str, set[int]] = {}
    while worker.is_alive():
        head = queue.client.lindex(queue.keys.wait, -1)
        if head is None:
            continue
        item_id = head.decode()
        path = f"/queues/{queue.name}/jobs/{quote(item_id, safe='')}"
        answers.setdefault(item_id, set()).add(client.delete(path).status_code)
    return answers


def removed_ids(harness: Harness) -> set[str]:
    letters = harness.database.collection("dead_letters").find({"kind": LetterKind.REMOVED})
    return {letter["_id"] for letter in letters}


def stored_ids(harness: Harness) -> set[str]:
    return {
        document["_id"] for document in harness.database.collection("items").find({}, {"_id": 1})
    }


def test_what_was_answered_409_is_stored_and_what_was_answered_204_is_removed(
    busy_harness: Harness,
) -> None:
    harness = busy_harness
    harness.subscribe(ITEMS)
    imported = harness.poll()
    with open_client(harness) as client, worker_at_work(harness) as worker:
        answers = delete_heads(harness, client, worker)
    assert {404, 409} & set().union(*answers.values()), "the worker was never met at work"
    gone = {item_id for item_id, codes in answers.items() if 204 in codes}
    harness.come_to_rest()
    assert removed_ids(harness) == gone
    guids = {item_id.partition("#")[2] for item_id in gone}
    stored = {guid: title for guid, title in ITEMS.items() if guid not in guids}
    assert_accounted_for(harness, stored, removed=guids)
    closed = harness.stores.imports.get(imported.import_id)
    assert closed is not None
    assert (closed.counts["removed"], closed.counts["new"]) == (len(gone), len(stored))


def test_clean_answers_as_many_as_the_import_counts_as_removed(
    busy_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remover, "CLEAN_BATCH", 20)
    harness = busy_harness
    harness.subscribe(ITEMS)
    imported = harness.poll()
    removed = 0
    with open_client(harness) as client, worker_at_work(harness) as worker:
        while worker.is_alive():
            answer = client.post(
                f"/queues/{harness.item_queues[0].name}/clean",
                json={"state": "waiting", "grace_ms": 0},
            )
            removed += answer.json()["removed"]
    harness.come_to_rest()
    closed = harness.stores.imports.get(imported.import_id)
    assert closed is not None
    assert closed.counts["removed"] == removed == len(removed_ids(harness))
    assert stored_ids(harness) | removed_ids(harness) == {f"{SOURCE}#{guid}" for guid in ITEMS}


# Between the lock, the record and the removal.

ITEM = f"{SOURCE}#i1"


def letter_kind(harness: Harness, item_id: str = ITEM) -> LetterKind | None:
    letter = harness.stores.dead_letters.get(item_id)
    return None if letter is None else letter.kind


def remove_item(harness: Harness) -> None:
    """Remove the one item's job, as the API does."""
    harness.server.services.remover.remove_job(harness.item_queues[0], ITEM)


def test_a_job_that_a_worker_holds_is_refused_and_nothing_is_recorded(harness: Harness) -> None:
    harness.subscribe({"i1": "Title"})
    harness.poll()
    with Held(harness.work, harness.worker.stores.items, "write_many"):
        with pytest.raises(ConflictError):
            remove_item(harness)
        assert letter_kind(harness) is None
    harness.come_to_rest()
    assert_accounted_for(harness, {"i1": "Title"})


@pytest.mark.parametrize("after", [False, True])
def test_nobody_runs_or_adds_a_job_while_its_removal_is_recorded(
    harness: Harness, after: bool
) -> None:
    harness.subscribe({"i1": "Title"})
    imported = harness.poll()
    letters = harness.server.stores.dead_letters
    with Held(lambda: remove_item(harness), letters, "record_many", after=after):
        other = harness.new_server()
        other.audit(imported.import_id)
        assert harness.worker.work() == 0
        with pytest.raises(ConflictError):
            other.services.remover.remove_job(harness.item_queues[0], ITEM)
        assert other.services.remover.clean(harness.item_queues[0], JobState.WAITING, 0) == 0
    harness.come_to_rest()
    assert_accounted_for(harness, {}, removed=["i1"])


def test_an_import_whose_last_jobs_were_removed_is_closed_at_once(harness: Harness) -> None:
    harness.subscribe({"i1": "Title", "i2": "Title"})
    imported = harness.poll()
    harness.server.look()
    remove_item(harness)
    harness.work()
    harness.clock.advance(seconds=1)
    harness.server.look()
    closed = harness.stores.imports.get(imported.import_id)
    assert closed is not None
    assert (closed.state, closed.counts["removed"], closed.counts["new"]) == ("completed", 1, 1)


def test_a_job_stays_in_its_queue_when_its_removal_cannot_be_recorded(
    bench: Bench, failing: FailPoints
) -> None:
    remover = make_remover(bench)
    bench.add(make_data("1"), make_data("2"), revision=None)
    failing.fail("update", times=None, errorCode=NO_DISK)
    with pytest.raises(StoreUnavailable):
        remover.remove_job(bench.queue, "lwn#1")
    with pytest.raises(StoreUnavailable):
        remover.clean(bench.queue, JobState.WAITING, 0)
    failing.off()
    assert bench.left() == {"waiting": 2}
    bench.work()
    assert bench.titles() == {"1": "Title 1", "2": "Title 2"}


def test_newer_content_that_came_before_the_lock_is_removed_by_its_own_revision(
    bench: Bench,
) -> None:
    bench.add(make_data("1", title="older"))
    remover = make_remover(bench)
    with Held(lambda: remover.remove_job(bench.queue, "lwn#1"), bench.queue, "lock_many"):
        bench.add(make_data("1", title="newer"), revision=2)
    letter = bench.stores.dead_letters.get("lwn#1")
    assert letter is not None
    assert (letter.revision, "newer" in letter.data) == (2, True)
    bench.import_items(make_data("1", title="older"))
    assert bench.documents() == {}


def test_newer_content_that_comes_behind_a_removal_is_stored(bench: Bench) -> None:
    bench.add(make_data("1"))
    remover, letters = make_remover(bench), bench.stores.dead_letters
    with Held(lambda: remover.remove_job(bench.queue, "lwn#1"), letters, "record_many"):
        newer = make_job(make_data("1", title="newer"), 2)
        assert bench.queue.add_many([newer]) == [AddOutcome.BUSY]
    assert bench.queue.add_many([newer]) == [AddOutcome.ADDED]
    bench.work()
    assert bench.titles() == {"1": "newer"}
    assert letters.get("lwn#1") is None


def test_a_foreign_job_whose_removal_crashed_before_the_record_comes_back(harness: Harness) -> None:
    queue = harness.item_queues[0]
    data = {"source": SOURCE, "guid": "i1", "title": "Title"}
    queue.add_many([make_job(data, None)])
    server = harness.new_server()
    remove, its_queue = server.services.remover.remove_job, server.services.light_queue
    server.crash_at(server.stores.dead_letters, "record_many", lambda: remove(its_queue, ITEM))
    assert harness.worker.work() == 0
    harness.lose_locks()
    harness.work()
    assert stored_ids(harness) == {ITEM}


def test_a_foreign_job_whose_removal_crashed_after_the_record_stays_away(harness: Harness) -> None:
    queue = harness.item_queues[0]
    queue.add_many([make_job({"source": SOURCE, "guid": "i1", "title": "Title"}, None)])
    server = harness.new_server()
    remove, its_queue = server.services.remover.remove_job, server.services.light_queue
    letters = server.stores.dead_letters
    server.crash_at(letters, "record_many", lambda: remove(its_queue, ITEM), after=True)
    harness.lose_locks()
    harness.work()
    assert (stored_ids(harness), removed_ids(harness)) == (set(), {ITEM})
    assert sum(queue.counts().values()) == 0


def test_a_removal_during_which_redis_is_lost_still_holds(harness: Harness) -> None:
    harness.subscribe({"i1": "Title", "i2": "Title"})
    harness.poll()
    with Held(lambda: remove_item(harness), harness.server.stores.dead_letters, "record_many"):
        harness.lose_redis()
    harness.come_to_rest()
    assert_accounted_for(harness, {"i2": "Title"}, removed=["i1"])


def count_of(harness: Harness, import_id: str) -> dict[str, int]:
    closed = harness.stores.imports.get(import_id)
    assert closed is not None
    return {name: count for name, count in closed.counts.items() if count and name != "fetched"}


@pytest.mark.parametrize("is_taken_before", [False, True])
def test_what_was_removed_stays_away_when_it_is_imported_again_while_its_import_is_open(
    harness: Harness, is_taken_before: bool
) -> None:
    harness.subscribe({"i1": "Title", "i2": "Title"})
    first = harness.poll()
    remove_item(harness)
    second = harness.poll({"i1": "Title", "i2": "Title", "i3": "Title"})
    if is_taken_before:
        harness.work()
    harness.come_to_rest()
    assert_accounted_for(harness, {"i2": "Title", "i3": "Title"}, removed=["i1"])
    assert count_of(harness, first.import_id)["removed"] == 1
    assert count_of(harness, second.import_id)["removed"] == 1


def test_a_dead_letter_that_was_removed_is_not_listed_again_by_an_import_meanwhile(
    harness: Harness,
) -> None:
    harness.subscribe({"i1": "poison", "i2": "Title"})
    harness.poll()
    harness.worker.work()
    harness.clock.advance(seconds=60)
    harness.reclaim()
    harness.work()
    while letter_kind(harness) is None:
        harness.clock.advance(seconds=60)
        harness.reclaim()
        harness.work()
    harness.server.services.remover.remove_dead_letter(ITEM)
    second = harness.poll({"i1": "poison", "i2": "Title", "i3": "Title"})
    harness.come_to_rest()
    assert letter_kind(harness) is LetterKind.REMOVED
    assert count_of(harness, second.import_id)["removed"] == 1
    assert_accounted_for(harness, {"i2": "Title", "i3": "Title"}, removed=["i1"])


def test_a_foreign_job_that_was_removed_and_is_added_again_stays_away_until_it_differs(
    harness: Harness,
) -> None:
    queue = harness.item_queues[0]
    queue.add_many([make_job({"source": SOURCE, "guid": "i1", "title": "spam"}, None)])
    remove_item(harness)
    queue.add_many([make_job({"source": SOURCE, "guid": "i1", "title": "spam"}, None)])
    harness.work()
    assert (stored_ids(harness), removed_ids(harness)) == (set(), {ITEM})
    assert sum(queue.counts().values()) == 0
    queue.add_many([make_job({"source": SOURCE, "guid": "i1", "title": "Title"}, None)])
    harness.work()
    assert (stored_ids(harness), removed_ids(harness)) == ({ITEM}, set())


def test_a_foreign_job_that_can_be_no_item_and_was_removed_is_not_listed_again(
    harness: Harness,
) -> None:
    queue = harness.item_queues[0]
    queue.add_many([make_job({"source": SOURCE, "guid": "i1", "title": 5}, None)])
    harness.work()
    harness.server.services.remover.remove_dead_letter(ITEM)
    queue.add_many([make_job({"source": SOURCE, "guid": "i1", "title": 5}, None)])
    harness.work()
    assert letter_kind(harness) is LetterKind.REMOVED
    assert harness.dead_letter_queue.list_jobs(JobState.WAITING, 0, 9) == []
    assert sum(queue.counts().values()) == 0


def test_an_item_too_large_that_was_removed_is_not_listed_again(harness: Harness) -> None:
    large = "x" * 2_000_000
    harness.subscribe({"i1": large})
    harness.poll()
    harness.server.services.remover.remove_dead_letter(ITEM)
    again = harness.poll({"i1": large, "i2": "Title"})
    harness.come_to_rest()
    assert letter_kind(harness) is LetterKind.REMOVED
    assert count_of(harness, again.import_id) == {"removed": 1, "new": 1}
    other = harness.poll({"i1": "y" + large, "i2": "Title"})
    assert letter_kind(harness) is LetterKind.DEAD
    assert count_of(harness, other.import_id) == {"dead": 1, "unchanged": 1}
    harness.server.services.remover.remove_dead_letter(ITEM)
    harness.server.start(SOURCE, force=True)
    harness.come_to_rest()
    assert letter_kind(harness) is LetterKind.DEAD


def test_an_import_by_force_stores_what_was_removed(harness: Harness) -> None:
    harness.subscribe({"i1": "Title"})
    harness.poll()
    remove_item(harness)
    harness.come_to_rest()
    harness.poll()
    harness.come_to_rest()
    assert (stored_ids(harness), removed_ids(harness)) == (set(), {ITEM})
    harness.server.start(SOURCE, force=True)
    harness.come_to_rest()
    assert_accounted_for(harness, {"i1": "Title"})


def test_a_removed_job_whose_item_has_a_dead_letter_takes_it_out_of_the_list(
    harness: Harness,
) -> None:
    replay_of_poison(harness)
    assert len(harness.dead_letter_queue.list_jobs(JobState.WAITING, 0, 9)) == 1
    remove_item(harness)
    assert harness.dead_letter_queue.list_jobs(JobState.WAITING, 0, 9) == []
    harness.come_to_rest()
    assert_accounted_for(harness, {}, removed=["i1"])


# Dead letters that are being replayed.


def replay_of_poison(harness: Harness) -> None:
    """Let an item die, let MongoDB accept it from now on, and replay it; its job waits."""
    harness.subscribe({"i1": "poison"})
    harness.poll()
    harness.work()
    harness.clock.advance(seconds=60)
    harness.come_to_rest()
    assert letter_kind(harness) is LetterKind.DEAD
    harness.accept_poison()
    harness.server.services.replayer.replay(everything=True)


def test_a_dead_letter_whose_replay_waits_is_removed_with_it(harness: Harness) -> None:
    replay_of_poison(harness)
    harness.server.services.remover.remove_dead_letter(ITEM)
    assert harness.item_queues[0].counts()[JobState.WAITING] == 0
    harness.come_to_rest()
    assert_accounted_for(harness, {}, removed=["i1"])


def test_a_dead_letter_whose_replay_is_run_is_refused_and_stored(harness: Harness) -> None:
    replay_of_poison(harness)
    with Held(harness.work, harness.worker.stores.items, "write_many"):
        with pytest.raises(ConflictError):
            harness.server.services.remover.remove_dead_letter(ITEM)
        assert letter_kind(harness) is LetterKind.DEAD
        answered = harness.server.services.remover.clean(
            harness.server.services.dead_letter_queue, JobState.WAITING, 0
        )
        assert answered == 0
    harness.come_to_rest()
    assert_accounted_for(harness, {"i1": "poison"})


@pytest.mark.parametrize("is_settled", [False, True])
def test_a_replay_that_overtakes_the_removal_of_its_letter_wins(
    harness: Harness, is_settled: bool
) -> None:
    replay_of_poison(harness)
    [job] = harness.redis.lrange(harness.item_queues[0].keys.wait, 0, -1)
    kept = harness.redis.hgetall(harness.item_queues[0].keys.job(ITEM))
    harness.redis.delete(harness.item_queues[0].keys.wait, harness.item_queues[0].keys.job(ITEM))
    remover = harness.server.services.remover

    def remove() -> None:
        with pytest.raises(NotFoundError if is_settled else ConflictError):
            remover.remove_dead_letter(ITEM)

    removal = Held(remove, harness.server.stores.dead_letters, "mark_removed")
    with removal:
        harness.redis.hset(harness.item_queues[0].keys.job(ITEM), mapping=kept)
        harness.redis.lpush(harness.item_queues[0].keys.wait, job)
        if is_settled:
            harness.work()
        else:
            replay = Held(harness.work, harness.worker.stores.items, "write_many")
            assert replay.begin()
    if not is_settled:
        assert letter_kind(harness) is LetterKind.DEAD
        replay.go_on()
    harness.come_to_rest()
    assert_accounted_for(harness, {"i1": "poison"})


def make_remover(bench: Bench) -> Remover:
    return Remover(
        stores=bench.stores,
        item_queues=[bench.queue, bench.heavy],
        dead_letter_queue=bench.dlq,
        clock=bench.clock,
    )
