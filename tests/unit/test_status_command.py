"""``feedmill status`` as it is typed, against a service that answers from a script."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from server.commands import status as status_module
from shared.running import Running, write_running
from tests.stub_service import StubService, make_import
from tests.typed import Run
from tests.unit.test_queue_commands import make_queue

METRICS = """# TYPE feedmill_feeds gauge
feedmill_feeds 40.0
# TYPE feedmill_feeds_scheduled gauge
feedmill_feeds_scheduled 38.0
# TYPE feedmill_feeds_failing gauge
feedmill_feeds_failing {failing}
# TYPE feedmill_open_imports gauge
feedmill_open_imports{{state="queued"}} 1.0
feedmill_open_imports{{state="importing"}} 1.0
# TYPE feedmill_dead_letters gauge
feedmill_dead_letters{{kind="dead"}} {dead}
feedmill_dead_letters{{kind="removed"}} 9.0
"""
QUEUES = ("job_import_queue", "job_import_queue_heavy", "job_import_queue_dlq", "feed_fetch_queue")
FEED = {"source": "lwn", "next_fetch_at": "2026-11-01T12:12:00.000Z"}


def make_worker(**fields: Any) -> dict[str, Any]:
    """Return a worker as the API shows it."""
    healthy = {"breaker_reason": None, "breaker_open_s": 0.0, "failing_threads": []}
    return {"id": "w-1", "held_jobs": 3, **healthy, **fields}


def answer_all(service: StubService, *, failing: int = 0, dead: int = 0, **lists: Any) -> None:
    """Let the service answer as one that works, but for what is given."""
    service.answer("/readyz", 200, {"status": "ok"})
    service.answer("/openapi.json", 200, {"info": {"version": "0.2.0"}})
    text = METRICS.format(failing=failing, dead=dead).encode()
    service.answer("/metrics", 200, text, {"Content-Type": "text/plain; version=1.0.0"})
    items = {
        "queues": [make_queue(name) for name in QUEUES],
        "workers": [make_worker()],
        "feeds": [FEED],
        "imports": [
            make_import("importing", id="i#2", finished_at=None, counts={"fetched": 9}),
            make_import(counts={"fetched": 120, "new": 7, "unchanged": 113}),
        ],
        "backfills": [],
    }
    for name, found in (items | lists).items():
        service.answer(f"/{name}", 200, {"items": found, "next_cursor": None})


def test_status_shows_all_of_a_service_that_works(service: StubService, feedmill: Run) -> None:
    answer_all(service)
    done = feedmill("status")
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"Feedmill 0.2.0 at {service.url}: no problems"
    assert lines[1:7] == [
        "Workers      1, holding 3 jobs",
        "Feeds        40, 38 scheduled, 0 failing; next: lwn in 12 min",
        "Dead letters 0",
        "Imports      2 running",
        "             lwn: importing, 9 fetched so far",
        "Latest       lwn: completed 60 min ago, 120 fetched, 7 new, 113 unchanged",
    ]
    assert [line.split()[0] for line in lines[8:]] == ["queue", *QUEUES]


def test_status_of_a_usual_service_fits_on_a_small_terminal(
    service: StubService, feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = make_import("failed", error="dns: " + "x" * 200)
    answer_all(service, failing=2, dead=8, imports=[long] * 9)
    small = lambda: Console(force_terminal=True, width=80, no_color=True)  # noqa: E731
    monkeypatch.setattr(status_module, "Console", small)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", feedmill("status").stdout).splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80


def test_stores_are_shown_without_logins_where_they_are_known(
    service: StubService, feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_all(service)
    monkeypatch.delenv("FEEDMILL_URL")
    Path("data").mkdir()
    mongodb = "mongodb://u:secret@127.0.0.1:27018/feedmill?authSource=admin"
    write_running(Path("data"), Running(os.getpid(), service.url, "redis://:secret@h:1/0", mongodb))
    done = feedmill("status")
    assert done.stdout.splitlines()[1:3] == [
        "Redis        redis://h:1/0",
        "MongoDB      mongodb://127.0.0.1:27018/feedmill",
    ]
    shown = feedmill("status", "--json").json
    assert shown["stores"]["MongoDB"] == "mongodb://127.0.0.1:27018/feedmill"


def test_warnings_say_what_to_do_and_do_not_fail(service: StubService, feedmill: Run) -> None:
    paused = make_queue(is_paused=True, limited_by="paused", limited_by_text="paused")
    answer_all(service, failing=1, dead=8, queues=[paused])
    done = feedmill("status")
    assert (done.code, done.stdout.splitlines()[0].split(": ")[-1]) == (0, "3 warnings")
    assert done.stdout.splitlines()[-6:] == [
        "warning: job_import_queue is paused",
        "  → feedmill queue resume job_import_queue",
        "warning: 1 feed failed last time",
        "  → feedmill feeds list --failing",
        "warning: 8 dead letters",
        "  → feedmill dlq list --by-cause",
    ]


@pytest.mark.parametrize(
    ("lists", "text"),
    [
        ({"workers": []}, "no worker is running"),
        (
            {"workers": [make_worker(breaker_reason="MongoDB is away", breaker_open_s=12.0)]},
            "worker w-1 stores nothing for 12 s: MongoDB is away",
        ),
        ({"workers": [make_worker(failing_threads=["heartbeat: 3"])]}, "worker w-1: heartbeat: 3"),
        (
            {"queues": [make_queue(limited_by="no_worker", limited_by_text="no worker takes it")]},
            "job_import_queue: no worker takes it",
        ),
    ],
)
def test_what_is_wrong_ends_with_1(
    service: StubService, feedmill: Run, lists: dict[str, Any], text: str
) -> None:
    answer_all(service, **lists)
    done = feedmill("status", "--json")
    assert (done.code, done.json["status"]) == (1, "problem")
    assert [each["text"] for each in done.json["findings"]] == [text]


def test_service_without_a_store_shows_what_it_can(service: StubService, feedmill: Run) -> None:
    answer_all(service)
    service.answers["/readyz"] = service.answers["/feeds"] = []
    service.refuse("/readyz", 503, "MongoDB does not answer")
    service.refuse("/feeds", 503, "MongoDB does not answer")
    done = feedmill("status")
    assert (done.code, done.stdout.splitlines()[0].split(": ")[-1]) == (1, "1 problem")
    assert done.stdout.splitlines()[-2] == "problem: MongoDB does not answer"
    assert "job_import_queue_heavy" in done.stdout


def test_service_that_wants_a_key_says_so(service: StubService, feedmill: Run) -> None:
    answer_all(service)
    service.answers["/queues"] = []
    service.refuse("/queues", 401, "a key is needed")
    done = feedmill("status")
    assert (done.code, done.stdout) == (1, "")
    assert "set API_KEY" in done.stderr


def test_no_service_ends_with_2(feedmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDMILL_URL", "http://127.0.0.1:1")
    done = feedmill("status")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        "feedmill: no Feedmill answers at http://127.0.0.1:1, which FEEDMILL_URL names\n"
    )
    monkeypatch.delenv("FEEDMILL_URL")
    monkeypatch.setenv("PORT", "1")
    assert "start it with 'feedmill up'" in feedmill("status").stderr


def test_json_has_everything_in_one_object(service: StubService, feedmill: Run) -> None:
    answer_all(service, failing=2)
    shown = feedmill("status", "--json").json
    assert shown["status"] == "warning"
    assert shown["service"] == {"url": service.url, "version": "0.2.0"}
    assert shown["feeds"] == {"total": 40, "scheduled": 38, "failing": 2, "next": FEED}
    assert (shown["imports"]["open"], len(shown["imports"]["running"])) == (2, 1)
    assert [each["name"] for each in shown["queues"]] == list(QUEUES)
    assert (shown["dead_letters"], shown["unread"]) == (0, {})
