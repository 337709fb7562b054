"""Many feeds on many hosts, all due at once: each is fetched once, and no host is overrun."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from shared.queue import JobState
from shared.store import Feed, Stores, open_database
from tests.loopback_publishers import LoopbackPublishers, items_of
from tests.processes import Deploy, Deployment, Role, wait_until

HOSTS = 5
# Two thousand are the measure, and take minutes: SecantusDB has about 60 ms of work with each.
FEEDS = int(os.environ.get("MANY_FEEDS", "20"))
LATENCY_S = 0.15
PER_HOST, CONCURRENCY = 2, 16
# Feeds of one host beside one of another.
BIG = 20
# Of the server while it works them all off; it has about 75 MiB before it has fetched anything.
MAX_SERVER_MIB = 150

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + FEEDS)]


@pytest.fixture
def publishers() -> Iterator[LoopbackPublishers]:
    with LoopbackPublishers(LATENCY_S) as publishers:
        yield publishers


@pytest.fixture(scope="module")
def town() -> Iterator[LoopbackPublishers]:
    """The publishers of the feeds that are in the record when the server starts."""
    with LoopbackPublishers(LATENCY_S) as town:
        yield town


@pytest.fixture(scope="module")
def deployed(module_deploy: Deploy, town: LoopbackPublishers) -> Deployment:
    deployed = module_deploy(FETCH_PER_HOST=str(PER_HOST), FETCH_CONCURRENCY=str(CONCURRENCY))
    subscribe_all(deployed, town)
    deployed.launch("worker")
    deployed.start_server()
    return deployed


def names() -> list[str]:
    return [f"feed-{number:04}" for number in range(FEEDS)]


def subscribe_all(deployed: Deployment, publishers: LoopbackPublishers) -> None:
    """Let each host have as many feeds; those of one host stand together, which is the worst."""
    hosts = {name: 2 + number * HOSTS // FEEDS for number, name in enumerate(names())}
    subscribe(deployed, {name: publishers.url(host, name) for name, host in hosts.items()})


def subscribe(deployed: Deployment, urls: Mapping[str, str], *, is_scheduled: bool = True) -> None:
    """Put feeds into the record, all due if they are scheduled."""
    database = open_database(deployed.mongodb_url)
    stores = Stores.of(database)
    stores.ensure_indexes()
    now = datetime.now(UTC)
    for number, (name, url) in enumerate(urls.items()):
        due_at = now - timedelta(seconds=len(urls) - number)
        schedule = {"interval_s": 86_400, "next_fetch_at": due_at} if is_scheduled else {}
        stores.feeds.insert(Feed(source=name, urls=[url], created_at=now, **schedule))
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
            self._are_all_closed, "all imports are closed", within_s=100 + FEEDS / 3, every_s=0.2
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
    deployed: Deployment, town: LoopbackPublishers
) -> None:
    server = deployed.roles[-1]
    scheduled = Watch(deployed, server, "schedule")
    scheduled.wait_until_all_are_closed()
    report("by schedule", scheduled, town)
    assert scheduled.states() == {"completed": FEEDS}
    check_all_were_asked(town, times=1)
    assert len(deployed.documents()) == sum(map(items_of, names()))

    town.edition = 2
    begun_s = time.monotonic()
    answer = deployed.api.post("/imports/start")
    answered_after_s = time.monotonic() - begun_s
    asked = Watch(deployed, server, "api")
    asked.wait_until_all_are_closed()
    report("by one call", asked, town)
    print(f"the call was answered after {answered_after_s:.1f} s")
    assert (answer.status_code, len(answer.json()["imports"])) == (202, FEEDS)
    assert asked.states() == {"completed": FEEDS}
    check_all_were_asked(town, times=2)
    revisions = {revision for _, revision, _ in deployed.versions().values()}
    assert revisions == {2}
    assert deployed.leftovers() == []
    assert max(scheduled.largest_mib, asked.largest_mib) < MAX_SERVER_MIB


def test_many_feeds_of_one_host_take_their_turns_and_keep_no_other_waiting(
    deployed: Deployment, publishers: LoopbackPublishers
) -> None:
    big = {f"big-{number:02}": publishers.url(2, f"big-{number:02}") for number in range(BIG)}
    sources = [*big, "small"]
    subscribe(deployed, {**big, "small": publishers.url(3, "small")}, is_scheduled=False)
    started = deployed.api.post("/imports/start", json={"sources": sources}).json()["imports"]
    assert len(started) == BIG + 1

    imports = deployed.mongo.get_default_database()["imports"]
    ended = {"source": {"$in": sources}, "state": "completed"}
    wait_until(
        lambda: imports.count_documents(ended) == BIG + 1,
        "all ended",
        within_s=100,
        every_s=0.2,
    )
    assert Counter(publishers.asked.values()) == {1: BIG + 1}
    assert publishers.most_at["127.0.0.2"] == PER_HOST
    asked = [path for _, path in publishers.asked]
    assert asked.index("/small.xml") < BIG / 2
    views = deployed.queue("feed_fetch_queue").list_jobs(JobState.COMPLETED, 0, BIG + 1)
    met = [view.attempts_started for view in views]
    print(f"each job was met {sum(met) / len(met):.1f} times, {max(met)} at most")
    assert {view.attempts_made for view in views} == {1}
    assert sum(met) / len(met) < 6


def check_all_were_asked(publishers: LoopbackPublishers, *, times: int) -> None:
    assert Counter(publishers.asked.values()) == {times: FEEDS}
    assert publishers.not_modified == 0
    assert max(publishers.most_at.values()) <= PER_HOST
    assert publishers.most <= CONCURRENCY
    # Hosts take turns here, so one has hardly ever two at once; another test sees to that.
    assert publishers.most > PER_HOST


def report(way: str, watch: Watch, publishers: LoopbackPublishers) -> None:
    a_second, at_host = FEEDS / watch.took_s, max(publishers.most_at.values())
    print(f"\n{way}: {FEEDS} feeds in {watch.took_s:.1f} s, {a_second:.0f} a second")
    mib = f"{watch.largest_mib:.0f} MiB"
    print(f"at once {at_host} of one host, {publishers.most} in all; server {mib}")
