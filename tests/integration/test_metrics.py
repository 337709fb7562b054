"""The numbers for Prometheus, of whole deployments: right across processes and restarts."""

import pytest

from server.api import metrics
from shared.store import Feed
from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness

ITEMS = "job_import_queue"
FETCHES = "feed_fetch_queue"


def totals(harness: Harness, queue: str = ITEMS) -> dict[str, float | None]:
    return {
        status: harness.number("bullmq_jobs_processed_total", queue=queue, status=status)
        for status in ("completed", "failed", "retried")
    }


def titles(*guids: str) -> dict[str, str]:
    return {guid: f"Title {guid}" for guid in guids}


def test_totals_add_up_over_two_workers_and_their_restarts(harness: Harness) -> None:
    other = harness.new_worker()
    harness.subscribe(titles("1", "2", "3"))
    harness.poll()
    harness.work()
    harness.poll(titles("4", "5"))
    other.work()
    assert totals(harness) == {"completed": 5, "failed": 0, "retried": 0}

    harness.replace_roles()
    harness.poll(titles("6"))
    harness.work()
    assert totals(harness) == {"completed": 6, "failed": 0, "retried": 0}
    assert totals(harness, FETCHES) == {"completed": 3, "failed": 0, "retried": 0}


def test_job_that_two_workers_ran_is_counted_once(harness: Harness) -> None:
    other = harness.new_worker()
    harness.subscribe(titles("1", "2"))
    harness.poll()
    harness.worker.consumer.step()
    harness.lose_locks()
    other.work()
    harness.worker._pool.run_all()
    assert totals(harness) == {"completed": 2, "failed": 0, "retried": 0}


def test_item_that_dies_counts_as_retried_for_each_new_try_and_failed_once(
    harness: Harness,
) -> None:
    harness.subscribe({"1": "fine", "2": "poison"})
    harness.poll()
    harness.work()
    assert totals(harness) == {"completed": 1, "failed": 0, "retried": 1}
    harness.clock.advance(seconds=30)
    harness.work()
    assert totals(harness) == {"completed": 1, "failed": 1, "retried": 1}
    assert harness.number("feedmill_dead_letters", kind="dead") == 1
    assert harness.number("bullmq_queue_size", queue=f"{ITEMS}_dlq", state="waiting") == 1


def test_import_that_fails_counts_its_retries_and_its_end(harness: Harness) -> None:
    harness.subscribe({})
    harness.publisher.break_down()
    harness.poll()
    for _ in range(2):
        harness.clock.advance(seconds=30)
        while harness.server.fetch():
            pass
    assert totals(harness, FETCHES) == {"completed": 0, "failed": 1, "retried": 2}
    assert harness.number("feedmill_imports_total", state="failed") == 1
    assert harness.number("feedmill_feeds_failing") == 1
    assert harness.number("feedmill_fetch_seconds_count", outcome="http_status") == 3


def test_fetches_and_parses_are_measured_by_outcome(harness: Harness) -> None:
    harness.subscribe(titles("1"))
    harness.publisher.say(SOURCE, duration_s=0.7)
    for _ in range(3):
        harness.poll()
        harness.work()
        harness.come_to_rest()
    assert harness.number("feedmill_fetch_seconds_count", outcome="modified") == 1
    assert harness.number("feedmill_fetch_seconds_count", outcome="not_modified") == 2
    assert harness.number("feedmill_fetch_seconds_sum", outcome="not_modified") == pytest.approx(
        1.4
    )
    assert harness.number("feedmill_parse_seconds_count") == 1
    assert harness.number("feedmill_fetch_body_bytes_count") == 1
    assert harness.number("feedmill_imports_total", state="completed") == 3


def test_document_that_cannot_be_read_was_parsed_too(harness: Harness) -> None:
    harness.subscribe({})
    harness.publisher.show_document(SOURCE, "no feed at all")
    harness.poll()
    assert harness.number("feedmill_parse_seconds_count") == 1
    assert harness.number("feedmill_imports_total", state="failed") == 1


def test_each_import_is_counted_by_one_of_two_servers(harness: Harness) -> None:
    harness.subscribe(titles("1"))
    harness.poll()
    harness.work()
    first, second = harness.server, harness.new_server()
    harness.clock.advance(seconds=1)
    ended = 0.0
    for server in (first, second):
        server.look()
        harness.server = server
        ended += harness.number("feedmill_imports_total", state="completed") or 0
    assert ended == 1


def test_import_that_its_feeds_deletion_ended_is_counted(harness: Harness) -> None:
    harness.subscribe({})
    harness.server.start(SOURCE)
    assert harness.number("feedmill_open_imports", state="queued") == 1
    harness.server.services.feeds.remove(SOURCE)
    assert harness.number("feedmill_open_imports", state="queued") == 0
    assert harness.number("feedmill_imports_total", state="failed") == 1


def schedule(harness: Harness, source: str) -> None:
    now = harness.clock.now()
    feed = Feed(source, [feed_url(source)], now, interval_s=3600, next_fetch_at=now)
    harness.stores.feeds.insert(feed)


def test_silence_counts_from_the_last_new_item_not_from_the_last_fetch(harness: Harness) -> None:
    schedule(harness, SOURCE)
    harness.publisher.show(SOURCE, titles("1"))
    harness.clock.advance(hours=1)
    assert harness.number("feedmill_seconds_since_new_item", source=SOURCE) == 3600
    harness.poll()
    harness.come_to_rest()
    came = harness.clock.now()
    harness.clock.advance(hours=2)
    harness.poll({"1": "Another title"})
    harness.come_to_rest()
    silent_s = harness.number("feedmill_seconds_since_new_item", source=SOURCE)
    since_s = (harness.clock.now() - came).total_seconds()
    assert silent_s is not None
    assert since_s <= silent_s < since_s + 60


def test_silence_is_shown_of_a_bounded_number_of_feeds_the_most_silent_first(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MAX_SOURCES", most := 20)
    for number in range(most + 3):
        schedule(harness, f"s{number}")
        harness.clock.advance(seconds=1)
    harness.stores.feeds.update("s0", {"enabled": False})
    assert harness.number("feedmill_seconds_since_new_item", source="s0") is None
    assert harness.number("feedmill_seconds_since_new_item", source="s1") is not None
    assert harness.number("feedmill_seconds_since_new_item", source=f"s{most}") is not None
    assert harness.number("feedmill_seconds_since_new_item", source=f"s{most + 1}") is None
    assert harness.number("feedmill_sources_left_out") == 2


def test_lag_is_how_late_the_longest_due_fetch_is(harness: Harness) -> None:
    assert harness.number("feedmill_fetch_lag_seconds") == 0
    schedule(harness, "early")
    harness.clock.advance(seconds=90)
    schedule(harness, "late")
    harness.clock.advance(seconds=10)
    assert harness.number("feedmill_fetch_lag_seconds") == 100
    harness.server.scheduler.tick()
    assert harness.number("feedmill_fetch_lag_seconds") == 0


def worker_number(harness: Harness, name: str, **labels: str) -> float | None:
    return harness.worker.process.parts.metrics.registry.get_sample_value(name, labels)


def test_worker_measures_waits_flushes_and_what_it_holds(harness: Harness) -> None:
    harness.subscribe(titles("1", "2", "3"))
    harness.poll()
    harness.clock.advance(seconds=42)
    assert worker_number(harness, "feedmill_held_jobs") == 0
    harness.worker.consumer._take_all()
    assert worker_number(harness, "feedmill_held_jobs") == 3
    assert worker_number(harness, "feedmill_buffered_jobs") == 3
    held_bytes = worker_number(harness, "feedmill_held_bytes")
    assert held_bytes
    assert worker_number(harness, "feedmill_buffered_bytes") == held_bytes
    harness.work()
    for gauge in ("held_jobs", "held_bytes", "buffered_jobs", "buffered_bytes"):
        assert worker_number(harness, f"feedmill_{gauge}") == 0, gauge
    assert worker_number(harness, "feedmill_queue_wait_seconds_sum", queue=ITEMS) == 3 * 42
    assert worker_number(harness, "feedmill_flush_jobs_sum", queue=ITEMS) == 3
    for histogram in ("flush", "settle"):
        assert worker_number(harness, f"feedmill_{histogram}_seconds_count", queue=ITEMS) == 1


def test_second_run_of_a_job_is_no_wait_in_the_queue(harness: Harness) -> None:
    harness.subscribe({"1": "poison"})
    harness.poll()
    harness.work()
    harness.clock.advance(seconds=30)
    harness.work()
    assert worker_number(harness, "feedmill_queue_wait_seconds_count", queue=ITEMS) == 1


def test_breaker_shows_since_when_it_is_open(harness: Harness) -> None:
    breaker = harness.worker.process.parts.consumer_parts.breaker
    assert worker_number(harness, "feedmill_breaker_open") == 0
    breaker.trip("MongoDB cannot serve")
    harness.clock.advance(seconds=7)
    assert worker_number(harness, "feedmill_breaker_open") == 1
    assert worker_number(harness, "feedmill_breaker_open_seconds") == 7
