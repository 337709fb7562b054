"""A feed of tarpits and one that hangs beside healthy feeds: those are fetched all the same.

A server's real parts on real stores, with the limit of a run cut to seconds; each healthy feed is
on one of fifty hosts. ``HEALTHY_FEEDS=200`` is the measure, by hand.
"""

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.database import Database

from server.feeds import fetch_jobs
from server.process import ServerProcess
from shared.clock import SystemClock
from shared.queue import JobState, RedisConnection
from shared.settings import Settings
from shared.store import Feed, ImportState, Stores, open_database
from tests.loopback_publishers import LoopbackPublishers
from tests.processes import pause, wait_until
from tests.publisher import Answer, Publisher

HEALTHY = int(os.environ.get("HEALTHY_FEEDS", "10"))
HOSTS = 50
TARPITS = 20
# So long that several rounds of healthy feeds end meanwhile (40 of them a second), but not so long
# that all tarpits are asked.
RUN_LIMIT_S = min(max(6.0, HEALTHY / 12), TARPITS)
# Three show no more.
ATTEMPTS = 2
SLOW, HANGING = "slow", "hanging"
# Rather more than a round takes, so that there is some rest for whatever else runs here.
ROUND_EVERY_S = 0.8

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
    redis_client: RedisConnection,
    stores: Stores,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[ServerProcess]:
    monkeypatch.setattr(fetch_jobs, "FETCH_ATTEMPTS", ATTEMPTS)
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        fetch_allow_private=True,
        fetch_concurrency=8,
        fetch_timeout_s=1,
        worker_lock_ms=1000,
    )
    server = ServerProcess(settings, redis_client, stores, SystemClock(), run_limit_s=RUN_LIMIT_S)
    server.start()
    yield server
    # Before the server stops, so that no thread waits for an answer.
    publisher.released.set()
    server.stop()


class Town:
    """The healthy feeds, all fetched round after round, and those that hold up."""

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
        self._subscribe(SLOW, tarpits_at(publisher))
        self._subscribe(HANGING, [publishers.url(100, HANGING)])

    def start(self, *names: str) -> list[str]:
        """Begin an import of each of these feeds; return their ids."""
        return [found.import_id for found in self._starter.start_sources(names)]

    def fetch_all(self) -> float | None:
        """Import every healthy feed once; return how many seconds it took, None if one failed."""
        self._publishers.edition += 1
        started_s = time.monotonic()
        ids = self.start(*self.names)
        wait_until(lambda: self._are_fetched(ids), "all healthy feeds are fetched", within_s=60)
        took_s = time.monotonic() - started_s
        return None if ImportState.FAILED in self._states(ids) else took_s

    def fetch_all_until_failed(self, import_id: str) -> list[float]:
        """Return how long each round took that ended well before that import failed.

        On a busy machine a healthy feed's run may reach the limit, too: then its round is none.
        """
        rounds: list[float] = []
        ends_s = time.monotonic() + 20 * RUN_LIMIT_S
        while True:
            took_s = self.fetch_all()
            if is_failed(self._stores, import_id):
                return rounds
            if took_s is not None:
                rounds.append(took_s)
                pause(ROUND_EVERY_S - took_s)
            assert time.monotonic() < ends_s

    def _are_fetched(self, ids: list[str]) -> bool:
        return not self._states(ids) & {ImportState.QUEUED, ImportState.FETCHING}

    def _states(self, ids: list[str]) -> set[ImportState]:
        return {found.state for found in self._stores.imports.read_many(ids).values()}

    def _subscribe(self, source: str, urls: list[str]) -> None:
        feed = Feed(source=source, urls=urls, created_at=datetime.now(UTC))
        self._stores.feeds.insert(feed)


def tarpits_at(publisher: Publisher) -> list[str]:
    return [publisher.answer(f"/{number}", Answer(hang=True)) for number in range(TARPITS)]


def let_hang(server: ServerProcess, released: threading.Event, patch: pytest.MonkeyPatch) -> None:
    """Let a feed's runs hang where no deadline reaches them, as in a call of the system."""
    fetcher = server.base.web.fetcher
    fetch = fetcher.fetch

    def hang(url: str, **more: Any) -> Any:
        if HANGING in url:
            released.wait(100)
        return fetch(url, **more)

    patch.setattr(fetcher, "fetch", hang)


def test_a_feed_of_tarpits_and_one_that_hangs_hold_up_no_healthy_feed_and_end(
    server: ServerProcess,
    stores: Stores,
    publishers: LoopbackPublishers,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    town = Town(server, stores, publishers, publisher)
    # The first imports start parsers and fill caches.
    wait_until(town.fetch_all, "all healthy feeds are read")
    alone_s = town.fetch_all()
    let_hang(server, publisher.released, monkeypatch)
    slow, hanging = town.start(SLOW, HANGING)
    wait_until(lambda: publisher.count() > 0, "the slow feed is being fetched")

    # Were they held up, no round would end before the slow feed's run.
    beside = town.fetch_all_until_failed(slow)
    assert beside
    asked = publisher.count()
    beside_hanging = town.fetch_all_until_failed(hanging)
    assert beside_hanging
    beside += beside_hanging
    print(
        f"\n{HEALTHY} healthy feeds: {alone_s or 0:.1f} s alone, at most {max(beside):.1f} s in "
        f"{len(beside)} rounds beside a slow one and one that hangs"
    )
    check_slow_feed_failed(server, stores, slow)
    # Not begun anew: neither by the queue nor by the auditor.
    assert publisher.count() == asked < TARPITS
    check_hanging_feed_failed(server, stores, hanging, publisher.released)


def test_feeds_that_are_due_all_the_time_are_fetched_beside_a_slow_one(
    server: ServerProcess, stores: Stores, publishers: LoopbackPublishers, publisher: Publisher
) -> None:
    schedule(server, stores, {SLOW: tarpits_at(publisher)})
    wait_until(lambda: publisher.count() > 0, "the slow feed is being fetched")
    urls = {f"due-{number}": [publishers.url(2 + number, f"due-{number}")] for number in range(7)}
    schedule(server, stores, urls)
    wait_until(lambda: failures_of(stores, SLOW) > 0, "the slow feed has failed")
    times = publishers.asked.total()
    print(f"\n{len(urls)} feeds were asked {times} times while the slow one was fetched")
    assert len(publishers.asked) == len(urls)
    wait_until(lambda: publishers.asked.total() >= times + len(urls), "they are asked again")


def schedule(server: ServerProcess, stores: Stores, feeds: dict[str, list[str]]) -> None:
    """Add feeds that are due now, and each second."""
    now = datetime.now(UTC)
    for name, urls in feeds.items():
        stores.feeds.insert(
            Feed(source=name, urls=urls, created_at=now, interval_s=1, next_fetch_at=now)
        )
    server.base.changes.set()


def failures_of(stores: Stores, source: str) -> int:
    feed = stores.feeds.get(source)
    assert feed is not None
    return feed.consecutive_failures


def is_failed(stores: Stores, import_id: str) -> bool:
    found = stores.imports.get(import_id)
    assert found is not None
    return found.state is ImportState.FAILED


def runs_an_import(stores: Stores, source: str) -> bool:
    feed = stores.feeds.get(source)
    assert feed is not None
    return feed.running_import is not None


def check_slow_feed_failed(server: ServerProcess, stores: Stores, import_id: str) -> None:
    ended = stores.imports.get(import_id)
    assert ended is not None
    assert ended.error_kind == "timeout"
    # The feed's document is another one, written after the import's.
    wait_until(lambda: not runs_an_import(stores, SLOW), "the feed is free again")
    errors = [fetch["error"] for fetch in ended.fetches]
    assert len(errors) == TARPITS
    assert errors[0].startswith("timeout: the request took too long")
    assert errors[-1].startswith("timeout: not asked")
    view = server.services.fetch_queue.get_job(f"feed#{SLOW}")
    assert view is not None
    # Completed: a busy machine recorded the failure so late that the run was given up, and the
    # next one found nothing to do.
    ends = {(JobState.FAILED, 1), (JobState.COMPLETED, 2)}
    assert (view.state, view.attempts_made) in ends
    assert view.stalled_count == 0


def check_hanging_feed_failed(
    server: ServerProcess, stores: Stores, import_id: str, released: threading.Event
) -> None:
    ended = stores.imports.get(import_id)
    assert ended is not None
    assert ended.error == f"timeout: the run took longer than {RUN_LIMIT_S:g} s and was given up"
    view = server.services.fetch_queue.get_job(f"feed#{HANGING}")
    assert view is not None
    assert (view.attempts_made, view.stalled_count) == (ATTEMPTS, 0)
    # Its threads hang; their places and those at their host are free.
    wait_until(lambda: server._fetch_worker.running_count == 0, "no place is taken")
    wait_until(lambda: server._fetch_worker.not_ended_count == ATTEMPTS, "its threads are left")
    # What wakes up at last can do nothing any more.
    released.set()
    wait_until(lambda: server._fetch_worker.not_ended_count == 0, "all threads ended")
    assert stores.imports.get(import_id) == ended
