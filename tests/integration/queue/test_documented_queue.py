"""The worked example of docs/queues.md, run as it is written there."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from feedmill import Flow, Queue, Worker
from shared.clock import SystemClock
from shared.queue import Failure, JobQueue, JobState, RedisConnection
from tests.queue_states import line, seed_active

PAGE = Path(__file__).parents[3] / "docs" / "queues.md"


@pytest.fixture
def example() -> dict[str, Any]:
    """The names that the page's Python defines."""
    # The declared queue is another test's.
    blocks = re.findall(
        r"^```python\n(?!# )(.+?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {"__name__": "documented_queue"}
    exec(compile("\n".join(blocks), str(PAGE), "exec"), names)
    return names


def test_the_documented_ways_to_move_and_remove_jobs_hold(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    queue = JobQueue(redis_client, "notices", clock=SystemClock())
    seed_active(queue, "n1", "n2")
    queue.fail_many([Failure(job_id, "t1", "bad", "") for job_id in ("n1", "n2")])
    notices = Queue(queue.name, redis_client)
    example["try_again"](notices, "n1")
    example["try_again"](notices, "nobody")
    example["tidy_up"](notices)
    assert line(queue) == ["n1"]
    redis_client.zadd(queue.keys.failed, {"n2": 0})
    redis_client.hset(queue.keys.job("n2"), "finishedOn", 1)
    example["tidy_up"](notices)
    assert notices.get_job("n2") is None


def test_the_documented_additions_add_each_email_once(
    example: dict[str, Any], valkey_url: str, redis_client: RedisConnection
) -> None:
    with example["open_emails"](valkey_url) as emails:
        for _ in range(2):
            example["remind"](emails, 7)
            example["greet"](emails, [7, 8])
        assert line(emails.core) == ["greet-7", "greet-8"]
        [delayed] = emails.core.list_jobs(JobState.DELAYED, 0, 9)
        assert (delayed.name, delayed.opts["attempts"]) == ("remind", 3)


def test_the_documented_course_is_published_when_its_videos_are_converted(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    videos = Worker(Queue("videos", redis_client), lambda job: f"{job.data}.webm")
    courses = Queue("courses", redis_client)
    example["add_course"](Flow(redis_client), "knots", ["bowline", "anchor hitch"])
    assert not Worker(courses, example["publish"]).step()
    while videos.step():
        pass
    assert Worker(courses, example["publish"]).step()
    [course] = courses.get_completed()
    assert course.return_value == ["anchor hitch.webm", "bowline.webm"]


def test_the_documented_handler_goes_on_where_its_last_attempt_ended(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    accounts = Queue("accounts", redis_client)
    job = accounts.add("sync", {"done": 1})
    worker = example["make_account_worker"](accounts)
    assert worker.step()
    assert example["booked"] == ["rent", "tea"]
    assert job.refresh().last_progress == {"page": 2, "of": 2}
    assert accounts.get_job_logs(job.id) == (["2 bookings"], 1)
    bad = accounts.add("sync", [], attempts=1)
    assert worker.step()
    assert example["alerts"] == [f"sync {bad.id}: 'list' object has no attribute 'get'"]


def test_the_documented_worker_counts_what_it_ends(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    accounts = Queue("accounts", redis_client)
    accounts.add("sync", {})
    assert example["make_sparing_worker"](accounts).step()
    assert example["is_bank_away"](ConnectionError("refused"))
    assert not example["make_patient_worker"](accounts).step()
    dead = Queue("accounts_dead", redis_client)
    assert not example["make_careful_worker"](accounts, dead).step()
    assert example["try_the_bank_again"](dead) == 0
    assert accounts.get_metrics("completed").count == 1


def test_the_documented_report_comes_on_mondays_at_eight(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    reports = Queue("reports", redis_client)
    for _ in range(2):
        example["report_weekly"](reports)
    [job] = reports.get_delayed()
    due = datetime.fromtimestamp((job.timestamp + job.delay) / 1000, ZoneInfo("Europe/Rome"))
    assert (due.isoweekday(), due.hour, due.minute) == (1, 8, 0)
    assert (job.name, job.data, job.opts["attempts"]) == ("report", {"to": "board"}, 3)


def test_the_documented_limits_hold(example: dict[str, Any], redis_client: RedisConnection) -> None:
    emails = Queue("emails", redis_client)
    example["spare_the_provider"](emails)
    assert emails.get_global_concurrency() == 10
    example["rest"](emails, 60)
    assert emails.get_rate_limit_ttl() > 50_000


def test_the_documented_document_waits_for_its_pages(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    documents, pages = Queue("documents", redis_client), Queue("pages", redis_client)
    documents.add("scan", {"pages": 3})
    scanner = Worker(documents, lambda job: example["scan"](job, pages))
    assert scanner.step()
    assert pages.count() == 3
    while Worker(pages, lambda job: None).step():
        pass
    assert scanner.step()
    assert documents.get_completed()[0].return_value == 3


def test_the_documented_batch_books_all_but_what_is_no_amount(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    bookings = Queue("bookings", redis_client)
    bookings.add_bulk([{"name": "book", "data": {"amount": amount}} for amount in (7, "?", 5)])
    assert example["make_batch_worker"](bookings).step()
    assert example["ledger"] == {"1": 7, "3": 5}
    [failed] = bookings.get_failed()
    assert (failed.id, failed.failed_reason) == ("2", "no amount")
