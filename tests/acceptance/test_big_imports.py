"""Thousands of items by HTTP, from the publisher to the documents; a deep backlog."""

import os

import pytest

from shared.queue import NewJob
from tests.feeds.make_feed import make_feed
from tests.processes import QUEUE, Deploy, counts_of, wait_until
from tests.publisher import Publisher

# Jobs that wait; a million is the measure, and takes minutes to add.
BACKLOG = int(os.environ.get("BACKLOG_JOBS", "50000"))
DRAINED = 2_000
MAX_WORKER_MIB = 150


# The first is just enough for the queue of heavy imports, if that begins above 2,000.
@pytest.mark.parametrize("items", [2_200, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_of_items_arrive_and_every_look_at_them_adds_up(
    deploy: Deploy, publisher: Publisher, items: int
) -> None:
    url = publisher.serve("/feed.xml", make_feed(items))
    deployed = deploy(HEAVY_ITEMS="2000")
    deployed.launch("worker")
    deployed.start_server()

    ended = deployed.wait_until_closed(deployed.start_import(url=url, source="quay"))
    assert (ended["state"], ended["counts"]) == ("completed", counts_of(fetched=items, new=items))
    stored = deployed.documents()
    assert (len(stored), len(set(stored))) == (items, items)
    assert "quay#item-1" in stored

    again = deployed.wait_until_closed(deployed.start_import(url=url))
    assert (again["http_status"], again["not_modified"]) == (304, True)
    assert (again["source"], again["counts"]) == ("quay", counts_of())
    assert publisher.count("/feed.xml") == 2
    assert deployed.leftovers() == []


def test_worker_stays_small_before_a_deep_backlog(deploy: Deploy) -> None:
    deployed = deploy()
    queue = deployed.queue(QUEUE)
    for start in range(0, BACKLOG, 1000):
        queue.add_many([waiting_job(number) for number in range(start, start + 1000)])
    worker = deployed.start_worker()
    seen_mib: list[float] = []

    def has_drained_some() -> bool:
        seen_mib.append(worker.resident_mib())
        return deployed.settled_jobs() >= DRAINED

    wait_until(has_drained_some, "a part of the backlog is gone", within_s=90, every_s=0.1)
    print(f"largest resident size: {max(seen_mib):.0f} MiB")
    assert max(seen_mib) < MAX_WORKER_MIB
    code, took_s = worker.terminate()
    assert (code, took_s < 5) == (0, True)


def waiting_job(number: int) -> NewJob:
    data = {"source": "deep", "guid": str(number), "title": f"No {number}", "summary": "x" * 600}
    return NewJob(f"deep#{number}", "item", {**data, "revision": 1}, revision=1)
