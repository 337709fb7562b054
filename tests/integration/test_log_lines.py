"""What a deployment logs: one line an import and a flush; single jobs only at DEBUG."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from shared.logs import configure_logs
from tests.harness import SOURCE, Harness

SECRET = "s3cr3t-XYZZY"
Lines = Callable[[], list[dict[str, Any]]]


pytestmark = pytest.mark.usefixtures("logging_as_before")


def lines(capsys: pytest.CaptureFixture[str], *events: str) -> list[dict[str, Any]]:
    """Return what was logged since the last look under these events, without the time."""
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    for line in logged:
        line.pop("timestamp")
    return [line for line in logged if line["event"] in events]


def import_three(harness: Harness, **titles: str) -> str:
    """Import three items, one of which MongoDB refuses once and for all; return the import's id."""
    harness.subscribe({"1": "One", "2": "Two", "3": "poison"} | titles)
    polled = harness.poll()
    harness.clock.advance(seconds=2)
    harness.work()
    harness.clock.advance(seconds=30)
    harness.work()
    harness.clock.advance(seconds=1)
    harness.server.look()
    return polled.import_id


def test_import_and_flush_are_one_line_each_with_counts_duration_and_queue(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("INFO", "json")
    import_id = import_three(harness)
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in logged] == [
        "batch_flushed",
        "batch_flushed",
        "import_completed",
    ]
    completed = logged[-1]
    completed.pop("timestamp")
    assert completed == {
        "event": "import_completed",
        "level": "info",
        "logger": "server.imports",
        "import_id": import_id,
        "source": SOURCE,
        "trigger": "api",
        "queue": "job_import_queue",
        "duration_s": 33.0,
        "fetched": 3,
        "new": 2,
        "dead": 1,
    }
    first, second = logged[:2]
    assert (first["queue"], first["jobs"], first["new"]) == ("job_import_queue", 3, 2)
    assert (first["retried"], second["dead"]) == (1, 1)
    assert {"duration_ms", "settle_ms"} <= first.keys()


def test_import_without_news_is_one_line(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("INFO", "json")
    import_three(harness)
    capsys.readouterr()
    harness.poll()
    [line] = lines(capsys, "import_completed", "import_committed", "job_started")
    assert (line["event"], line["not_modified"]) == ("import_completed", True)


def test_import_that_fails_is_one_line_that_says_why_without_secrets(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("INFO", "json")
    harness.subscribe({})
    harness.publisher.refuse(
        SOURCE, f"https://user:{SECRET}@news.example/?token={SECRET}", retryable=False
    )
    import_id = harness.poll().import_id
    text = capsys.readouterr().err
    [line] = [json.loads(line) for line in text.splitlines()]
    assert SECRET not in text
    assert (line["event"], line["level"]) == ("import_failed", "warning")
    assert (line["import_id"], line["source"]) == (import_id, SOURCE)
    assert "***" in line["error"]


def test_each_job_tells_its_course_at_debug_under_its_ids(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("DEBUG", "json")
    import_id = import_three(harness)
    told = lines(capsys, "job_started", "job_succeeded", "job_failed")
    assert all(line["level"] == "debug" for line in told)
    assert {line["import_id"] for line in told} == {import_id}
    course = [(line["queue"], line["job"], line["event"], line["attempt"]) for line in told]
    fetch, item = "feed_fetch_queue", "job_import_queue"
    assert course[:2] == [
        (fetch, f"feed#{SOURCE}", "job_started", 1),
        (fetch, f"feed#{SOURCE}", "job_succeeded", 1),
    ]
    assert sorted(course[2:8]) == sorted(
        (item, f"{SOURCE}#{guid}", event, 1)
        for guid, end in (("1", "job_succeeded"), ("2", "job_succeeded"), ("3", "job_failed"))
        for event in ("job_started", end)
    )
    assert course[8:] == [
        (item, f"{SOURCE}#3", "job_started", 2),
        (item, f"{SOURCE}#3", "job_failed", 2),
    ]
    assert "MongoDB refused the document" in told[-1]["detail"]
    assert {line["detail"] for line in told if line["job"] == f"{SOURCE}#1" and "detail" in line}


def test_fetch_threads_lines_carry_import_and_source_and_nobody_elses_do(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("DEBUG", "json")
    import_id = import_three(harness)
    [started] = [one for one in lines(capsys, "job_started") if one["queue"] == "feed_fetch_queue"]
    assert (started["import_id"], started["source"]) == (import_id, SOURCE)
    assert structlog.contextvars.get_contextvars() == {}


def test_job_whose_lock_was_lost_did_not_succeed(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("DEBUG", "json")
    harness.subscribe({"1": "One"})
    harness.poll()
    harness.worker.consumer.step()
    harness.lose_locks()
    harness.worker._pool.run_all()
    ends = lines(capsys, "job_succeeded", "job_failed", "job_lock_lost")
    items = [line["event"] for line in ends if line["queue"] == "job_import_queue"]
    assert items == ["job_lock_lost"]


def test_fetch_job_that_no_program_of_ours_wrote_is_told_of_too(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("DEBUG", "json")
    harness.subscribe({})
    harness.server.start(SOURCE)
    harness.redis.hset(harness.fetch_queue.keys.job(f"feed#{SOURCE}"), "data", "no json")
    assert harness.server.fetch()
    told = lines(capsys, "job_started", "job_failed")
    assert [line["event"] for line in told] == ["job_started", "job_failed"]


def test_trouble_of_the_fetch_queue_is_a_warning(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("INFO", "json")
    harness.subscribe({})
    harness.server.start(SOURCE)
    harness.publisher.fetch = lambda *_, **__: harness.lose_locks() or _fail()  # type: ignore[method-assign]
    harness.server.fetch()
    [line] = lines(capsys, "lock_lost", "failure_hook_failed")
    assert (line["event"], line["level"]) == ("lock_lost", "warning")
    assert line["source"] == SOURCE


def _fail() -> None:
    raise RuntimeError("boom")


def test_console_shows_the_same_events_on_one_line_each(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("INFO", "console")
    import_id = import_three(harness, **{"1": "One\nTwo"})
    text = capsys.readouterr().err
    assert "\x1b" not in text
    events = [re.sub(r"^\S+ \[\w+ *\] (\S+).*$", r"\1", line) for line in text.splitlines()]
    assert events == ["batch_flushed", "batch_flushed", "import_completed"]
    assert f"import_id={import_id}" in text
