"""What a worker wants of the jobs that it ends: kept, counted, with their children done."""

from typing import Any

import pytest

from feedmill import InvalidJobOptions, Job, Queue, Worker
from shared.queue import Completion, RedisConnection
from shared.queue.end_rules import NO_RULES, EndRules
from tests.fakes import FakeClock
from tests.queue_states import seed_active


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def emails(redis_client: RedisConnection, clock: FakeClock) -> Queue:
    return Queue("emails", redis_client, clock=clock)


def work(emails: Queue, handler: Any = lambda job: None, **options: Any) -> None:
    worker = Worker(emails, handler, **options)
    while worker.step():
        pass


def raise_no(job: Job[Any]) -> None:
    raise OSError("no")


@pytest.mark.parametrize(
    ("keep", "kept"), [(True, []), (False, ["1", "2", "3"]), (2, ["2", "3"]), ({"count": 1}, ["3"])]
)
def test_a_worker_keeps_of_ended_jobs_what_it_is_told(
    emails: Queue, clock: FakeClock, keep: Any, kept: list[str]
) -> None:
    for handler, get in ((lambda job: None, emails.get_completed), (raise_no, emails.get_failed)):
        emails.obliterate()
        emails.resume()
        worker = Worker(emails, handler, remove_on_complete=keep, remove_on_fail=keep)
        emails.add_bulk([{"name": "x"}] * 3)
        for _ in range(3):
            clock.advance(seconds=1)
            worker.step()
        assert sorted(job.id for job in get()) == kept


def test_a_job_s_own_wish_counts_before_its_worker_s(emails: Queue) -> None:
    emails.add("x", job_id="a", remove_on_complete=False)
    emails.add("x", job_id="b")
    work(emails, remove_on_complete=True)
    assert [job.id for job in emails.get_completed()] == ["a"]


def test_what_is_older_than_a_worker_keeps_goes_when_the_next_job_ends(
    emails: Queue, clock: FakeClock
) -> None:
    worker = Worker(emails, lambda job: None, remove_on_complete={"age": 60})
    for job_id, seconds in (("a", 0), ("b", 59), ("c", 60)):
        clock.advance(seconds=seconds)
        emails.add("x", job_id=job_id)
        worker.step()
    assert [job.id for job in emails.get_completed()] == ["c"]


def test_ended_jobs_are_counted_by_the_minute(emails: Queue, clock: FakeClock) -> None:
    worker = Worker(emails, lambda job: None, metrics=5, remove_on_complete=True)
    for seconds, jobs in ((0, 3), (60, 2), (180, 1), (60, 1)):
        clock.advance(seconds=seconds)
        emails.add_bulk([{"name": "x"}] * jobs)
        while worker.step():
            pass
    counted = emails.get_metrics("completed")
    # Three in the first minute, two in the second, none in two, one in the fifth.
    assert (counted.count, counted.data) == (7, [1, 0, 0, 2, 3])
    assert emails.get_metrics("failed").count == 0
    clock.advance(days=2)
    emails.add("x")
    worker.step()
    assert emails.get_metrics("completed").data == [0, 0, 0, 0, 1]


def test_a_batch_is_counted_as_its_jobs_would_be_one_by_one(
    emails: Queue, clock: FakeClock
) -> None:
    rules = EndRules(counted_minutes=10)
    for token in ("a", "b"):
        jobs = seed_active(emails.core, *[f"{token}{n}" for n in range(4)], token=token)
        done = [Completion(job.id, token) for job in jobs]
        emails.core.complete_many(done, rules)
        clock.advance(minutes=1)
    found = emails.get_metrics("completed")
    assert (found.count, found.prev_count, found.data) == (8, 4, [4])


def test_counters_that_somebody_spoilt_begin_anew_and_cost_no_job(emails: Queue) -> None:
    key = emails.core.keys.metrics("completed")
    emails.core.client.set(key, "no hash")
    emails.core.client.set(f"{key}:data", "no list")
    emails.add_bulk([{"name": "x"}] * 2)
    work(emails, metrics=5)
    emails.core.client.hset(key, mapping={"prevTS": "0", "count": "many"})
    emails.add("x")
    work(emails, metrics=5)
    assert emails.get_job_counts("completed") == {"completed": 3}
    counted = emails.get_metrics("completed")
    assert (counted.count, counted.data) == (1, [0, 0, 0, 0, 0])


def test_a_job_whose_child_is_not_done_cannot_complete_and_is_tried_again(emails: Queue) -> None:
    def add_child(job: Job[Any]) -> None:
        emails.add("child", delay=60_000, parent={"id": job.id, "queue": emails.qualified_name})

    emails.add("x", job_id="a", attempts=2)
    work(emails, add_child)
    job = emails.get_job("a")
    assert job is not None
    assert job.is_failed()
    assert job.attempts_made == 2
    assert "children of it are not done" in (job.failed_reason or "")


def test_a_job_that_a_child_has_failed_cannot_complete_at_all(emails: Queue) -> None:
    def lose_child(job: Job[Any]) -> None:
        emails.core.client.zadd(f"{emails.core.keys.job(job.id)}:unsuccessful", {"bull:q:c": 1})

    emails.add("x", job_id="a", attempts=5)
    work(emails, lose_child)
    job = emails.get_job("a")
    assert job is not None
    assert (job.is_failed(), job.attempts_made) == (True, 1)
    assert "a child has failed it" in (job.failed_reason or "")


def test_children_cost_a_batch_one_question_and_nothing_where_they_do_not_count(
    emails: Queue,
) -> None:
    def calls(rules: EndRules, token: str) -> dict[str, int]:
        jobs = seed_active(emails.core, *[f"{token}{n}" for n in range(100)], token=token)
        done = [Completion(job.id, token) for job in jobs]
        emails.core.client.config_resetstat()
        emails.core.complete_many(done, rules)
        stats = emails.core.client.info("commandstats")
        return {name: each["calls"] for name, each in stats.items() if name != "cmdstat_config"}

    calls(NO_RULES, "known")
    plain = calls(NO_RULES, "a")
    checked = calls(EndRules(checks_children=True), "b")
    assert {name: count for name, count in checked.items() if plain[name] != count} == {
        "cmdstat_exists": plain["cmdstat_exists"] + 1
    }
    assert sum(plain.values()) < 100 * 4


@pytest.mark.parametrize(
    "options",
    [
        {"metrics": -1},
        {"metrics": "5"},
        {"remove_on_complete": "all"},
        {"remove_on_fail": {"n": 1}},
    ],
)
def test_what_a_worker_cannot_want_is_refused_by_its_name(
    emails: Queue, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidJobOptions, match=next(iter(options))):
        Worker(emails, lambda job: None, **options)
