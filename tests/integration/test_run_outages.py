"""A store is away during a run of an import: the run comes again, and uses no attempt."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from server.fetching.answers import FetchedFeed
from shared.errors import QueueFull, QueueUnavailable, StoreUnavailable
from shared.queue import JobState, JobView
from shared.store import Import, ImportState
from tests.harness import SOURCE, Harness

RUN_LIMIT_S = 300


class Outage:
    """Lets calls of a store's method raise ``error``: the next ``left``, or all until it ends."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        target: object,
        method: str,
        error: Exception,
        *,
        left: int = -1,
    ) -> None:
        self.left = left
        self.beside: Callable[[], None] = lambda: None
        self._error = error
        self._serve = getattr(target, method)
        monkeypatch.setattr(target, method, self._call)

    def end(self) -> None:
        self.left = 0

    def _call(self, *args: Any, **options: Any) -> Any:
        if not self.left:
            return self._serve(*args, **options)
        self.left -= 1
        self.beside()
        raise self._error


def away_before_the_request(harness: Harness, patch: pytest.MonkeyPatch, **how: Any) -> Outage:
    imports = harness.server.stores.imports
    return Outage(patch, imports, "mark_fetching", StoreUnavailable("no primary"), **how)


def away_at_the_journal(harness: Harness, patch: pytest.MonkeyPatch, **how: Any) -> Outage:
    journal = harness.server.stores.journal
    return Outage(patch, journal, "insert_chunk", StoreUnavailable("not confirmed"), **how)


def away_at_the_feed_step(harness: Harness, patch: pytest.MonkeyPatch, **how: Any) -> Outage:
    feeds = harness.server.stores.feeds
    return Outage(patch, feeds, "finish", StoreUnavailable("timed out"), **how)


def redis_lost(harness: Harness, patch: pytest.MonkeyPatch, **how: Any) -> Outage:
    enqueuer = harness.server.process.importer._enqueuer
    return Outage(patch, enqueuer, "enqueue", QueueUnavailable("lost"), **how)


def redis_full(harness: Harness, patch: pytest.MonkeyPatch, **how: Any) -> Outage:
    enqueuer = harness.server.process.importer._enqueuer
    return Outage(patch, enqueuer, "enqueue", QueueFull("OOM"), **how)


def job_of(harness: Harness) -> JobView:
    view = harness.fetch_queue.get_job(f"feed#{SOURCE}")
    assert view is not None
    return view


def read(harness: Harness, import_id: str) -> Import:
    found = harness.stores.imports.get(import_id)
    assert found is not None
    return found


def fetch_for(harness: Harness, seconds: int) -> int:
    """Let a fetch thread look twice a second; return how often it ran a job."""
    runs = 0
    for _ in range(2 * seconds):
        harness.clock.advance(seconds=0.5)
        harness.reclaim()
        while harness.server.fetch():
            runs += 1
    return runs


@pytest.mark.parametrize("outages", [0, 1, 2, 5])
def test_a_publisher_that_fails_in_passing_is_asked_again_after_outages_too(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, outages: int
) -> None:
    harness.subscribe({"1": "A"})
    started = harness.server.start(SOURCE)
    harness.publisher.refuse(SOURCE, "http_5xx", retryable=True)
    fetch_at_once = harness.publisher.fetch

    def fail_once(*args: Any, **options: Any) -> FetchedFeed:
        if harness.publisher.requests:
            harness.publisher.admit(SOURCE)
        return fetch_at_once(*args, **options)

    monkeypatch.setattr(harness.publisher, "fetch", fail_once)
    away_before_the_request(harness, monkeypatch, left=outages)
    fetch_for(harness, 60)
    assert harness.publisher.requests == 2
    assert read(harness, started.import_id).state is ImportState.IMPORTING
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert (feed.consecutive_failures, feed.error) == (0, None)
    harness.come_to_rest()


@pytest.mark.parametrize(
    "begin",
    [
        away_before_the_request,
        away_at_the_journal,
        away_at_the_feed_step,
        redis_lost,
        redis_full,
    ],
)
def test_a_run_that_an_outage_ends_comes_again_and_holds_nothing_meanwhile(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, begin: Callable[..., Outage]
) -> None:
    harness.subscribe({"1": "A"})
    started = harness.server.start(SOURCE)
    begin(harness, monkeypatch, left=4)
    assert harness.server.fetch()
    job = job_of(harness)
    assert (job.state, job.attempts_made, job.failed_reason) == (JobState.DELAYED, 0, None)
    with ExitStack() as places:
        for _ in range(harness.settings.fetch_per_host):
            places.enter_context(
                harness.server.process.importer._host_slots.hold([f"{SOURCE}.example"])
            )
    fetch_for(harness, 60)
    assert job_of(harness).state is JobState.COMPLETED
    harness.come_to_rest()
    imported = read(harness, started.import_id)
    assert (imported.state, imported.counts["new"]) == (ImportState.COMPLETED, 1)


def test_during_a_long_outage_runs_grow_rare_and_soon_after_it_the_feed_is_imported(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.subscribe({"1": "A"})
    started = harness.server.start(SOURCE)
    outage = away_at_the_journal(harness, monkeypatch)
    runs = fetch_for(harness, 600)
    assert 10 < runs < 30
    assert harness.publisher.requests == runs
    assert (job_of(harness).state, job_of(harness).attempts_made) == (JobState.DELAYED, 0)
    outage.end()
    fetch_for(harness, 64)
    assert read(harness, started.import_id).state is ImportState.IMPORTING
    harness.come_to_rest()


def test_a_run_past_its_limit_is_charged_though_it_is_an_outage_that_holds_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.subscribe({"1": "A"})
    harness.server.start(SOURCE)
    outage = away_before_the_request(harness, monkeypatch, left=1)

    def give_up() -> None:
        harness.clock.advance(seconds=RUN_LIMIT_S + 1)
        others = set(threading.enumerate())
        harness.server.process._fetch_worker._heartbeat.beat()
        for charging in set(threading.enumerate()) - others:
            charging.join()

    outage.beside = give_up
    assert harness.server.fetch()
    job = job_of(harness)
    assert (job.state, job.attempts_made) == (JobState.DELAYED, 1)
    assert job.failed_reason == "the run took longer than 300 s and was given up"
    harness.come_to_rest()
