"""Redis is full, loses answers, or is left by a worker that stops: no item is lost or doubled."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import cast

import orjson
import pytest
from structlog.testing import capture_logs

from server.feeds.outcomes import Outcomes
from server.importing.auditor import Auditor
from server.importing.enqueueing import AuditRequests
from server.importing.healer import Healer
from shared.clock import SystemClock
from shared.errors import QueueError, QueueFull, QueueUnavailable
from shared.queue import (
    Completion,
    JobQueue,
    JobState,
    RateLimit,
    RedisConnection,
    SettleOutcome,
)
from shared.store import Import, ImportState, JournalEntry, Stores
from shared.store.imports import empty_counts
from tests.factories import NOON, Bench, guids, make_data, make_job
from tests.failpoints import FailPoints, full_redis, lost_reply


def fail_to_measure(queue_name: str, waits_s: Sequence[float]) -> None:
    raise RuntimeError("no room for another number")


class NothingToHeal:
    """Upkeep of a deployment that nothing ever crashed in."""

    def match_redis(self) -> bool:
        return False

    def remember_redis(self) -> None: ...

    def heal(self) -> None: ...


def make_auditor(bench: Bench) -> Auditor:
    return Auditor(
        stores=bench.stores,
        enqueuer=bench.make_enqueuer(),
        dead_letter_queue=bench.dlq,
        healer=cast(Healer, NothingToHeal()),
        requests=AuditRequests(),
        outcomes=Outcomes(bench.clock),
        clock=bench.clock,
    )


def commit_import(bench: Bench, count: int) -> tuple[Import, list[JournalEntry]]:
    """Commit an import of so many items; none of them is in the queue yet."""
    data = [make_data(str(number), import_id="i1") for number in range(count)]
    entries = [JournalEntry(f"lwn#{one['guid']}", 1, "h", orjson.dumps(one)) for one in data]
    fetching = Import("i1", "lwn", [], "api", ImportState.FETCHING, NOON, revision=1)
    bench.stores.imports.insert(fetching)
    bench.stores.journal.insert_chunk("i1", 1, 0, entries)
    outcome = {
        "state": ImportState.IMPORTING,
        "counts": {**empty_counts(), "fetched": count},
        "journaled": count,
        "queue": bench.queue.name,
    }
    assert bench.stores.imports.commit("i1", 1, outcome)
    return find_import(bench), entries


def find_import(bench: Bench) -> Import:
    found = bench.stores.imports.get("i1")
    assert found is not None
    return found


def test_a_full_redis_drains_and_the_auditor_adds_later_what_it_refused(bench: Bench) -> None:
    bench.add(*[make_data(f"w{number}") for number in range(40)], make_data("bad", title=5))
    importing, entries = commit_import(bench, 10)
    with full_redis(bench.redis):
        with pytest.raises(QueueFull):
            bench.make_enqueuer().enqueue(importing, entries)
        bench.work()
        assert len(bench.documents()) == 40
        assert bench.left() == {}
        assert bench.dlq.counts()[JobState.WAITING] == 1
        with pytest.raises(QueueFull):
            make_auditor(bench).audit(importing, add_missing=True)
    auditor = make_auditor(bench)
    assert not auditor.audit(importing, add_missing=True)
    assert bench.left() == {"waiting": 10}
    bench.work()
    assert auditor.audit(importing, add_missing=True)
    counts = find_import(bench).counts
    assert (counts["fetched"], counts["new"], counts["pending"]) == (10, 10, 0)


def test_a_claim_whose_answer_was_lost_is_answered_by_the_next_one(
    redis_client: RedisConnection, stores: Stores
) -> None:
    bench = Bench(redis_client, stores, rate_limit=RateLimit(1000, 60_000))
    bench.import_items(make_data("warm"))
    bench.add(*[make_data(str(number)) for number in range(10)])
    with lost_reply(bench.redis), pytest.raises(QueueUnavailable):
        bench.take()
    assert bench.left() == {"active": 10}
    bench.finish(bench.take())
    assert len(bench.documents()) == 11
    assert bench.left() == {}
    assert bench.redis.get(bench.queue.keys.limiter) == b"11"


def test_a_claim_on_one_queue_that_fails_loses_nothing_of_the_other(bench: Bench) -> None:
    bench.import_items(make_data("warm"))
    bench.add(make_data("light"))
    bench.make_enqueuer()
    bench.heavy.add_many([])
    bench.pool.start()
    with lost_reply(bench.redis, which=2), pytest.raises(QueueUnavailable):
        bench.consumer.step()
    assert len(bench.held) == 1
    bench.consumer.step()
    assert bench.pool.wait_until_idle(10)
    assert "light" in bench.titles()
    assert len(bench.held) == 0


def test_a_job_that_must_run_alone_survives_a_lost_answer(bench: Bench) -> None:
    bench.import_items(make_data("warm"))
    bench.add(make_data("solo"))
    bench.redis.hset(bench.queue.keys.job("lwn#solo"), "solo", "1")
    with lost_reply(bench.redis), pytest.raises(QueueUnavailable):
        bench.take()
    taken = bench.take()
    assert taken.has_solo
    bench.finish(taken)
    assert bench.left() == {}
    assert bench.dead() == {}


@pytest.mark.parametrize("which", [1, 2])
def test_a_settlement_whose_answer_was_lost_counts_once(bench: Bench, which: int) -> None:
    bench.import_items(make_data("warm"), make_data("warm bad", title=5))
    good = [make_data(str(number), import_id="i1") for number in range(10)]
    bad = [make_data(f"b{number}", title=5, import_id="i1") for number in range(3)]
    bench.add(*good, *bad)
    taken = bench.take()
    with lost_reply(bench.redis, which=which):
        bench.finish(taken)
    assert bench.left() == {}
    assert len(bench.documents()) == 11
    assert bench.queue.read_tallies(["i1"]) == [{"new": 10, "dead": 3}]
    assert bench.dlq.counts()[JobState.WAITING] == 4
    assert [len(letter.history) for letter in bench.dead().values()] == [1, 1, 1, 1]


def test_a_job_that_redis_refuses_to_settle_holds_up_no_other_and_is_left_to_stall(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete_many = bench.queue.complete_many

    def refuse_one(completions: Sequence[Completion]) -> list[SettleOutcome]:
        if any(one.job_id == "lwn#4" for one in completions):
            raise QueueError("Redis refused a script")
        return complete_many(completions)

    monkeypatch.setattr(bench.queue, "complete_many", refuse_one)
    bench.add(*[make_data(str(number)) for number in range(9)])
    taken = bench.take()
    started_s = bench.clock.monotonic_s()
    with capture_logs() as logs:
        bench.finish(taken)
    assert 300 < bench.clock.monotonic_s() - started_s < 310
    assert len(bench.documents()) == 9
    assert bench.left() == {"active": 1}
    assert len(bench.held) == 0
    assert bench.dead() == {}
    assert logs[-2]["event"] == "job_not_settled"
    assert logs[-2]["jobs"] == ["lwn#4"]


def test_an_add_whose_answer_was_lost_and_is_repeated_adds_once(bench: Bench) -> None:
    importing, entries = commit_import(bench, 10)
    enqueuer = bench.make_enqueuer()
    enqueuer.enqueue(importing, entries[:1])
    with lost_reply(bench.redis), pytest.raises(QueueUnavailable):
        enqueuer.enqueue(importing, entries)
    enqueuer.enqueue(importing, entries)
    assert bench.left() == {"waiting": 10}
    bench.work()
    assert bench.left() == {}
    assert bench.queue.read_tallies(["i1"]) == [{"new": 10}]


# A job that must run alone.


def make_solo(queue: JobQueue, job_id: str) -> None:
    queue.client.hset(queue.keys.job(job_id), "solo", "1")


def finish_all(bench: Bench) -> None:
    assert bench.pool.wait_until_idle(10)


def test_a_job_that_must_run_alone_waits_until_the_hand_is_empty(bench: Bench) -> None:
    bench.add(make_data("1"), make_data("solo"), make_data("2"))
    make_solo(bench.queue, "lwn#solo")
    bench.pool.start()
    in_hand = []
    for _ in range(3):
        [taken, *_] = bench.consumer.step()
        in_hand.append(guids(taken.items))
        finish_all(bench)
    assert in_hand == [["1"], ["solo"], ["2"]]
    assert bench.left() == {}


def test_a_job_that_must_run_alone_gets_its_turn_behind_a_queue_that_is_never_empty(
    bench: Bench,
) -> None:
    bench.heavy.add_many([make_job(make_data("solo"))])
    make_solo(bench.heavy, "lwn#solo")
    bench.pool.start()
    for number in range(4):
        bench.add(make_data(str(number)))
        bench.consumer.step()
        finish_all(bench)
    assert "solo" in bench.titles()
    assert "3" in bench.titles() or bench.left() == {"waiting": 1}


# A worker that stops.


@pytest.fixture
def real_time(redis_client: RedisConnection, stores: Stores) -> Iterator[Bench]:
    bench = Bench(redis_client, stores, SystemClock(), batch_size=20, max_age_s=60.0)
    bench.pool.start()
    yield bench
    bench.close()


def test_a_worker_that_stops_flushes_what_it_holds(real_time: Bench) -> None:
    real_time.add(*[make_data(str(number)) for number in range(15)])
    for item in real_time.take().items:
        real_time.buffer.add(item)
    real_time.consumer.hand_over()
    assert len(real_time.documents()) == 15
    assert real_time.left() == {}


def test_a_worker_that_cannot_flush_in_time_releases_its_jobs_untried(
    real_time: Bench, failing: FailPoints
) -> None:
    real_time.add(*[make_data(str(number)) for number in range(50)])
    failing.fail("insert", "update", times=None, blockConnection=True, blockTimeMS=4500)
    real_time.consumer.step()
    assert real_time.left() == {"active": 40, "waiting": 10}
    started_s = time.monotonic()
    real_time.consumer.hand_over()
    assert time.monotonic() - started_s < 4.0
    failing.off()
    assert real_time.left() == {"waiting": 50}
    other = Bench(real_time.redis, real_time.stores, SystemClock())
    taken = other.take()
    assert len(taken.items) == 50
    assert {item.job.attempts_made for item in taken.items} == {0}
    assert {item.job.stalled_count for item in taken.items} == {0}
    other.finish(taken)
    assert other.left() == {}
    assert len(other.documents()) == 50
    # Or what is still being written comes into the next test's database, which has the same name.
    assert real_time.pool.wait_until_idle(10)


def test_a_worker_that_stops_during_an_outage_releases_at_once(real_time: Bench) -> None:
    real_time.add(make_data("1"))
    for item in real_time.take().items:
        real_time.buffer.add(item)
    real_time.breaker.trip("MongoDB is away")
    started_s = time.monotonic()
    real_time.consumer.hand_over()
    assert time.monotonic() - started_s < 1.0
    assert real_time.left() == {"waiting": 1}


def test_a_running_worker_brings_everything_home_and_stops_when_told(real_time: Bench) -> None:
    real_time.add(*[make_data(str(number)) for number in range(300)])
    stop = threading.Event()
    consumer = threading.Thread(target=real_time.consumer.run, args=(stop,), daemon=True)
    consumer.start()
    deadline_s = time.monotonic() + 20
    while real_time.left() and time.monotonic() < deadline_s:
        stop.wait(0.05)
    stop.set()
    consumer.join(5)
    assert not consumer.is_alive()
    assert len(real_time.documents()) == 300
    assert len(real_time.held) == 0


def test_jobs_are_handed_back_when_measuring_their_wait_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(make_data("1"), make_data("2"))
    with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="no room"):
        broken.setattr(bench.parts.metrics, "note_waits", fail_to_measure)
        bench.take(10)
    assert len(bench.held) == 0
    assert bench.queue.counts()[JobState.WAITING] == 2
    assert guids(bench.work().items) == ["1", "2"]
