"""Flows of declared queues on a real Valkey."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from feedmill import (
    Declared,
    InvalidJobId,
    InvalidJobOptions,
    Job,
    JobStateError,
    Planned,
    UnrecoverableError,
    configure,
    flow,
    queue,
)
from shared.queue import RedisConnection
from tests.fakes import FakeClock

SPOILT = 13


class Course(BaseModel):
    """What a report is about."""

    title: str = "none"


@queue("videos", weight="heavy", attempts=1, keep=100)
def video(job: Job[int]) -> str:
    if job.data == SPOILT:
        raise UnrecoverableError("spoilt")
    return f"video {job.data}"


@queue("pdfs")
def pdf(job: Job[int]) -> str:
    return f"pdf {job.data}"


@queue("reports", attempts=2)
def report(job: Job[Course]) -> list[object]:
    return [job.data.title, *sorted(map(str, job.get_children_values().values()))]


@pytest.fixture(autouse=True)
def place(redis_client: RedisConnection) -> Iterator[None]:
    configure(redis_client, prefix="own", clock=FakeClock())
    yield
    configure()


def work(*declared: Declared[Any]) -> None:
    for each in declared:
        worker = each.worker()
        while worker.step():
            pass


def test_a_job_runs_when_its_children_are_done_and_reads_their_results() -> None:
    job = flow(report(Course(title="Knots")), children=[video(1), pdf(2)]).add()
    assert (job.queue_name, job.name, job.get_state()) == ("reports", "report", "waiting-children")
    work(report)
    assert job.is_waiting_children()
    work(video, pdf, report)
    assert job.refresh().return_value == ["Knots", "pdf 2", "video 1"]


def test_a_parent_that_needs_no_data_is_named_alone() -> None:
    job = flow(report, children=[video(1)]).add()
    work(video, report)
    assert job.refresh().return_value == ["none", "video 1"]


def test_a_child_that_needs_no_data_is_named_alone() -> None:
    job = flow(report, children=[report, pdf(2)]).add()
    work(pdf, report, report)
    assert job.refresh().return_value == ["none", "['none']", "pdf 2"]


def test_each_job_has_the_options_of_its_own_queue_and_of_its_call() -> None:
    job = flow(report(Course(), id="r-1"), children=[video(1, id="v-1", priority=3)]).add()
    child = video.queue.get_job("v-1")
    assert child is not None
    assert (job.id, job.opts["attempts"]) == ("r-1", 2)
    assert (child.priority, child.opts["removeOnFail"]) == (3, {"count": 100})


def test_flows_stand_in_flows() -> None:
    inner = flow(report(Course(title="inner")), children=[pdf(1), pdf(2)])
    outer = flow(report(Course(title="outer")), children=[inner, video(3)]).add()
    work(pdf, video, report, report)
    assert outer.refresh().return_value == ["outer", "['inner', 'pdf 1', 'pdf 2']", "video 3"]


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ("fail", "failed"),
        ("continue", "completed"),
        ("ignore", "completed"),
        ("remove", "completed"),
    ],
)
def test_the_rule_says_what_a_failed_child_does_to_its_parent(rule: str, state: str) -> None:
    planned = flow(report, children=[video(SPOILT), pdf(1)], on_child_failure=rule)
    job = planned.add()
    work(video, pdf, report)
    assert job.get_state() == state


def test_nothing_is_added_when_one_job_of_a_flow_cannot_be() -> None:
    flow(report, children=[pdf(2, id="p-2")]).add()
    with pytest.raises(JobStateError, match="p-2"):
        flow(report, children=[video(1), pdf(2, id="p-2")]).add()
    assert (report.queue.count(), video.queue.count(), pdf.queue.count()) == (1, 0, 1)


def test_what_cannot_be_planned_is_refused_at_once() -> None:
    wrong: Any = "two"
    with pytest.raises(InvalidJobOptions, match="data="):
        pdf(wrong)
    with pytest.raises(InvalidJobId, match="integer"):
        pdf(2, id="7")
    with pytest.raises(InvalidJobOptions, match="delay="):
        pdf(2, delay="soon")
    with pytest.raises(InvalidJobOptions, match="priority="):
        pdf(2, priority=-1)
    with pytest.raises(InvalidJobOptions, match="on_child_failure='wait': accepted is fail, "):
        flow(report, children=[pdf(2)], on_child_failure="wait")
    with pytest.raises(InvalidJobOptions, match="called with its data"):
        flow(report, children=[wrong])


def test_a_plan_adds_nothing_by_itself_and_is_added_as_often_as_wanted() -> None:
    planned: Planned = flow(report, children=[pdf(2)])
    assert report.queue.count() == 0
    assert planned.add().id != planned.add().id
    work(pdf, report)
    assert report.queue.get_job_counts("completed") == {"completed": 2}
