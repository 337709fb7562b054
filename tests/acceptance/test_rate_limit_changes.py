"""The rate limit is changed by the API while real workers run, and outlives every restart."""

import pytest

from tests.feeds.make_feed import make_feed
from tests.processes import Deploy, Deployment, wait_until
from tests.publisher import Publisher

HOUR_MS = "3600000"
ITEMS = 60
PATH = "/settings/rate-limit"


def change(deployed: Deployment, max_items: int) -> None:
    answer = deployed.api.put(PATH, json={"max": max_items, "duration_ms": int(HOUR_MS)})
    assert answer.status_code == 200, answer.text


def wait_for_stored(deployed: Deployment, count: int) -> None:
    wait_until(lambda: len(deployed.documents()) == count, f"{count} items are stored", within_s=45)


@pytest.mark.timeout(120)
def test_a_change_holds_at_once_over_all_workers_and_through_restarts(
    deploy: Deploy, publisher: Publisher
) -> None:
    deployed = deploy(
        WORKER_RATE_LIMIT_MAX="2", WORKER_RATE_LIMIT_DURATION_MS=HOUR_MS, WORKER_FLUSH_MS="50"
    )
    server = deployed.start_server()
    # One of them has an environment of its own.
    workers = [
        deployed.start_worker(),
        deployed.start_worker(WORKER_RATE_LIMIT_MAX="50", WORKER_RATE_LIMIT_DURATION_MS="100"),
    ]
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    deployed.start_import(url=url, source="news")
    wait_for_stored(deployed, 2)
    change(deployed, 5)
    wait_for_stored(deployed, 7)

    # Killed, and started again with another environment; Redis forgets all of it.
    for role in (server, *workers):
        role.kill()
    deployed.redis.flushall()
    deployed.start_server(WORKER_RATE_LIMIT_MAX="1000")
    deployed.start_worker(WORKER_RATE_LIMIT_MAX="0")
    assert deployed.api.get(PATH).json()["max"] == 5
    wait_for_stored(deployed, 12)
    assert deployed.queue("job_import_queue").counts()["waiting"] == ITEMS - 12

    change(deployed, 0)
    wait_for_stored(deployed, ITEMS)
    changes = deployed.api.get("/settings/changes").json()["items"]
    assert [(each["before"]["max"], each["after"]["max"]) for each in changes] == [(5, 0), (2, 5)]
