"""A small import is hardly slower while a feed's past is read."""

import time

import pytest

from shared.queue import JobState
from tests.feeds.make_feed import make_feed
from tests.interval_feeds import IntervalFeed
from tests.processes import Deploy, Deployment, wait_until
from tests.publisher import Publisher

ROUNDS = 4
ITEMS = 50


@pytest.mark.timeout(240)
def test_a_light_import_takes_hardly_longer_beside_a_backfill(
    deploy: Deploy, publisher: Publisher
) -> None:
    # The limits that users have by default, those of the worker too.
    deployed = deploy(WORKER_RATE_LIMIT_MAX="100")
    deployed.start_server()
    deployed.start_worker()
    feed = IntervalFeed.add(deployed, publisher, hours=200, items=100)
    idle, beside = [_import_light(deployed, publisher, "before")], []
    feed.start_backfill(deployed)
    feed.wait_for_done(deployed, 1, within_s=60)
    for number in range(ROUNDS):
        wait_until(lambda: _jobs_left(deployed) > 0, "the back-fill goes on")
        beside.append(_import_light(deployed, publisher, f"beside{number}"))
    feed.change_backfill(deployed, "pause")
    wait_until(lambda: _is_idle(deployed, feed), "what was in flight has ended")
    # Before and behind, so that both see the same machine.
    idle.append(_import_light(deployed, publisher, "behind"))
    assert feed.see_backfill(deployed)["state"] == "paused"

    print(f"{ITEMS} items: {idle} s idle, {beside} s beside a back-fill")
    # Had they to wait for the jobs of the past, each would take longer than the one before it: the
    # third one five seconds and more.
    assert min(beside[2:]) < 2 * max(idle) + 1.5


def _jobs_left(deployed: Deployment) -> int:
    counts = deployed.waiting_and_active()
    return sum(counts[state] for state in (JobState.WAITING, JobState.ACTIVE))


def _is_idle(deployed: Deployment, feed: IntervalFeed) -> bool:
    in_flight = feed.see_backfill(deployed)["intervals"]["in_flight"]
    return in_flight == 0 and _jobs_left(deployed) == 0


def _import_light(deployed: Deployment, publisher: Publisher, source: str) -> float:
    """Import a small feed; return how many seconds that took."""
    url = publisher.serve(f"/{source}.xml", make_feed(ITEMS))
    started_s = time.monotonic()
    import_id = deployed.start_import(url=url, source=source)
    ended = deployed.wait_until_closed(import_id)
    assert ended["counts"]["new"] == ITEMS
    return time.monotonic() - started_s
