"""How many commands and bytes a batch costs: a number that does not grow with the batch."""

from collections.abc import Callable

import pytest

from shared.queue import (
    Completion,
    DeadLettering,
    Failure,
    JobQueue,
    Lock,
    Retry,
    Upkeep,
    sample_queues,
)
from tests.fakes import FakeClock
from tests.queue_states import claim, make_job, scripts_of, seed_active, seed_waiting

IDS = [f"a#{n}" for n in range(500)]


@pytest.fixture(autouse=True)
def _scripts_are_known(queue: JobQueue, dlq: JobQueue) -> None:
    seed_active(queue, "w#1", "w#2", "w#3", "w#4", token="w")
    queue.extend_many([Lock("w#1", "w")], lock_ms=1000)
    queue.assign_revisions([(Lock("w#1", "w"), 1)])
    queue.retry_many([Retry("w#1", "w", "", "", 10_000)])
    queue.fail_many([Failure("w#2", "w", "", "")])
    queue.dead_letter_many([DeadLettering("w#3", "w", "", "", make_job("w#3"))], dlq)
    queue.release_many([Lock("w#4", "w")])
    queue.complete_many([])
    jobs = claim(queue, "w2").jobs
    queue.complete_many([Completion(job.id, "w2") for job in jobs])


def test_five_hundred_jobs_are_added_claimed_and_completed_in_three_round_trips(
    queue: JobQueue,
) -> None:
    jobs = [make_job(job_id) for job_id in IDS]
    assert scripts_of(queue, lambda: queue.add_many(jobs)) == 1
    assert scripts_of(queue, lambda: claim(queue, limit=500)) == 1
    done = [Completion(job_id, "t1", None, "new") for job_id in IDS]
    assert scripts_of(queue, lambda: queue.complete_many(done)) == 1
    assert sum(queue.read_tallies(["import-1"])[0].values()) == 500


@pytest.mark.parametrize(
    "act",
    [
        lambda q, d: q.extend_many([Lock(i, "t1") for i in IDS], lock_ms=1000),
        lambda q, d: q.assign_revisions([(Lock(i, "t1"), 3) for i in IDS]),
        lambda q, d: q.retry_many([Retry(i, "t1", "boom", "stack", 5) for i in IDS]),
        lambda q, d: q.fail_many([Failure(i, "t1", "boom", "stack") for i in IDS]),
        lambda q, d: q.release_many([Lock(i, "t1") for i in IDS]),
        lambda q, d: q.dead_letter_many(
            [DeadLettering(i, "t1", "bad", "stack", make_job(i)) for i in IDS], d
        ),
    ],
    ids=["extend", "assign_revision", "retry", "fail", "release", "dead_letter"],
)
def test_five_hundred_claimed_jobs_are_moved_in_one_round_trip(
    queue: JobQueue, dlq: JobQueue, act: Callable[[JobQueue, JobQueue], object]
) -> None:
    seed_active(queue, *IDS)
    assert scripts_of(queue, lambda: act(queue, dlq)) == 1


def test_a_call_is_split_by_bytes_as_well_as_by_jobs(queue: JobQueue) -> None:
    large = [make_job(f"b#{n}", data={"text": "x" * 1_000_000}) for n in range(20)]
    assert scripts_of(queue, lambda: queue.add_many(large)) == 3
    assert len(claim(queue, limit=1000).jobs) == 8


def test_adding_to_a_long_line_costs_no_search_in_it(queue: JobQueue) -> None:
    seed_waiting(queue, *[f"c#{n}" for n in range(3000)])
    before = queue.client.info("commandstats").get("cmdstat_lrange", {"calls": 0})["calls"]
    seed_waiting(queue, "c#0", "c#1", revision=2)
    after = queue.client.info("commandstats")["cmdstat_lrange"]["calls"]
    # The one list that is read is that of the claimed jobs.
    assert after - before == 1


def test_several_queues_are_sampled_in_two_round_trips(queue: JobQueue, dlq: JobQueue) -> None:
    seed_waiting(queue, *IDS)
    sent: list[object] = []
    pipeline = queue.client.pipeline
    queue.client.pipeline = lambda *a, **k: sent.append(a) or pipeline(*a, **k)  # type: ignore[method-assign, func-returns-value]
    try:
        sample_queues([queue, dlq])
    finally:
        del queue.client.pipeline
    assert len(sent) == 2


def test_the_upkeep_runs_no_script_where_no_job_is_claimed_and_none_is_due(
    queue: JobQueue, clock: FakeClock
) -> None:
    log: list[str] = []
    upkeep = Upkeep(
        [queue],
        every_ms=1,
        max_stalled=1,
        clock=clock,
        log_event=lambda event, **_: log.append(event),
    )
    queue.promote_due()
    queue.reclaim_stalled(max_stalled=1)
    assert scripts_of(queue, upkeep.run_once) == 0
    clock.advance(seconds=11)
    assert scripts_of(queue, upkeep.run_once) == 1
    assert len(claim(queue, "t4").jobs) == 1
    assert scripts_of(queue, upkeep.run_once) == 1
    assert log == []


def test_moving_a_large_batch_costs_few_commands_a_job(queue: JobQueue) -> None:
    seed_active(queue, *IDS)
    done = [Completion(job_id, "t1", None, "new") for job_id in IDS]

    def calls() -> int:
        stats = queue.client.info("commandstats")
        return sum(value["calls"] for value in stats.values())

    before = calls()
    queue.complete_many(done)
    assert (calls() - before) / len(IDS) < 12
