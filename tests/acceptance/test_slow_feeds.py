"""One feed of tarpits beside healthy feeds: those are fetched as if it weren't there.

A server's real parts on real stores, with the limits of a run cut to a fiftieth; each healthy feed
is on one of fifty hosts.
"""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.database import Database

from server.process import ServerProcess
from shared.clock import SystemClock
from shared.queue import JobState, RedisConnection
from shared.settings import Settings
from shared.store import Feed, ImportState, Stores, open_database
from tests.loopback_publishers import LoopbackPublishers
from tests.processes import pause, wait_until
from tests.publisher import Answer, Publisher

# Two hundred are the measure.
HEALTHY = int(os.environ.get("HEALTHY_FEEDS", "40"))
HOSTS = 50
TARPITS = 20
CUT_TO = 1 / 50
RUN_LIMIT_S = 300 * CUT_TO
SLOW = "slow"
GAP_WATCH_S = 2 * RUN_LIMIT_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + HEALTHY)]


@pytest.fixture
def stores(mongodb_url: str, mongo_database: Database[dict[str, Any]]) -> Iterator[Stores]:
    database = open_database(f"{mongodb_url}/{mongo_database.name}")
    yield Stores.of(database)
    database.close()


@pytest.fixture
def publishers() -> Iterator[LoopbackPublishers]:
    with LoopbackPublishers(latency_s=0.05) as publishers:
        yield publishers


@pytest.fixture
def server(
    redis_client: RedisConnection, stores: Stores, publisher: Publisher
) -> Iterator[ServerProcess]:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        fetch_allow_private=True,
        fetch_timeout_s=30 * CUT_TO,
        worker_lock_ms=1000,
    )
    server = ServerProcess(settings, redis_client, stores, SystemClock(), run_limit_s=RUN_LIMIT_S)
    server.start()
    yield server
    # Before the server stops, so that no thread waits for an answer.
    publisher.released.set()
    server.stop()


class Town:
    """The healthy feeds, all fetched round after round, and the slow one."""

    def __init__(
        self,
        server: ServerProcess,
        stores: Stores,
        publishers: LoopbackPublishers,
        publisher: Publisher,
    ) -> None:
        self._starter = server.services.starter
        self._stores = stores
        self._publishers = publishers
        self.names = [f"healthy-{number:03}" for number in range(HEALTHY)]
        for number, name in enumerate(self.names):
            self._subscribe(name, [publishers.url(2 + number % HOSTS, name)])
        tarpits = [publisher.answer(f"/{number}", Answer(hang=True)) for number in range(TARPITS)]
        self._subscribe(SLOW, tarpits)

    def fetch_all(self) -> float:
        """Import every healthy feed once; return how many seconds it took."""
        self._publishers.edition += 1
        started_s = time.monotonic()
        ids = [found.import_id for found in self._starter.start_sources(self.names)]
        wait_until(lambda: self._are_read(ids), "all healthy feeds are read", within_s=60)
        return time.monotonic() - started_s

    def _are_read(self, ids: list[str]) -> bool:
        states = {found.state for found in self._stores.imports.read_many(ids).values()}
        assert ImportState.FAILED not in states
        return not states & {ImportState.QUEUED, ImportState.FETCHING}

    def _subscribe(self, source: str, urls: list[str]) -> None:
        feed = Feed(source=source, urls=urls, created_at=datetime.now(UTC))
        self._stores.feeds.insert(feed)


def test_a_feed_of_tarpits_holds_up_no_healthy_feed_and_ends(
    server: ServerProcess, stores: Stores, publishers: LoopbackPublishers, publisher: Publisher
) -> None:
    town = Town(server, stores, publishers, publisher)
    town.fetch_all()
    alone_s = max(town.fetch_all() for _ in range(2))
    [slow] = server.services.starter.start_sources([SLOW])
    wait_until(lambda: publisher.count() > 0, "the slow feed is being fetched")

    began_s = time.monotonic()
    beside_s = []
    while not is_failed(stores, slow.import_id):
        assert time.monotonic() - began_s < 10 * RUN_LIMIT_S
        beside_s.append(town.fetch_all())
    ended_s = time.monotonic() - began_s
    print(
        f"\n{HEALTHY} healthy feeds: {alone_s:.1f} s alone, at most {max(beside_s):.1f} s in "
        f"{len(beside_s)} rounds beside the slow one, which ended after {ended_s:.1f} s"
    )
    assert max(beside_s) < 2 * alone_s + 1
    assert ended_s < RUN_LIMIT_S + max(beside_s)
    check_slow_feed_failed(server, stores, slow.import_id, publisher)


def test_feeds_that_are_due_all_the_time_are_fetched_without_a_gap(
    server: ServerProcess, stores: Stores, publishers: LoopbackPublishers, publisher: Publisher
) -> None:
    now = datetime.now(UTC)
    tarpits = [publisher.answer(f"/{number}", Answer(hang=True)) for number in range(TARPITS)]
    urls = {f"due-{number}": [publishers.url(2 + number, f"due-{number}")] for number in range(10)}
    for name, where in ({SLOW: tarpits} | urls).items():
        stores.feeds.insert(
            Feed(source=name, urls=where, created_at=now, interval_s=1, next_fetch_at=now)
        )
    wait_until(lambda: publisher.count() > 0, "the slow feed is being fetched")
    longest_s = longest_gap_s(publishers, for_s=GAP_WATCH_S)
    print(f"\nno feed was fetched for {longest_s:.1f} s at most, of {GAP_WATCH_S:.0f} s")
    assert longest_s < 4
    feed = stores.feeds.get(SLOW)
    assert feed is not None
    assert feed.consecutive_failures > 0


def longest_gap_s(publishers: LoopbackPublishers, *, for_s: float) -> float:
    """Watch what the healthy publishers are asked; return the longest time without a request."""
    ends_s = time.monotonic() + for_s
    seen, seen_s, longest_s = publishers.asked.total(), time.monotonic(), 0.0
    while time.monotonic() < ends_s:
        pause(0.05)
        longest_s = max(longest_s, time.monotonic() - seen_s)
        if publishers.asked.total() > seen:
            seen, seen_s = publishers.asked.total(), time.monotonic()
    return longest_s


def is_failed(stores: Stores, import_id: str) -> bool:
    found = stores.imports.get(import_id)
    assert found is not None
    return found.state is ImportState.FAILED


def runs_an_import(stores: Stores, source: str) -> bool:
    feed = stores.feeds.get(source)
    assert feed is not None
    return feed.running_import is not None


def check_slow_feed_failed(
    server: ServerProcess, stores: Stores, import_id: str, publisher: Publisher
) -> None:
    ended = stores.imports.get(import_id)
    assert ended is not None
    assert ended.error_kind == "timeout"
    # The feed's document is another one, written after the import's.
    wait_until(lambda: not runs_an_import(stores, SLOW), "the feed is free again")
    errors = [fetch["error"] for fetch in ended.fetches]
    assert len(errors) == TARPITS
    assert errors[0].startswith("timeout: the request took too long")
    assert errors[-1].startswith("timeout: not asked")
    # Not begun anew: neither by the queue nor by the auditor.
    asked = publisher.count()
    pause(2)
    assert publisher.count() == asked < TARPITS
    view = server.services.fetch_queue.get_job(f"feed#{SLOW}")
    assert view is not None
    # Completed: a busy machine recorded the failure so late that the run was given up, and the
    # next one found nothing to do.
    ends = {(JobState.FAILED, 1), (JobState.COMPLETED, 2)}
    assert (view.state, view.attempts_made) in ends
    assert view.stalled_count == 0


def test_a_run_that_hangs_for_ever_takes_no_place_and_no_host_for_ever(
    server: ServerProcess,
    stores: Stores,
    publishers: LoopbackPublishers,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It hangs where no deadline reaches it, as in a call of the system."""
    town = Town(server, stores, publishers, publisher)
    town.fetch_all()
    fetcher = server.base.web.fetcher
    fetch = fetcher.fetch

    def hang(url: str, **more: Any) -> Any:
        if url.endswith("/0"):
            publisher.released.wait(100)
        return fetch(url, **more)

    monkeypatch.setattr(fetcher, "fetch", hang)
    [slow] = server.services.starter.start_sources([SLOW])
    rounds = [town.fetch_all()]
    while not is_failed(stores, slow.import_id):
        rounds.append(town.fetch_all())
        assert sum(rounds) < 20 * RUN_LIMIT_S
    ended = stores.imports.get(slow.import_id)
    assert ended is not None
    assert ended.error == f"timeout: the run took longer than {RUN_LIMIT_S:g} s and was given up"
    view = server.services.fetch_queue.get_job(f"feed#{SLOW}")
    assert view is not None
    assert (view.attempts_made, view.stalled_count) == (3, 0)
    # Three threads hang; their places and those at their host are free.
    wait_until(lambda: server._fetch_worker.running_count == 0, "no place is taken")
    assert server._fetch_worker.not_ended_count == 3
    # What wakes up at last can do nothing any more.
    publisher.released.set()
    wait_until(lambda: server._fetch_worker.not_ended_count == 0, "all threads ended")
    assert stores.imports.get(slow.import_id) == ended
    print(f"\n{HEALTHY} healthy feeds: at most {max(rounds):.1f} s beside three hanging runs")
