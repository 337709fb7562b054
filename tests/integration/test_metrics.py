"""The numbers for Prometheus, of whole deployments: right across processes and restarts."""

import pytest

from server.api.metrics import MAX_SOURCES
from shared.store import Feed
from tests.mill import SOURCE, Mill
from tests.press import feed_url

ITEMS = "job_import_queue"
FETCHES = "feed_fetch_queue"


def totals(mill: Mill, queue: str = ITEMS) -> dict[str, float | None]:
    return {
        status: mill.number("bullmq_jobs_processed_total", queue=queue, status=status)
        for status in ("completed", "failed", "retried")
    }


def titles(*guids: str) -> dict[str, str]:
    return {guid: f"Title {guid}" for guid in guids}


def test_totals_add_up_over_two_workers_and_their_restarts(mill: Mill) -> None:
    other = mill.new_worker()
    mill.subscribe(titles("1", "2", "3"))
    mill.poll()
    mill.work()
    mill.poll(titles("4", "5"))
    other.work()
    assert totals(mill) == {"completed": 5, "failed": 0, "retried": 0}

    mill.replace_actors()
    mill.poll(titles("6"))
    mill.work()
    assert totals(mill) == {"completed": 6, "failed": 0, "retried": 0}
    assert totals(mill, FETCHES) == {"completed": 3, "failed": 0, "retried": 0}


def test_job_that_two_workers_ran_is_counted_once(mill: Mill) -> None:
    other = mill.new_worker()
    mill.subscribe(titles("1", "2"))
    mill.poll()
    mill.worker.consumer.step()
    mill.lose_locks()
    other.work()
    mill.worker._pool.run_all()
    assert totals(mill) == {"completed": 2, "failed": 0, "retried": 0}


def test_item_that_dies_counts_as_retried_for_each_new_try_and_failed_once(mill: Mill) -> None:
    mill.subscribe({"1": "fine", "2": "poison"})
    mill.poll()
    mill.work()
    assert totals(mill) == {"completed": 1, "failed": 0, "retried": 1}
    mill.clock.advance(seconds=30)
    mill.work()
    assert totals(mill) == {"completed": 1, "failed": 1, "retried": 1}
    assert mill.number("feedmill_dead_letters", kind="dead") == 1
    assert mill.number("bullmq_queue_size", queue=f"{ITEMS}_dlq", state="waiting") == 1


def test_import_that_fails_counts_its_retries_and_its_end(mill: Mill) -> None:
    mill.subscribe({})
    mill.press.break_down()
    mill.poll()
    for _ in range(2):
        mill.clock.advance(seconds=30)
        while mill.server.fetch():
            pass
    assert totals(mill, FETCHES) == {"completed": 0, "failed": 1, "retried": 2}
    assert mill.number("feedmill_imports_total", state="failed") == 1
    assert mill.number("feedmill_feeds_failing") == 1
    assert mill.number("feedmill_fetch_seconds_count", outcome="http_status") == 3


def test_fetches_and_parses_are_measured_by_outcome(mill: Mill) -> None:
    mill.subscribe(titles("1"))
    mill.press.say(SOURCE, duration_s=0.7)
    for _ in range(3):
        mill.poll()
        mill.work()
        mill.come_to_rest()
    assert mill.number("feedmill_fetch_seconds_count", outcome="modified") == 1
    assert mill.number("feedmill_fetch_seconds_count", outcome="not_modified") == 2
    assert mill.number("feedmill_fetch_seconds_sum", outcome="not_modified") == pytest.approx(1.4)
    assert mill.number("feedmill_parse_seconds_count") == 1
    assert mill.number("feedmill_fetch_body_bytes_count") == 1
    assert mill.number("feedmill_imports_total", state="completed") == 3


def test_document_that_cannot_be_read_was_parsed_too(mill: Mill) -> None:
    mill.subscribe({})
    mill.press.show_document(SOURCE, "no feed at all")
    mill.poll()
    assert mill.number("feedmill_parse_seconds_count") == 1
    assert mill.number("feedmill_imports_total", state="failed") == 1


def test_each_import_is_counted_by_one_of_two_servers(mill: Mill) -> None:
    mill.subscribe(titles("1"))
    mill.poll()
    mill.work()
    first, second = mill.server, mill.new_server()
    mill.clock.advance(seconds=1)
    ended = 0.0
    for server in (first, second):
        server.look()
        mill.server = server
        ended += mill.number("feedmill_imports_total", state="completed") or 0
    assert ended == 1


def test_import_that_its_feeds_deletion_ended_is_counted(mill: Mill) -> None:
    mill.subscribe({})
    mill.server.start(SOURCE)
    assert mill.number("feedmill_open_imports", state="queued") == 1
    mill.server.services.feeds.remove(SOURCE)
    assert mill.number("feedmill_open_imports", state="queued") == 0
    assert mill.number("feedmill_imports_total", state="failed") == 1


def schedule(mill: Mill, source: str) -> None:
    now = mill.clock.now()
    feed = Feed(source, [feed_url(source)], now, interval_s=3600, next_fetch_at=now)
    mill.stores.feeds.insert(feed)


def test_silence_counts_from_the_last_new_item_not_from_the_last_fetch(mill: Mill) -> None:
    schedule(mill, SOURCE)
    mill.press.show(SOURCE, titles("1"))
    mill.clock.advance(hours=1)
    assert mill.number("feedmill_seconds_since_new_item", source=SOURCE) == 3600
    mill.poll()
    mill.come_to_rest()
    came = mill.clock.now()
    mill.clock.advance(hours=2)
    mill.poll({"1": "Another title"})
    mill.come_to_rest()
    silent_s = mill.number("feedmill_seconds_since_new_item", source=SOURCE)
    since_s = (mill.clock.now() - came).total_seconds()
    assert silent_s is not None
    assert since_s <= silent_s < since_s + 60


def test_silence_is_shown_of_a_bounded_number_of_feeds_the_most_silent_first(mill: Mill) -> None:
    for number in range(MAX_SOURCES + 3):
        schedule(mill, f"s{number}")
        mill.clock.advance(seconds=1)
    mill.stores.feeds.update("s0", {"enabled": False})
    assert mill.number("feedmill_seconds_since_new_item", source="s0") is None
    assert mill.number("feedmill_seconds_since_new_item", source="s1") is not None
    assert mill.number("feedmill_seconds_since_new_item", source=f"s{MAX_SOURCES}") is not None
    assert mill.number("feedmill_seconds_since_new_item", source=f"s{MAX_SOURCES + 1}") is None
    assert mill.number("feedmill_sources_left_out") == 2


def test_lag_is_how_late_the_longest_due_fetch_is(mill: Mill) -> None:
    assert mill.number("feedmill_fetch_lag_seconds") == 0
    schedule(mill, "early")
    mill.clock.advance(seconds=90)
    schedule(mill, "late")
    mill.clock.advance(seconds=10)
    assert mill.number("feedmill_fetch_lag_seconds") == 100
    mill.server.scheduler.tick()
    assert mill.number("feedmill_fetch_lag_seconds") == 0


def worker_number(mill: Mill, name: str, **labels: str) -> float | None:
    return mill.worker.process.parts.metrics.registry.get_sample_value(name, labels)


def test_worker_measures_waits_flushes_and_what_it_holds(mill: Mill) -> None:
    mill.subscribe(titles("1", "2", "3"))
    mill.poll()
    mill.clock.advance(seconds=42)
    assert worker_number(mill, "feedmill_held_jobs") == 0
    mill.worker.consumer._take_all()
    assert worker_number(mill, "feedmill_held_jobs") == 3
    assert worker_number(mill, "feedmill_buffered_jobs") == 3
    held_bytes = worker_number(mill, "feedmill_held_bytes")
    assert held_bytes
    assert worker_number(mill, "feedmill_buffered_bytes") == held_bytes
    mill.work()
    for gauge in ("held_jobs", "held_bytes", "buffered_jobs", "buffered_bytes"):
        assert worker_number(mill, f"feedmill_{gauge}") == 0, gauge
    assert worker_number(mill, "feedmill_queue_wait_seconds_sum", queue=ITEMS) == 3 * 42
    assert worker_number(mill, "feedmill_flush_jobs_sum", queue=ITEMS) == 3
    for histogram in ("flush", "settle"):
        assert worker_number(mill, f"feedmill_{histogram}_seconds_count", queue=ITEMS) == 1


def test_second_run_of_a_job_is_no_wait_in_the_queue(mill: Mill) -> None:
    mill.subscribe({"1": "poison"})
    mill.poll()
    mill.work()
    mill.clock.advance(seconds=30)
    mill.work()
    assert worker_number(mill, "feedmill_queue_wait_seconds_count", queue=ITEMS) == 1


def test_breaker_shows_since_when_it_is_open(mill: Mill) -> None:
    breaker = mill.worker.process.parts.consumer_parts.breaker
    assert worker_number(mill, "feedmill_breaker_open") == 0
    breaker.trip("MongoDB cannot serve")
    mill.clock.advance(seconds=7)
    assert worker_number(mill, "feedmill_breaker_open") == 1
    assert worker_number(mill, "feedmill_breaker_open_seconds") == 7
