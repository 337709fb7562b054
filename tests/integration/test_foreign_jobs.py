"""What somebody else writes into a job's hash and makes no sense costs that job only."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.queue import JobState, RateLimit
from shared.store import DeadLetter, ImportState
from tests.factories import Bench, make_data, make_job
from tests.failpoints import refuse_titles
from tests.harness import Harness
from tests.queue_states import lose_locks

# What a hash's field may hold that is none of what it should be; None: it is missing.
NONSENSE: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "text": b"x",
    "negative": b"-5",
    "fraction": b"1.5",
    "exponent": b"1e400",
    "23 digits": b"9" * 23,
    "400 digits": b"9" * 400,
    "nan": b"nan",
    "-inf": b"-inf",
    "list": b"[1, 2]",
    "object": b'{"id": "x", "queueKey": "bull:items:wait"}',
    "null": b"null",
    "not utf-8": b"\xff\xfe",
}
FIELDS = (
    "name", "data", "opts", "timestamp", "revision", "tally", "atm", "ats", "stc", "solo", "defa",
    "delay", "priority", "processedOn", "finishedOn", "parentKey", "parent", "deid", "rjk",
    "failedReason", "stacktrace", "returnvalue", "progress",
)  # fmt: skip
# The same for a value in the JSON of a job's options.
ODD_JSON = ('"x"', "-1", "1e308", "1e999", "9" * 23, "1.5", "[]", "{}", "null", "true", "nan")
OPTIONS = (
    "attempts", "backoff", "backoff.type", "backoff.delay", "backoff.jitter", "removeOnComplete",
    "removeOnComplete.count", "removeOnComplete.age", "removeOnComplete.limit", "removeOnFail",
    "stackTraceLimit", "lifo", "delay", "priority", "jobId",
)  # fmt: skip
# More rounds than any jobs need that run one by one; each lets an hour pass.
MAX_ROUNDS = 80


def spoil(bench: Bench, job_id: str, field: str, value: bytes | None) -> None:
    key = bench.queue.keys.job(job_id)
    if value is None:
        bench.redis.hdel(key, field)
    else:
        bench.redis.hset(key, field, value)


def refuse(bench: Bench, title: str) -> None:
    if title == "poison":
        refuse_titles(bench.stores.database.collection("items").database, title)


def run_to_the_end(bench: Bench) -> None:
    """Work, promote and reclaim until nothing is left, as a worker's threads would."""
    for _ in range(MAX_ROUNDS):
        bench.consumer.step()
        assert bench.pool.wait_until_idle(20.0)
        bench.queue.reclaim_stalled(max_stalled=1)
        bench.queue.promote_due()
        if not {"waiting", "active", "delayed", "prioritized"} & bench.left().keys():
            assert len(bench.held) == 0
            return
        bench.clock.advance(hours=1)  # type: ignore[attr-defined]
    raise AssertionError(bench.left())


@pytest.fixture
def working(bench: Bench) -> Bench:
    bench.pool.start()
    return bench


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("title", ["fine", "poison"])
def test_nonsense_in_a_field_costs_its_own_job_only(working: Bench, field: str, title: str) -> None:
    refuse(working, title)
    for kind, value in NONSENSE.items():
        working.add(make_data(f"before {kind}"), make_data(kind, title=title))
        spoil(working, f"lwn#{kind}", field, value)
    run_to_the_end(working)
    stored, dead = working.titles().keys(), working.dead().keys()
    assert {f"before {kind}" for kind in NONSENSE} <= stored
    # Each ends as a document or as a dead letter, and as exactly one of them.
    assert (stored & NONSENSE.keys()) ^ (dead & NONSENSE.keys()) == NONSENSE.keys()
    assert working.supervisor.failures() == {"flush-0": 0, "flush-1": 0}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("title", ["fine", "poison"])
def test_nonsense_in_an_option_costs_its_own_job_only(
    working: Bench, option: str, title: str
) -> None:
    refuse(working, title)
    outer, _, inner = option.partition(".")
    odd = {f"odd {number}" for number in range(len(ODD_JSON))}
    for guid, value in zip(sorted(odd), ODD_JSON, strict=True):
        working.add(make_data(f"before {guid}"), make_data(guid, title=title))
        opts = f'{{"{outer}": {{"{inner}": {value}}}}}' if inner else f'{{"{outer}": {value}}}'
        spoil(working, f"lwn#{guid}", "opts", opts.encode())
    run_to_the_end(working)
    stored, dead = working.titles().keys(), working.dead().keys()
    assert {f"before {guid}" for guid in odd} <= stored
    assert (stored & odd) ^ (dead & odd) == odd


@pytest.mark.parametrize("kind", ["text", "23 digits", "negative", "nan", "fraction"])
def test_job_whose_revision_is_nonsense_gets_one_and_newer_content_still_wins(
    working: Bench, kind: str
) -> None:
    working.add(make_data("1"), revision=None)
    spoil(working, "lwn#1", "revision", NONSENSE[kind])
    run_to_the_end(working)
    [stored] = working.documents().values()
    assert stored["revision"] == 1
    working.add(make_data("1", title="newer"), revision=2)
    run_to_the_end(working)
    assert working.titles() == {"1": "newer"}


@pytest.mark.parametrize("title", ["fine", "poison"])
def test_a_replay_of_a_job_that_died_before_it_had_a_revision_ends_when_it_dies_again(
    harness: Harness, title: str
) -> None:
    queue = harness.item_queues[0]
    queue.add_many([make_job(make_data("1", source="news"), None, attempts=1)])
    # Given up by the queue: dead before a revision is drawn.
    data = {"title": title} | ({"published_at": "yesterday"} if title == "fine" else {})
    named = {"source": "news", "guid": "1"} | data
    given_up = {"data": json.dumps(named), "defa": "job stalled more than allowable limit"}
    harness.redis.hset(queue.keys.job("news#1"), mapping=given_up)
    harness.work()
    assert [letter.revision for letter in letters_of(harness)] == [0]
    [replayed] = harness.server.services.replayer.replay(everything=True).imports
    harness.come_to_rest()
    ended = harness.stores.imports.get(replayed.import_id)
    assert ended is not None
    assert (ended.state, ended.counts["dead"]) == (ImportState.COMPLETED, 1)
    [letter] = letters_of(harness)
    assert (letter.revision, letter.import_id) == (1, replayed.import_id)


def letters_of(harness: Harness) -> list[DeadLetter]:
    return list(harness.stores.dead_letters.read_many(["news#1"]).values())


@pytest.mark.parametrize("kind", ["text", "23 digits", "nan", "-inf"])
def test_waiting_job_whose_revision_is_nonsense_is_replaced(bench: Bench, kind: str) -> None:
    bench.add(make_data("1"))
    spoil(bench, "lwn#1", "revision", NONSENSE[kind])
    bench.add(make_data("1", title="newer"), revision=1)
    bench.work()
    assert bench.titles() == {"1": "newer"}


# A job's key that is no hash.


def make_wrong_type(bench: Bench, key: str, kind: str) -> None:
    bench.redis.delete(key)
    if kind == "string":
        bench.redis.set(key, "x")
    elif kind == "list":
        bench.redis.rpush(key, "x")
    elif kind == "set":
        bench.redis.sadd(key, "x")
    else:
        bench.redis.zadd(key, {"x": 1})


TYPES = ("string", "list", "set", "zset")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("place", ["waiting", "delayed", "prioritized", "active"])
def test_job_key_of_another_type_stops_nobody(working: Bench, kind: str, place: str) -> None:
    key, odd = working.queue.keys.job("lwn#odd"), "lwn#odd"
    working.add(make_data("odd"))
    if place == "active":
        working.queue.claim(limit=1, lock_ms=30_000, token="gone")
        lose_locks(working.queue, odd)
    elif place != "waiting":
        working.redis.lrem(working.queue.keys.wait, 0, odd)
        line = getattr(working.queue.keys, place)
        working.redis.zadd(line, {odd: 5})
    make_wrong_type(working, key, kind)
    working.add(make_data("1"), make_data("2"))
    run_to_the_end(working)
    assert working.titles().keys() == {"1", "2"}
    # Asked for again, as the auditor does for what an import misses, it is stored.
    working.add(make_data("odd"), make_data("3"))
    run_to_the_end(working)
    assert working.titles().keys() == {"1", "2", "3", "odd"}


@pytest.mark.parametrize("kind", TYPES)
def test_job_key_of_another_type_can_be_listed_looked_for_and_removed(
    bench: Bench, kind: str
) -> None:
    bench.add(make_data("1"), make_data("odd"))
    make_wrong_type(bench, bench.queue.keys.job("lwn#odd"), kind)
    assert [job.id for job in bench.queue.list_jobs(JobState.WAITING, 0, 10)] == ["lwn#1"]
    assert bench.queue.get_job("lwn#odd") is None
    bench.queue.sample()
    bench.queue.remove_many(["lwn#odd"])
    assert not bench.redis.exists(bench.queue.keys.job("lwn#odd"))


@pytest.mark.parametrize("kind", TYPES)
def test_claimed_job_whose_key_or_lock_becomes_another_type_costs_its_mates_nothing(
    working: Bench, kind: str
) -> None:
    working.add(make_data("1"), make_data("odd"), make_data("locked"), make_data("2"))
    taken = working.take()
    make_wrong_type(working, working.queue.keys.job("lwn#odd"), kind)
    if kind != "string":
        make_wrong_type(working, working.queue.keys.job("lwn#locked") + ":lock", kind)
    working.finish(taken)
    assert {"1", "2"} <= working.titles().keys()
    assert not {"lwn#1", "lwn#2"} & {job.id for job in _all_jobs(working)}


def _all_jobs(bench: Bench) -> list[Any]:
    return [job for state in JobState for job in bench.queue.list_jobs(state, 0, 100)]


# The queue's own keys.


@pytest.mark.parametrize("value", ["x", "", "-1", "nan", "inf", "1.5", "9" * 23, "0"])
@pytest.mark.parametrize("field", ["max", "duration", "concurrency", "opts.maxLenEvents"])
def test_nonsense_in_meta_is_as_if_it_were_not_there(
    working: Bench, field: str, value: str
) -> None:
    working.queue.set_rate_limit(RateLimit(100, 1000))
    working.redis.hset(working.queue.keys.meta, field, value)
    working.add(make_data("1"), make_data("2"))
    run_to_the_end(working)
    assert working.titles().keys() == {"1", "2"}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", ["meta", "limiter", "pc", "id", "marker", "events", "own:totals"])
def test_key_of_a_queue_that_is_of_another_type_is_made_anew(
    working: Bench, name: str, kind: str
) -> None:
    make_wrong_type(working, working.queue.keys.base + name, kind)
    limited = RateLimit(100, 1000)
    working.claimer._limits = replace(working.claimer._limits, rate_limit=limited)
    working.add(make_data("1"), make_data("2"))
    working.redis.hset(working.queue.keys.job("lwn#2"), "priority", "7")
    working.redis.lrem(working.queue.keys.wait, 0, "lwn#2")
    working.redis.zadd(working.queue.keys.delayed, {"lwn#2": 1})
    run_to_the_end(working)
    assert working.titles().keys() == {"1", "2"}
    working.queue.read_totals()
    assert working.queue.sample().rate_limit_ttl_ms >= 0
    assert not working.queue.is_paused()


@pytest.mark.parametrize("score", ["-inf", "-5", "0", "1e300"])
def test_nonsense_as_a_due_time_keeps_no_other_job_waiting(working: Bench, score: str) -> None:
    working.add(make_data("odd"), make_data("1"))
    working.redis.lrem(working.queue.keys.wait, 0, "lwn#odd")
    working.redis.execute_command("ZADD", working.queue.keys.delayed, score, "lwn#odd")
    claim = working.queue.claim(limit=10, lock_ms=30_000, token="t")
    is_due = float(score) <= 0
    assert {job.id for job in claim.jobs} == ({"lwn#1", "lwn#odd"} if is_due else {"lwn#1"})
    empty = working.queue.claim(limit=10, lock_ms=30_000, token="t2")
    assert empty.jobs == []
    assert empty.retry_in_ms is None or empty.retry_in_ms > 1000


@pytest.mark.parametrize("value", [b"x", b"9" * 23, b"", b"\xff"])
def test_nonsense_in_the_live_counters_stops_no_settlement(working: Bench, value: bytes) -> None:
    for field in ("new", "completed"):
        working.redis.hset(working.queue.keys.tally("i1"), field, value)
        working.redis.hset(working.queue.keys.totals, field, value)
    working.add(make_data("1", import_id="i1"), make_data("2", import_id="i1"), make_data("3"))
    run_to_the_end(working)
    assert working.titles().keys() == {"1", "2", "3"}
    assert working.queue.read_tallies(["i1"]) == [{"completed": 0, "new": 2}]


# Jobs of the fetch queue.

# Each costs a feed and its imports; these differ most.
FETCH_NONSENSE = ("missing", "empty", "text", "23 digits", "list", "not utf-8")
BAD_FETCH_DATA = {
    "not json": b"{nonsense",
    "list": b"[]",
    "no import": b'{"source": "news"}',
    "a number": json.dumps({"source": "news", "import_id": 5}).encode(),
    "an operator": json.dumps({"source": "news", "import_id": {"$gt": ""}}).encode(),
    "another source": json.dumps({"source": 7, "import_id": "nothing"}).encode(),
}


def run_spoilt_fetches(harness: Harness, spoilt: Sequence[tuple[str, bytes | None]]) -> None:
    """Spoil a field in the job of each feed but one, and see that all end and start again."""
    odd = {f"odd{number}": one for number, one in enumerate(spoilt)}
    sources = ["good", *odd]
    started = {}
    for source in sources:
        harness.subscribe({"1": "one"}, source)
        started[source] = harness.server.start(source)
    for source, (field, value) in odd.items():
        key = harness.fetch_queue.keys.job(f"feed#{source}")
        if value is None:
            harness.redis.hdel(key, field)
        else:
            harness.redis.hset(key, field, value)
    harness.come_to_rest()
    ended = harness.stores.imports.read_many(one.import_id for one in started.values())
    assert [odd.get(one.source) for one in ended.values() if one.is_open] == []
    assert harness.stores.items.get("good#1") is not None
    # Each feed can be fetched again.
    for source in sources:
        harness.server.start(source)
    harness.come_to_rest()
    stored = harness.stores.items.read_versions(f"{source}#1" for source in sources)
    assert [odd.get(source) for source in sources if f"{source}#1" not in stored] == []


FIELDS_A_RUN = 6
# Each field with every third kind; with the rest by `make test-long`.
FETCH_CASES = [
    pytest.param(
        [
            (field, NONSENSE[kind])
            for number, field in enumerate(FIELDS)
            if number // FIELDS_A_RUN == group
            for kind in FETCH_NONSENSE[(number + rest) % 3 :: 3]
        ],
        id=f"{FIELDS[group * FIELDS_A_RUN]} and so on-{rest + 1}",
        marks=[pytest.mark.long] if rest else [],
    )
    for group in range(-(-len(FIELDS) // FIELDS_A_RUN))
    for rest in (0, 1, 2)
]


@pytest.mark.parametrize("spoilt", FETCH_CASES)
def test_nonsense_in_a_field_of_a_fetch_job_costs_its_own_feed_only(
    harness: Harness, spoilt: list[tuple[str, bytes | None]]
) -> None:
    run_spoilt_fetches(harness, spoilt)


def test_fetch_job_with_data_that_names_no_import_is_made_anew(harness: Harness) -> None:
    run_spoilt_fetches(harness, [("data", value) for value in BAD_FETCH_DATA.values()])
