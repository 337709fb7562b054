"""Many feeds on fifty hosts, all due at once: each is fetched once, and no host is overrun."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from shared.store import Feed, Stores, open_database
from tests.crowd import Crowd, items_of
from tests.processes import Deploy, Deployment, Role, wait_until

HOSTS = 50
# Two thousand are the measure, and take SecantusDB minutes: it has about 50 ms of work with each.
FEEDS = int(os.environ.get("MANY_FEEDS", "500"))
LATENCY_S = 0.01
PER_HOST, CONCURRENCY = 2, 16
# Of the server while it works them all off; it has about 75 MiB before it has fetched anything.
MAX_SERVER_MIB = 150

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + FEEDS)]


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with Crowd(LATENCY_S) as crowd:
        yield crowd


def names() -> list[str]:
    return [f"feed-{number:04}" for number in range(FEEDS)]


def subscribe_all(deployed: Deployment, crowd: Crowd) -> None:
    """Put feeds into the record, all due; feeds of one host stand together, which is the worst."""
    database = open_database(deployed.mongodb_url)
    stores = Stores.of(database)
    stores.ensure_indexes()
    now = datetime.now(UTC)
    for number, name in enumerate(names()):
        host_number = 2 + number * HOSTS // FEEDS
        stores.feeds.insert(
            Feed(
                source=name,
                urls=[crowd.url(host_number, name)],
                created_at=now,
                interval_s=86_400,
                next_fetch_at=now - timedelta(seconds=FEEDS - number),
            )
        )
    database.close()


class Watch:
    """How far the imports of one round are, and how large the server was at most."""

    def __init__(self, deployed: Deployment, server: Role, trigger: str) -> None:
        self._imports = deployed.mongo.get_default_database()["imports"]
        self._server = server
        self._trigger = trigger
        self._started_s = time.monotonic()
        self.largest_mib = server.resident_mib()
        self.took_s = 0.0

    def wait_until_all_are_closed(self) -> None:
        wait_until(
            self._are_all_closed, "all imports are closed", within_s=20 + FEEDS / 4, every_s=0.5
        )
        self.took_s = time.monotonic() - self._started_s

    def states(self) -> Counter[str]:
        """Return how many imports of this trigger are in each state."""
        return Counter(
            found["state"] for found in self._imports.find({"trigger": self._trigger}, {"state": 1})
        )

    def _are_all_closed(self) -> bool:
        self.largest_mib = max(self.largest_mib, self._server.resident_mib())
        closed = {"trigger": self._trigger, "open": False}
        return self._imports.count_documents(closed) == FEEDS


def test_many_feeds_are_each_fetched_once_and_no_host_is_overrun(
    deploy: Deploy, crowd: Crowd
) -> None:
    deployed = deploy(FETCH_PER_HOST=str(PER_HOST), FETCH_CONCURRENCY=str(CONCURRENCY))
    subscribe_all(deployed, crowd)
    deployed.start_worker()
    server = deployed.start_server()

    scheduled = Watch(deployed, server, "schedule")
    scheduled.wait_until_all_are_closed()
    report("by schedule", scheduled, crowd)
    assert scheduled.states() == {"completed": FEEDS}
    check_all_were_asked(crowd, times=1)
    assert len(deployed.documents()) == sum(map(items_of, names()))

    crowd.edition = 2
    begun_s = time.monotonic()
    answer = deployed.api.post("/imports/start")
    answered_after_s = time.monotonic() - begun_s
    asked = Watch(deployed, server, "api")
    asked.wait_until_all_are_closed()
    report("by one call", asked, crowd)
    print(f"the call was answered after {answered_after_s:.1f} s")
    assert (answer.status_code, len(answer.json()["imports"])) == (202, FEEDS)
    assert asked.states() == {"completed": FEEDS}
    check_all_were_asked(crowd, times=2)
    revisions = {revision for _, revision, _ in deployed.versions().values()}
    assert revisions == {2}
    assert deployed.leftovers() == []
    assert max(scheduled.largest_mib, asked.largest_mib) < MAX_SERVER_MIB


def check_all_were_asked(crowd: Crowd, *, times: int) -> None:
    assert Counter(crowd.asked.values()) == {times: FEEDS}
    assert crowd.not_modified == 0
    assert max(crowd.most_at.values()) <= PER_HOST
    assert crowd.most <= CONCURRENCY
    # No empty promise: places were used.
    assert max(crowd.most_at.values()) == PER_HOST
    assert crowd.most > PER_HOST


def report(way: str, watch: Watch, crowd: Crowd) -> None:
    a_second, at_host = FEEDS / watch.took_s, max(crowd.most_at.values())
    print(f"\n{way}: {FEEDS} feeds in {watch.took_s:.1f} s, {a_second:.0f} a second")
    print(f"at once {at_host} of one host, {crowd.most} in all; server {watch.largest_mib:.0f} MiB")
