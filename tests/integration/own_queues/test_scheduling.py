"""Schedulers of a queue of one's own, made and gone on with by us alone."""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feedmill import InvalidJobOptions, Job, JobStateError, Queue, QueueError, QueueFull, Worker
from shared.queue import RedisConnection, WorkerOptions
from shared.queue import Worker as JobWorker
from tests.fakes import FakeClock
from tests.queue_states import line, whole_state

SATURDAY = datetime(2026, 11, 28, 18, tzinfo=UTC)
MONDAY = datetime(2026, 11, 30, 7, tzinfo=UTC)
MONDAYS = {"pattern": "0 8 * * 1", "tz": "Europe/Rome"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(SATURDAY)


@pytest.fixture
def reports(redis_client: RedisConnection, clock: FakeClock) -> Queue:
    return Queue("reports", redis_client, clock=clock)


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def next_of(queue: Queue, scheduler_id: str) -> datetime:
    found = queue.get_job_scheduler(scheduler_id)
    assert found is not None
    return datetime.fromtimestamp(found.next / 1000, UTC)


def work(queue: Queue) -> list[Job[Any]]:
    """Work all that is due; the jobs as their handler saw them."""
    seen: list[Job[Any]] = []
    worker = Worker(queue, seen.append)
    while worker.step():
        pass
    return seen


def test_a_report_comes_every_monday_at_eight(reports: Queue, clock: FakeClock) -> None:
    template = {"name": "weekly", "data": {"to": "board"}, "opts": {"attempts": 2}}
    first = reports.upsert_job_scheduler("weekly", MONDAYS, template)
    assert (first.id, first.delay) == (f"repeat:weekly:{ms(MONDAY)}", ms(MONDAY) - ms(SATURDAY))
    assert work(reports) == []
    for week in range(3):
        clock.advance_to(MONDAY + timedelta(weeks=week))
        [job] = work(reports)
        assert (job.name, job.data, job.repeat_job_key) == ("weekly", {"to": "board"}, "weekly")
        assert next_of(reports, "weekly") == MONDAY + timedelta(weeks=week + 1)
    assert reports.get_job_counts("delayed", "completed") == {"delayed": 1, "completed": 3}


def test_without_a_zone_a_pattern_is_in_utc(reports: Queue) -> None:
    reports.upsert_job_scheduler("daily", {"pattern": "0 0 * * *"})
    assert next_of(reports, "daily") == datetime(2026, 11, 29, tzinfo=UTC)


def test_a_worker_that_reads_no_more_of_its_jobs_than_needed_goes_on_with_a_schedule(
    reports: Queue, clock: FakeClock
) -> None:
    first = reports.upsert_job_scheduler("poll", {"every": 60_000})
    reports.add("not of a scheduler", {"repeatJobKey": "poll"})
    options = WorkerOptions(concurrency=1, lock_ms=30_000)
    ran: list[str] = []
    worker = JobWorker(reports.core, lambda job: ran.append(job.id), options, clock=clock)
    while worker.step():
        pass
    assert ran == [first.id, "2"]
    assert next_of(reports, "poll") == SATURDAY + timedelta(minutes=1)
    assert reports.get_job_counts("delayed") == {"delayed": 1}


def test_each_job_of_a_batch_makes_the_next_one_of_its_scheduler(reports: Queue) -> None:
    for scheduler_id in ("a", "b"):
        reports.upsert_job_scheduler(scheduler_id, {"every": 60_000})
    reports.add("of nobody")
    sizes: list[int] = []
    worker = Worker(reports, lambda jobs: sizes.append(len(jobs)), batch=10)
    assert worker.step()
    assert sizes == [3]
    due = SATURDAY + timedelta(minutes=1)
    assert [next_of(reports, scheduler_id) for scheduler_id in ("a", "b")] == [due, due]
    assert reports.get_job_counts("delayed") == {"delayed": 2}


def test_times_that_no_worker_was_there_for_are_left_out(reports: Queue, clock: FakeClock) -> None:
    reports.upsert_job_scheduler("poll", {"every": 60_000, "offset": 5_000})
    clock.advance(hours=3, seconds=30)
    assert len(work(reports)) == 1
    assert next_of(reports, "poll") == SATURDAY + timedelta(hours=3, seconds=65)


def test_a_job_that_is_tried_again_makes_no_second_successor(
    reports: Queue, clock: FakeClock
) -> None:
    opts = {"attempts": 3, "backoff": 1000}
    reports.upsert_job_scheduler("poll", {"every": 60_000}, {"opts": opts})

    def fail(job: Job[Any]) -> None:
        raise RuntimeError(job.id)

    worker = Worker(reports, fail)
    for _ in range(3):
        assert worker.step()
        clock.advance(seconds=2)
    assert reports.get_job_counts("delayed", "failed") == {"delayed": 1, "failed": 1}
    found = reports.get_job_scheduler("poll")
    assert found is not None
    assert found.iteration_count == 2


def test_the_last_job_of_a_limit_or_before_an_end_has_no_successor(
    reports: Queue, clock: FakeClock
) -> None:
    reports.upsert_job_scheduler("twice", {"every": 1000, "limit": 2})
    reports.upsert_job_scheduler(
        "noon", {"pattern": "0 12 * * *", "end_date": SATURDAY + timedelta(days=2)}
    )
    for _ in range(5):
        clock.advance(days=1)
        work(reports)
    assert reports.get_job_counts("delayed", "completed") == {"delayed": 0, "completed": 4}


def test_a_changed_scheduler_replaces_the_job_that_waits(reports: Queue) -> None:
    reports.upsert_job_scheduler("poll", {"every": 60_000}, {"data": 1})
    changed = reports.upsert_job_scheduler("poll", {"every": 60_000}, {"data": 2})
    assert line(reports.core) == [changed.id]
    assert (changed.data, changed.refresh().data) == (2, 2)


def test_schedulers_are_listed_counted_and_removed(reports: Queue, clock: FakeClock) -> None:
    reports.upsert_job_scheduler("weekly", MONDAYS, {"name": "n", "data": [1]})
    reports.upsert_job_scheduler("poll", {"every": 60_000, "start_date": SATURDAY})
    assert [one.id for one in reports.get_job_schedulers()] == ["weekly", "poll"]
    assert [one.id for one in reports.get_job_schedulers(0, 0, asc=True)] == ["poll"]
    weekly = reports.get_job_scheduler("weekly")
    assert weekly is not None
    assert (weekly.repeat.pattern, weekly.repeat.tz, weekly.data) == (
        "0 8 * * 1",
        "Europe/Rome",
        [1],
    )
    with pytest.raises(JobStateError, match="next job of a scheduler"):
        reports.remove(f"repeat:weekly:{weekly.next}")
    assert reports.remove_job_scheduler("weekly")
    assert not reports.remove_job_scheduler("weekly")
    assert reports.get_job_scheduler("weekly") is None
    assert (reports.get_job_schedulers_count(), reports.get_job_counts("delayed")) == (
        1,
        {"delayed": 0},
    )


def test_defaults_of_the_queue_are_those_of_the_template_but_for_delays(
    redis_client: RedisConnection, clock: FakeClock
) -> None:
    defaults = {"attempts": 4, "delay": 9_000, "remove_on_complete": True}
    queue = Queue("reports", redis_client, clock=clock, default_job_options=defaults)
    job = queue.upsert_job_scheduler("poll", {"every": 60_000}, {"opts": {"attempts": 5}})
    assert (job.delay, job.opts["attempts"], job.opts["removeOnComplete"]) == (0, 5, True)


@pytest.mark.parametrize(
    ("scheduler_id", "repeat", "template", "message"),
    [
        ("", {"every": 1}, {}, "does not end in a colon and digits"),
        ("a:17", {"every": 1}, {}, "does not end in a colon and digits"),
        ("a", {}, {}, "a pattern or every, one of the two"),
        ("a", {"every": 1, **MONDAYS}, {}, "a pattern or every, one of the two"),
        ("a", {"every": 0}, {}, "every=0: accepted is whole milliseconds from 1"),
        ("a", {"evry": 5}, {}, "there is no option 'evry'; there are end_date, every"),
        ("a", {"every": 5, "offset": 5}, {}, "less than every"),
        ("a", {**MONDAYS, "offset": 5}, {}, "without a pattern"),
        ("a", {"pattern": "8 o'clock"}, {}, "accepted is a crontab pattern"),
        ("a", {"pattern": "0 0 30 2 *"}, {}, "names a time before its end"),
        ("a", {**MONDAYS, "tz": "Mars/Base"}, {}, "a time zone such as"),
        ("a", {"every": 5, "limit": 0}, {}, "limit=0: accepted is a whole number from 1"),
        ("a", {"every": 5, "end_date": SATURDAY - timedelta(1)}, {}, "a time to come"),
        ("a", {"every": 5, "start_date": datetime(2027, 1, 1)}, {}, "an aware datetime"),
        ("a", {"every": 5, "start_date": 2**53 - 1}, {}, "before the year 9000"),
        ("a", {**MONDAYS, "immediately": True, "start_date": MONDAY}, {}, "no start_date beside"),
        ("a", {**MONDAYS, "immediately": 1}, {}, "True or False"),
        ("a", {"every": 5}, {"nam": "x"}, "a mapping of name, data and opts"),
        ("a", {"every": 5}, {"opts": {"delay": 5}}, "none in a scheduler's template"),
        ("a", {"every": 5}, {"opts": {"job_id": "x"}}, "none in a scheduler's template"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_before_anything_is_sent(
    reports: Queue, scheduler_id: str, repeat: Any, template: Any, message: str
) -> None:
    with pytest.raises(InvalidJobOptions, match=message):
        reports.upsert_job_scheduler(scheduler_id, repeat, template)
    assert reports.core.client.dbsize() == 0


def test_a_taken_id_of_the_next_job_is_refused_or_for_a_time_passed_over(
    reports: Queue, redis_client: RedisConnection
) -> None:
    redis_client.hset(f"bull:reports:repeat:weekly:{ms(MONDAY)}", "name", "in the way")
    with pytest.raises(JobStateError, match="has the id of the next job of 'weekly'"):
        reports.upsert_job_scheduler("weekly", MONDAYS)
    assert reports.get_job_schedulers() == []
    redis_client.hset(f"bull:reports:repeat:poll:{ms(SATURDAY)}", "name", "in the way")
    assert reports.upsert_job_scheduler("poll", {"every": 60_000}).delay == 60_000
    for minute in range(33):
        taken = ms(SATURDAY) + minute * 60_000
        redis_client.hset(f"bull:reports:repeat:busy:{taken}", "name", "in the way")
    with pytest.raises(JobStateError, match="'busy'"):
        reports.upsert_job_scheduler("busy", {"every": 60_000})


def test_a_schedule_that_cannot_go_on_is_reported_and_its_job_runs(
    reports: Queue, redis_client: RedisConnection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "feedmill")
    reports.upsert_job_scheduler("poll", {"every": 60_000})
    taken = ms(SATURDAY) + 60_000
    redis_client.hset(f"bull:reports:repeat:poll:{taken}", "name", "in the way")
    assert len(work(reports)) == 1
    assert "schedule_blocked" in caplog.text


def only_for_node(reports: Queue, repeat: dict[str, str]) -> Job[Any]:
    """Make a scheduler whose job is due now, with a pattern or zone that Node alone may know."""
    job = reports.upsert_job_scheduler("odd", {"pattern": "* * * * *", "immediately": True})
    opts = {"repeat": {**repeat, "count": 1}, "prevMillis": ms(SATURDAY), "attempts": 3}
    reports.core.client.hset(reports.core.keys.job(job.id), "opts", json.dumps(opts))
    return job.refresh()


@pytest.mark.parametrize("options", [{}, {"batch": 9}])
@pytest.mark.parametrize(
    "repeat", [{"pattern": "H * * * *"}, {"pattern": "* * * * *", "tz": "UTC+2"}]
)
def test_a_schedule_that_cannot_be_read_here_is_left_to_node_with_its_job(
    reports: Queue,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    repeat: dict[str, str],
) -> None:
    caplog.set_level(logging.WARNING, "feedmill")
    job = only_for_node(reports, repeat)
    reports.add("other")
    ran: list[str] = []

    def run(given: Any) -> None:
        ran.extend(each.name for each in (given if options else [given]))

    worker = Worker(reports, run, **options)
    for late_s, wait_s in ((0, 1), (1, 1), (9, 9), (500, 60)):
        clock.advance_to(SATURDAY + timedelta(seconds=late_s))
        while worker.step():
            pass
        now = job.refresh()
        assert (now.get_state(), now.delay, now.attempts_made) == ("delayed", wait_s * 1000, 0)
    assert caplog.text.count("schedule_unreadable") == 4
    assert next_of(reports, "odd") == SATURDAY
    assert ran == ["other"]
    reports.upsert_job_scheduler("odd", {"pattern": "* * * * *", "immediately": True})
    assert [each.name for each in work(reports)] == ["odd"]


def test_a_job_whose_next_one_node_has_made_runs_though_its_pattern_cannot_be_read(
    reports: Queue, redis_client: RedisConnection
) -> None:
    job = only_for_node(reports, {"pattern": "H * * * *"})
    redis_client.zadd("bull:reports:repeat", {"odd": ms(MONDAY)})
    assert [each.id for each in work(reports)] == [job.id]


@pytest.mark.parametrize(
    "repeat",
    [
        "no object",
        {"pattern": 5, "count": "x"},
        {"pattern": "* * * * *", "startDate": 9_000_000_000_000_000},
        {"every": -5, "count": -1},
        {"every": 9_000_000_000_000_000, "offset": 9_000_000_000_000_000},
        {"every": "soon", "limit": [], "endDate": {}},
    ],
)
def test_a_repeat_that_makes_no_sense_costs_its_schedule_only(
    reports: Queue, redis_client: RedisConnection, repeat: Any
) -> None:
    job = reports.upsert_job_scheduler("odd", {"pattern": "* * * * *", "immediately": True})
    opts = json.dumps({"repeat": repeat, "prevMillis": repeat, "backoff": True, "priority": "x"})
    redis_client.hset(f"bull:reports:{job.id}", "opts", opts)
    reports.add("after it")
    assert [each.name for each in work(reports)] == ["odd", "after it"]
    assert reports.get_job_counts("completed") == {"completed": 2}


def test_a_key_of_another_type_costs_schedules_only(
    reports: Queue, redis_client: RedisConnection, caplog: pytest.LogCaptureFixture
) -> None:
    reports.upsert_job_scheduler("poll", {"every": 60_000})
    redis_client.delete("bull:reports:repeat")
    redis_client.set("bull:reports:repeat", "x")
    assert len(work(reports)) == 1
    assert "schedule_broken" in caplog.text
    for act in (reports.get_job_schedulers, lambda: reports.get_job_scheduler("poll")):
        with pytest.raises(QueueError, match="WRONGTYPE"):
            act()


def test_what_makes_no_sense_in_redis_is_no_scheduler_or_shown_as_absent(
    reports: Queue, redis_client: RedisConnection
) -> None:
    base = "bull:reports:repeat"
    redis_client.zadd(base, {"gone": 1, "list": 2, "odd": 3})
    redis_client.rpush(f"{base}:list", "x")
    redis_client.hset(f"{base}:odd", mapping={"name": b"\xff", "every": "soon", "data": "{"})
    [odd] = reports.get_job_schedulers()
    assert (odd.id, odd.name, odd.repeat.every, odd.data) == ("odd", "�", None, "{")
    assert reports.get_job_scheduler("gone") is None


class FreeingClock(FakeClock):
    """Gives Redis its memory back while somebody waits."""

    client: RedisConnection

    def wait(self, event: Any, timeout_s: float) -> bool:
        self.client.config_set("maxmemory", 0)
        return super().wait(event, timeout_s)


def test_a_full_redis_refuses_a_scheduler_and_holds_its_job_up_until_there_is_room(
    redis_client: RedisConnection,
) -> None:
    clock = FreeingClock(SATURDAY)
    clock.client = redis_client
    queue = Queue("reports", redis_client, clock=clock)
    queue.upsert_job_scheduler("poll", {"every": 60_000})
    before = whole_state(queue.core)
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueFull):
            queue.upsert_job_scheduler("poll", {"every": 60_000}, {"data": 2})
        with pytest.raises(QueueFull):
            queue.upsert_job_scheduler("other", MONDAYS)
        assert whole_state(queue.core) == before
        assert len(work(queue)) == 1
    finally:
        redis_client.config_set("maxmemory", 0)
    assert next_of(queue, "poll") == SATURDAY + timedelta(minutes=1)
