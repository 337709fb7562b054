"""A queue over partitions: each job where its key says, and one queue to whoever looks at it."""

import pytest

from shared.errors import QueueError
from shared.queue import (
    AddOutcome,
    JobQueue,
    JobState,
    Lock,
    NewJob,
    PartitionedQueue,
    RedisConnection,
    RemoveOutcome,
    holder_of,
    partition_of,
    partition_prefixes,
    sample_queues,
)
from tests.fakes import FakeClock

COUNT = 4
IDS = [f"source-{number}#guid" for number in range(20)]


def source_of(job_id: str) -> str:
    return job_id.partition("#")[0]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(redis_client: RedisConnection, clock: FakeClock) -> PartitionedQueue:
    prefixes = partition_prefixes("bull", COUNT)
    parts = [JobQueue(redis_client, "items", prefix=each, clock=clock) for each in prefixes]
    return PartitionedQueue(parts, source_of)


@pytest.fixture
def filled(queue: PartitionedQueue) -> PartitionedQueue:
    jobs = [NewJob(each, "item", {}, revision=1, tally="import-1") for each in IDS]
    assert queue.add_many(jobs) == [AddOutcome.ADDED] * len(IDS)
    return queue


def where(job_id: str) -> int:
    return partition_of(source_of(job_id), COUNT)


@pytest.mark.parametrize(
    ("prefix", "prefixes"),
    [
        ("bull", ["{bull:0}", "{bull:1}"]),
        ("{bull}", ["{bull:0}", "{bull:1}"]),
        ("app:{bull}x", ["app:{bull:0}x", "app:{bull:1}x"]),
        ("a{b", ["{ab:0}", "{ab:1}"]),
    ],
)
def test_the_number_of_a_partition_stands_in_its_hash_tag(prefix: str, prefixes: list[str]) -> None:
    assert partition_prefixes(prefix, 2) == prefixes
    assert partition_prefixes(prefix, 1) == [prefix]


def test_a_source_has_the_same_partition_in_every_program_and_all_are_used() -> None:
    assert [partition_of(each, 8) for each in ("lwn", "news", "ü", "a")] == [0, 0, 5, 3]
    assert {partition_of(f"source-{number}", 8) for number in range(100)} == set(range(8))


def test_each_job_is_in_the_partition_of_its_key(filled: PartitionedQueue) -> None:
    for number, part in enumerate(filled.parts):
        own = [each for each in IDS if where(each) == number]
        assert own
        assert sorted(job.id for job in part.list_jobs(JobState.WAITING, 0, 100)) == sorted(own)
        assert part.counts()[JobState.WAITING] == len(own)
    assert filled.counts()[JobState.WAITING] == len(IDS)


def test_outcomes_are_in_the_order_of_the_jobs(filled: PartitionedQueue) -> None:
    for part in filled.parts:
        part.claim(limit=1, lock_ms=30_000, token="t")
    held = {job.id for job in filled.list_jobs(JobState.ACTIVE, 0, 100)}
    assert len(held) == COUNT
    outcomes = filled.add_many([NewJob(each, "item", {}, revision=2) for each in IDS])
    busy = {each for each, outcome in zip(IDS, outcomes, strict=True) if outcome is AddOutcome.BUSY}
    assert busy == held


def test_pages_of_all_partitions_show_each_job_once(filled: PartitionedQueue) -> None:
    pages = [filled.list_jobs(JobState.WAITING, offset, 3) for offset in range(0, 24, 3)]
    assert sorted(job.id for page in pages for job in page) == sorted(IDS)


def test_a_page_of_all_partitions_is_newest_first(
    queue: PartitionedQueue, clock: FakeClock
) -> None:
    for round_number in range(3):
        queue.add_many([NewJob(f"{each}{round_number}", "item", {}) for each in IDS])
        clock.advance(seconds=1)
    for part in queue.parts:
        part.claim(limit=1, lock_ms=30_000, token="t")

    pages = [queue.list_jobs(JobState.WAITING, offset, 10) for offset in (0, 10, 20, 30, 40, 50)]

    for page in pages:
        times = [job.timestamp_ms for job in page]
        assert times == sorted(times, reverse=True)
    first = {where(job.id) for job in pages[0]}
    assert first == set(range(COUNT))
    assert {job.timestamp_ms for job in pages[0]} == {clock.now_ms() - 1000}
    assert len({job.id for page in pages for job in page}) == 3 * len(IDS) - COUNT


def test_a_job_is_found_wherever_it_was_added(filled: PartitionedQueue) -> None:
    strange = "source-1#added by others"
    part = filled.parts[(where(strange) + 1) % COUNT]
    part.add_many([NewJob(strange, "item", {})])
    found = filled.get_jobs([IDS[3], "none#x", strange])
    assert [job.id if job else None for job in found] == [IDS[3], None, strange]
    assert holder_of(filled, strange) is part
    assert filled.remove_many([strange, "none#x"]) == [RemoveOutcome.REMOVED, RemoveOutcome.MISSING]


def test_locked_jobs_are_removed_by_their_token_or_go_back(filled: PartitionedQueue) -> None:
    filled.parts[where(IDS[0])].lock_many([IDS[0]], token="theirs", lock_ms=30_000)
    locking = filled.lock_many(IDS[:4], token="ours", lock_ms=30_000)
    assert locking.held_ids == [IDS[0]]
    assert sorted(job.id for job in locking.jobs) == sorted(IDS[1:4])
    drawn = [(Lock(each, "ours"), 7) for each in IDS[:2]]
    assert filled.assign_revisions(drawn) == [None, 1]
    outcomes = filled.remove_locked(IDS[:3], token="ours", tally_field="removed")
    assert outcomes == [RemoveOutcome.LOCKED, RemoveOutcome.REMOVED, RemoveOutcome.REMOVED]
    assert filled.read_tallies(["import-1", "none"]) == [{"removed": 2}, {}]
    released = filled.release_many([Lock(IDS[3], "ours"), Lock(IDS[1], "ours")])
    assert released == ["settled", "lock_lost"]
    filled.delete_tallies(["import-1"])
    assert filled.read_tallies(["import-1"]) == [{}]


def test_old_jobs_of_all_partitions_are_cleaned(filled: PartitionedQueue) -> None:
    assert len(filled.jobs_to_clean(JobState.WAITING, 0, 7)) == 7
    assert sorted(filled.clean(JobState.WAITING, 0, 100)) == sorted(IDS)
    assert filled.counts()[JobState.WAITING] == 0


def test_a_pause_holds_in_all_partitions(filled: PartitionedQueue) -> None:
    filled.pause()
    assert all(part.is_paused() for part in filled.parts)
    assert not filled.parts[0].claim(limit=1, lock_ms=1000, token="t").jobs
    filled.resume()
    assert not filled.is_paused()


def test_one_sample_is_of_all_partitions(filled: PartitionedQueue) -> None:
    plain = filled.parts[1]
    plain.pause()
    whole, one = sample_queues([filled, plain])
    assert whole.counts == filled.counts()
    assert whole.totals == filled.read_totals() == {"completed": 0, "failed": 0, "retried": 0}
    assert whole.is_paused
    assert whole.oldest_waiting_ms == 0
    assert one == plain.sample()


def test_the_loss_of_one_partition_is_seen_in_the_mark_of_all(filled: PartitionedQueue) -> None:
    assert filled.read_incarnation() is None
    before = filled.create_incarnation("first")
    assert filled.read_incarnation() == before
    filled.parts[2].drain_all()
    assert filled.read_incarnation() is None
    after = filled.create_incarnation("second")
    assert after != before
    assert filled.create_incarnation("third") == filled.read_incarnation() == after


def test_what_is_done_in_each_partition_is_refused_for_all(filled: PartitionedQueue) -> None:
    with pytest.raises(QueueError, match="has partitions: call 'claim' on one of `parts`"):
        filled.claim(limit=1, lock_ms=1000, token="t")


def test_all_of_a_queue_can_be_deleted(
    filled: PartitionedQueue, redis_client: RedisConnection
) -> None:
    filled.drain_all()
    assert redis_client.keys("*") == []
