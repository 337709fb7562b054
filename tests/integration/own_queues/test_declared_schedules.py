"""Schedules of declared queues on a real Valkey, their clock moved by hand."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from feedmill import Declared, InvalidJobOptions, Job, Queue, configure, queue
from shared.queue import RedisConnection
from tests.fakes import FakeClock

MONDAY = datetime(2026, 11, 2, 8, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def place(redis_client: RedisConnection, clock: FakeClock) -> Iterator[None]:
    configure(redis_client, prefix="own", clock=clock)
    yield
    configure()


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def report(seen: list[str]) -> Declared[str]:
    @queue("reports")
    def report(job: Job[str]) -> None:
        seen.append(job.data)

    return report


def work(declared: Declared[Any]) -> None:
    worker = declared.worker()
    while worker.step():
        pass


def test_a_crontab_adds_a_job_at_each_of_its_times(
    report: Declared[str], clock: FakeClock, seen: list[str]
) -> None:
    report.schedule("0 8 * * 1", "sales", tz="Europe/Rome")
    assert report.queue.get_job_schedulers_count() == 0
    report.make_schedules()
    work(report)
    assert seen == []
    clock.advance_to(MONDAY.replace(hour=7))
    work(report)
    work(report)
    assert seen == ["sales"]
    clock.advance(days=7)
    work(report)
    assert seen == ["sales", "sales"]


def test_a_span_adds_a_job_at_once_and_then_each_time(
    report: Declared[str], clock: FakeClock, seen: list[str]
) -> None:
    report.schedule("15m", "sales")
    report.make_schedules()
    work(report)
    clock.advance(minutes=15)
    work(report)
    assert seen == ["sales"] * 2


def test_a_schedule_that_is_declared_otherwise_replaces_the_one_of_its_id(
    report: Declared[str], clock: FakeClock, seen: list[str]
) -> None:
    report.schedule("0 8 * * 1", "old", id="weekly")
    report.make_schedules()

    @queue("reports")
    def later(job: Job[str]) -> None:
        seen.append(job.data)

    later.schedule("0 9 * * 1", "new", id="weekly")
    later.make_schedules(report.schedule_ids)
    clock.advance_to(MONDAY)
    work(later)
    assert seen == []
    clock.advance(hours=1)
    work(later)
    assert seen == ["new"]


def test_a_schedule_that_is_declared_no_more_ends_and_those_of_others_go_on(
    report: Declared[str],
) -> None:
    report.schedule("15m", "sales", id="mine")
    report.make_schedules()
    report.queue.upsert_job_scheduler("other", {"every": 1000})

    @queue("reports")
    def later(job: Job[str]) -> None: ...

    later.make_schedules(former=report.schedule_ids)
    assert [each.id for each in later.queue.get_job_schedulers()] == ["other"]


def test_schedules_are_made_again_only_where_they_are_missing(
    report: Declared[str], clock: FakeClock
) -> None:
    report.schedule("15m", "sales")
    report.make_schedules()
    clock.advance(minutes=5)
    before = report.queue.get_job_scheduler("report")
    report.make_schedules(only_missing=True)
    assert report.queue.get_job_scheduler("report") == before
    report.queue.remove_job_scheduler("report")
    report.make_schedules(only_missing=True)
    assert report.queue.get_job_scheduler("report") is not None


def test_a_schedule_with_a_limit_is_not_begun_anew_by_the_next_worker(
    report: Declared[str], clock: FakeClock, seen: list[str]
) -> None:
    report.schedule("1m", "sales", limit=2)
    for _ in range(5):
        report.make_schedules()
        work(report)
        clock.advance(minutes=1)
    assert seen == ["sales"] * 2
    assert report.queue.count() == 0


def test_a_schedule_that_is_over_hinders_nobody(report: Declared[str], seen: list[str]) -> None:
    report.schedule("15m", "sales", end=MONDAY.replace(year=2025))
    report.make_schedules()
    work(report)
    assert seen == []


def test_schedules_that_cannot_be_are_refused_where_they_are_declared(
    report: Declared[str],
) -> None:
    wrong: Any = 7
    with pytest.raises(InvalidJobOptions, match="data="):
        report.schedule("15m", wrong)
    with pytest.raises(InvalidJobOptions, match="pattern="):
        report.schedule("61 * * * *", "sales")
    with pytest.raises(InvalidJobOptions, match="tz="):
        report.schedule("0 8 * * *", "sales", tz="Rome")
    with pytest.raises(InvalidJobOptions, match="none with a span"):
        report.schedule("15m", "sales", tz="Europe/Rome")
    with pytest.raises(InvalidJobOptions, match="scheduler id"):
        report.schedule("15m", "sales", id="a:1")
    report.schedule("15m", "sales")
    with pytest.raises(InvalidJobOptions, match="no other schedule"):
        report.schedule("30m", "sales")
    assert Queue("reports", report.queue.core.client, prefix="own").count() == 0
