"""What the status of the overview reports, the worst first, with its action."""

from typing import Any

from server.api.queue_status import QueueAnswer
from server.api.readiness import SILENT
from server.api.routes.queues import WorkerAnswer
from server.dashboard.manual import has_section
from server.dashboard.overview import Overview
from server.dashboard.troubles import Trouble, find_troubles
from shared.queue import JobState


def worker(breaker_reason: str | None = None, open_s: float = 0.0) -> WorkerAnswer:
    return WorkerAnswer(
        id="w", queues=["items"], held_jobs=0, up_s=1.0,
        breaker_reason=breaker_reason, breaker_open_s=open_s, failing_threads=[],
    )  # fmt: skip


def queue(name: str = "items", waiting: int = 0, **fields: Any) -> QueueAnswer:
    shown: dict[str, Any] = {
        "name": name,
        "is_paused": False,
        "counts": dict.fromkeys(JobState, 0) | {JobState.WAITING: waiting},
        "totals": {},
        "rate_per_s": None,
        "oldest_waiting_ms": None,
        "rate_limit": None,
        "limited_by": None,
        "limited_by_text": "",
    }
    return QueueAnswer(**(shown | fields))


def find(absent: list[str] | None = None, **found: Any) -> list[Trouble]:
    given = {"workers": [worker()], "queues": [queue()]} | found
    troubles = find_troubles(
        Overview(dict.fromkeys(absent or [], SILENT), dead_letter_queue="dlq", **given)
    )
    for trouble in troubles:
        assert has_section(trouble.help_anchor), trouble
    return troubles


def test_nothing_is_wrong_when_all_is_well() -> None:
    assert find(queues=[queue(waiting=500, limited_by="rate_limit")]) == []


def test_absent_stores_come_first_and_name_their_setting() -> None:
    troubles = find(["MongoDB"], failing_feeds=1)
    assert [each.text for each in troubles] == ["MongoDB does not answer.", "1 feed is failing."]
    assert "MONGODB_URL" in troubles[0].advice
    assert troubles[0].level == "problem"


def test_without_redis_nothing_is_reported_of_workers() -> None:
    both = find(["MongoDB", "Redis"], workers=[], queues=[])
    assert [each.text for each in both] == ["Redis does not answer.", "MongoDB does not answer."]


def test_no_worker_is_reported_with_what_to_start() -> None:
    [trouble] = find(workers=[])
    assert trouble.text == "No worker is running."
    assert "feedmill worker" in trouble.advice


def test_queue_that_no_worker_takes_is_named() -> None:
    [trouble] = find(queues=[queue("heavy", limited_by="no_worker")])
    assert trouble.text == "No worker processes the queue heavy."
    assert "WORKER_TYPE" in trouble.advice


def test_open_breaker_says_why_and_for_how_long() -> None:
    [trouble] = find(workers=[worker("MongoDB refused: disk is full", 65.0), worker("x", 5.0)])
    assert trouble.text == "Circuit breaker open for 1 min 5 s: MongoDB refused: disk is full."
    [partly] = find(workers=[worker("away", 5.0), worker()])
    assert partly.text.startswith("Circuit breaker open in 1 of 2 workers")


def test_paused_queue_can_be_resumed() -> None:
    [trouble] = find(queues=[queue("a b/c", is_paused=True)])
    assert trouble.level == "warning"
    assert (trouble.action, trouble.action_text) == ("/admin/queues/a%20b%2Fc/resume", "Resume")


def test_failures_lead_to_their_pages() -> None:
    troubles = find(failing_feeds=1200, queues=[queue("dlq", waiting=1), queue(waiting=7)])
    assert [(each.text, each.link) for each in troubles] == [
        ("1\u202f200 feeds are failing.", "/admin/feeds?state=failing"),
        ("1 dead letter.", "/admin/dlq"),
    ]
    assert {each.level for each in troubles} == {"warning"}
