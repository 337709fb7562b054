"""A limit for each group of a queue of one's own."""

from typing import Any

import pytest
from pydantic import BaseModel

from feedmill import InvalidJobOptions, Job, Queue, Worker, configure, queue
from shared.queue import GroupLimit, RedisConnection

MINUTE_MS = 60_000


class Event(BaseModel):
    """What the declared queue of the tests carries."""

    tenant: str


stored: list[str] = []


@queue("events", batch=500, group="tenant", limit="2/m")
def store(jobs: list[Job[Event]]) -> None:
    """Store events, two a minute of each tenant."""
    stored.extend(job.data.tenant for job in jobs)


def add_pages(pages: Queue, *tenants: str) -> None:
    pages.add_bulk([{"name": "page", "data": {"tenant": tenant}} for tenant in tenants])


def work_all(worker: Worker) -> None:
    while worker.step():
        pass


def test_a_worker_lets_each_group_start_so_many_in_a_window(pages: Queue) -> None:
    ran: list[str] = []
    worker = Worker(
        pages, lambda job: ran.append(job.id), group="tenant", group_limit=(2, MINUTE_MS)
    )
    assert not worker.step()
    add_pages(pages, "a", "a", "a", "b", "a", "b")
    work_all(worker)
    assert sorted(ran) == ["1", "2", "4", "6"]
    assert pages.get_job_counts("waiting", "prioritized") == {"waiting": 0, "prioritized": 2}
    assert [job.id for job in pages.get_prioritized()] == ["3", "5"]
    pages.remove_group_limit()
    work_all(worker)
    assert ran[4:] == ["3", "5"]


def test_a_lined_up_job_is_removed_cleaned_and_promoted_like_any_other(pages: Queue) -> None:
    pages.set_group_limit("tenant", 1, MINUTE_MS)
    assert pages.get_group_limit() == GroupLimit(1, MINUTE_MS, "tenant")
    ran: list[str] = []
    worker = Worker(pages, lambda job: ran.append(job.id))
    add_pages(pages, *"aaaaa")
    work_all(worker)
    assert pages.remove("2")
    assert pages.clean(-1000, 1, "prioritized") == ["3"]
    job = pages.get_job("5")
    assert job is not None
    assert job.get_state() == "prioritized"
    pages.remove_group_limit()
    work_all(worker)
    assert ran == ["1", "4", "5"]


def test_a_drained_and_an_obliterated_queue_leave_no_lines(
    pages: Queue, redis_client: RedisConnection
) -> None:
    for empty in (pages.drain, lambda: pages.obliterate(force=True)):
        pages.set_group_limit("tenant", 1, MINUTE_MS)
        add_pages(pages, *"aab")
        assert Worker(pages, lambda job: None).step()
        assert redis_client.keys("*own:line:*")
        empty()
        assert not redis_client.keys("*own:line:*")
        assert not redis_client.keys("*own:groups")


def test_a_declared_queue_limits_each_group(redis_client: RedisConnection) -> None:
    configure(redis_client)
    stored.clear()
    worker = store.worker()
    assert not worker.step()
    store.add_many([Event(tenant=tenant) for tenant in "aaabb"])
    while worker.step():
        pass
    assert sorted(stored) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("options", [{"group": "tenant"}, {"group_limit": "5/s"}])
def test_half_a_limit_of_groups_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobOptions):
        queue("events", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"group": "tenant"},
        {"group_limit": (5, 1000)},
        {"group": "", "group_limit": (5, 1000)},
        {"group": 5, "group_limit": (5, 1000)},
        {"group": "tenant", "group_limit": (0, 1000)},
    ],
)
def test_a_worker_refuses_a_limit_of_groups_that_cannot_be(
    pages: Queue, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidJobOptions):
        Worker(pages, lambda job: None, **options)
