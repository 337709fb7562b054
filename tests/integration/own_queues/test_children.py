"""Jobs that wait for children which their handlers add, and that let children go."""

from dataclasses import replace
from typing import Any

import pytest

from feedmill import (
    Flow,
    Job,
    JobNotFound,
    JobStateError,
    Queue,
    UnrecoverableError,
    WaitingChildrenError,
    Worker,
)
from shared.queue import Failure, JobState, RedisConnection
from tests.failpoints import full_redis
from tests.flow_trees import page, report, shape
from tests.queue_states import claim, events, line, lose_locks, whole_state


def running(reports: Queue, token: str = "t1") -> Job[Any]:
    """Claim the report and return it as its handler sees it."""
    [claimed] = claim(reports.core, token, 1).jobs
    view = reports.core.get_job(claimed.id)
    assert view is not None
    return replace(Job.of(reports.core, view), token=token)


def add_page(pages: Queue, parent: Job[Any], job_id: str, **options: Any) -> Job[Any]:
    address = {"id": parent.id, "queue": parent.queue_qualified_name}
    return pages.add("page", job_id=job_id, parent=address, **options)


def test_a_job_waits_for_children_that_its_handler_adds(reports: Queue, pages: Queue) -> None:
    reports.add("report", job_id="r")
    job = running(reports)
    assert not job.move_to_waiting_children()
    assert job.is_active()
    add_page(pages, job, "a")
    assert job.move_to_waiting_children()
    assert job.is_waiting_children()
    assert not claim(reports.core).jobs
    assert Worker(pages, lambda job: 5).step()
    again = running(reports, "t2")
    assert again.get_children_values() == {"bull:pages:a": 5}
    assert (again.attempts_made, again.attempts_started) == (0, 2)
    assert not again.move_to_waiting_children()


def test_a_handler_adds_children_and_runs_again_when_they_are_done(
    reports: Queue, pages: Queue
) -> None:
    runs: list[int] = []

    def assemble(job: Job[Any]) -> object:
        runs.append(len(job.get_children_values()))
        if len(runs) == 1:
            for number in job.data:
                add_page(pages, job, f"p{number}")
        if job.move_to_waiting_children():
            raise WaitingChildrenError
        return sum(job.get_children_values().values())

    reports.add("report", [1, 2, 3], job_id="r", attempts=1)
    adder, writer = Worker(reports, assemble), Worker(pages, lambda job: int(job.id[1:]))
    assert adder.step()
    assert not adder.step()
    while writer.step():
        pass
    assert adder.step()
    [job] = reports.get_completed()
    assert (job.return_value, job.attempts_made, runs) == (6, 1, [0, 3])


def test_a_handler_whose_children_are_done_already_goes_on(reports: Queue, pages: Queue) -> None:
    def assemble(job: Job[Any]) -> object:
        add_page(pages, job, "p")
        assert Worker(pages, lambda job: 5).step()
        if job.move_to_waiting_children():
            raise WaitingChildrenError
        return list(job.get_children_values().values())

    reports.add("report", job_id="r")
    assert Worker(reports, assemble).step()
    assert reports.get_completed()[0].return_value == [5]


def test_a_job_fails_when_a_child_has_failed_it_while_it_ran(reports: Queue, pages: Queue) -> None:
    def assemble(job: Job[Any]) -> object:
        add_page(pages, job, "a", fail_parent_on_failure=True)
        add_page(pages, job, "b")
        claim(pages.core, limit=1)
        pages.core.fail_many([Failure("a", "t1", "bad", "")])
        if job.move_to_waiting_children():
            raise WaitingChildrenError
        return "done"

    reports.add("report", job_id="r", attempts=3)
    assert Worker(reports, assemble).step()
    [job] = reports.get_failed()
    assert "a child has failed it" in (job.failed_reason or "")


def test_a_job_may_wait_for_one_child_of_its_own(reports: Queue, pages: Queue) -> None:
    reports.add("report", job_id="r")
    job = running(reports)
    first, second = add_page(pages, job, "a"), add_page(pages, job, "b")
    assert Worker(pages, lambda job: 5).step()
    assert not job.move_to_waiting_children(first)
    assert job.move_to_waiting_children(second)


def test_a_job_that_a_child_has_failed_cannot_wait(reports: Queue, pages: Queue) -> None:
    reports.add("report", job_id="r")
    job = running(reports)
    add_page(pages, job, "a", fail_parent_on_failure=True)
    add_page(pages, job, "b")
    claim(pages.core, limit=1)
    pages.core.fail_many([Failure("a", "t1", "bad", "")])
    with pytest.raises(UnrecoverableError, match="a child has failed it"):
        job.move_to_waiting_children()
    assert job.is_active()


def test_only_who_holds_a_job_can_let_it_wait(reports: Queue, pages: Queue) -> None:
    added = reports.add("report", job_id="r")
    with pytest.raises(JobStateError, match="only its handler"):
        added.move_to_waiting_children()
    job = running(reports)
    add_page(pages, job, "a")
    lose_locks(reports.core, "r")
    before = whole_state(reports.core)
    with pytest.raises(JobStateError, match="its lock is lost"):
        job.move_to_waiting_children()
    assert whole_state(reports.core) == before
    reports.core.client.delete("bull:reports:r")
    with pytest.raises(JobNotFound):
        job.move_to_waiting_children()


def test_a_job_that_waits_makes_room_for_another(reports: Queue, pages: Queue) -> None:
    reports.add("report", job_id="r")
    reports.core.client.hset(reports.core.keys.meta, "concurrency", 1)
    job = running(reports)
    add_page(pages, job, "a")
    reports.add("report", job_id="s")
    reports.core.client.delete(reports.core.keys.marker)
    assert job.move_to_waiting_children()
    assert reports.core.client.zscore(reports.core.keys.marker, "0") == 0
    assert [each.id for each in claim(reports.core, "t2").jobs] == ["s"]


def test_keys_of_another_type_hold_no_children(reports: Queue) -> None:
    reports.add("report", job_id="r")
    job = running(reports)
    client = reports.core.client
    client.set("bull:reports:r:dependencies", "no set")
    client.set("bull:reports:r:unsuccessful", "no sorted set")
    other = Job.of(reports.core, reports.core.get_job("r"))  # type: ignore[arg-type]
    assert not job.move_to_waiting_children()
    assert not job.move_to_waiting_children(other)
    assert job.is_active()


def test_a_job_can_wait_for_children_when_redis_is_full(
    reports: Queue, pages: Queue, redis_client: RedisConnection
) -> None:
    reports.add("report", job_id="r")
    job = running(reports)
    add_page(pages, job, "a")
    with full_redis(redis_client):
        assert job.move_to_waiting_children()
    assert reports.core.counts()[JobState.WAITING_CHILDREN] == 1
    assert events(reports.core)[-1] == "waiting-children r"


def test_a_child_can_be_let_go_by_its_parent(flows: Flow, reports: Queue, pages: Queue) -> None:
    flows.add(report(page("a"), page("b")))
    first, second = pages.get_waiting()
    assert first.remove_child_dependency()
    assert not first.refresh().parent_key
    with pytest.raises(JobStateError, match="the child of no job"):
        first.remove_child_dependency()
    assert reports.core.counts()[JobState.WAITING_CHILDREN] == 1
    assert second.remove_child_dependency()
    assert line(reports.core) == ["r"]
    assert line(pages.core) == ["a", "b"]


def test_a_child_or_parent_that_is_gone_cannot_be_parted(
    flows: Flow, reports: Queue, pages: Queue
) -> None:
    flows.add(report(page("a"), page("b")))
    first, second = pages.get_waiting()
    pages.remove("a")
    with pytest.raises(JobNotFound, match="'a'"):
        first.remove_child_dependency()
    reports.remove("r", remove_children=False)
    with pytest.raises(JobNotFound, match="bull:reports:r"):
        second.remove_child_dependency()


def test_a_child_that_has_ended_keeps_its_parent(flows: Flow, reports: Queue, pages: Queue) -> None:
    flows.add(report(page("a"), page("b")))
    assert Worker(pages, lambda job: 5).step()
    [ended] = pages.get_completed()
    assert not ended.remove_child_dependency()
    assert ended.refresh().parent_key == "bull:reports:r"


def test_children_that_nobody_runs_can_be_removed(
    flows: Flow, reports: Queue, pages: Queue
) -> None:
    below = page("low", children=[page("a:b:c")])
    flows.add(report(page("done"), page("held"), page("open"), below))
    assert Worker(pages, lambda job: 5).step()
    claim(pages.core, limit=1)
    job = reports.get_job("r")
    assert job is not None
    job.remove_unprocessed_children()
    assert shape(flows.get_flow("reports", "r")) == ["r", ["done"], ["held"]]
    assert pages.count() == 0
    assert job.is_waiting_children()


def test_made_up_children_stop_no_removal(
    flows: Flow, reports: Queue, pages: Queue, redis_client: RedisConnection
) -> None:
    flows.add(report(page("a")))
    redis_client.set("bull:other:completed", "no set")
    redis_client.sadd(
        "bull:reports:r:dependencies", "no key", "bull:other:x", "::", "bull:reports:r"
    )
    redis_client.sadd("bull:pages:a:dependencies", "bull:pages:a", "bull:reports:r")
    job = reports.get_job("r")
    assert job is not None
    job.remove_unprocessed_children()
    assert pages.get_job("a") is None
    assert reports.get_job("r") is not None
