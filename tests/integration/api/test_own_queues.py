"""Programs' own queues stand beside Feedmill's: API, dashboard, numbers."""

from typing import Any

import pytest

from feedmill import Job, Queue, UnrecoverableError, Worker
from shared.queue import RateLimit, RedisConnection, WorkerSign, WorkerSigns
from shared.queue.registry import DEAD_LETTERS, QueueRecord, QueueRegistry
from tests.api import Api


@pytest.fixture
def emails(api: Api, redis_client: RedisConnection) -> Queue:
    registry = QueueRegistry(redis_client, prefix="bull", clock=api.clock)
    registry.register([QueueRecord("emails", "light", RateLimit(5, 1000))])
    # What was read before is good for 2 s.
    api.clock.advance(seconds=2)
    return Queue("emails", redis_client, clock=api.clock)


def test_an_own_queue_is_listed_with_its_weight_and_its_limit(api: Api, emails: Queue) -> None:
    emails.add("send", {"to": 17})
    listed = {shown["name"]: shown for shown in api.client.get("/queues").json()["items"]}
    assert list(listed)[-1] == "emails"
    shown = listed["emails"]
    assert (shown["weight"], shown["counts"]["waiting"]) == ("light", 1)
    assert shown["rate_limit"] == {"max_jobs": 5, "duration_ms": 1000}
    assert listed["items"]["weight"] is None


def test_an_own_queue_without_a_worker_says_so_and_one_with_a_worker_does_not(
    api: Api, emails: Queue, redis_client: RedisConnection
) -> None:
    signs = WorkerSigns(redis_client)
    signs.leave(WorkerSign("host-1-abc", ("items", "items_heavy"), 0, 1.0))
    emails.add("send", {"to": 17})
    api.clock.advance(seconds=60)
    assert api.client.get("/queues/emails").json()["limited_by"] == "no_worker"
    assert "feedmill worker --app MODULE" in api.show_page("/admin")
    signs.leave(WorkerSign("host-1-abc:emails", ("emails",), 0, 1.0))
    assert api.client.get("/queues/emails").json()["limited_by"] == "workers"


def test_dead_letters_of_an_own_queue_are_shown_and_miss_no_worker(
    api: Api, emails: Queue, redis_client: RedisConnection
) -> None:
    registry = QueueRegistry(redis_client, prefix="bull", clock=api.clock)
    registry.register([QueueRecord("emails_dead", DEAD_LETTERS)])
    Queue("emails_dead", redis_client, clock=api.clock).add("dead", {}, job_id="emails/17")
    api.clock.advance(seconds=600)
    shown = api.client.get("/queues/emails_dead").json()
    assert (shown["weight"], shown["limited_by"]) == ("dead-letter", None)
    assert shown["limited_by_text"] == "dead letters wait for a replay"
    assert "No worker takes the jobs" not in api.show_page("/admin")
    assert "Own queue: dead letters" in api.show_page("/admin/queues")


def test_an_own_queue_is_paused_looked_at_and_cleaned_as_any(api: Api, emails: Queue) -> None:
    job = emails.add("send", {"to": 17})
    assert api.client.post("/queues/emails/pause").json()["is_paused"]
    assert emails.is_paused()
    [listed] = api.client.get("/queues/emails/jobs").json()["items"]
    assert (listed["id"], listed["data"]) == (job.id, {"to": 17})
    assert api.client.delete(f"/queues/emails/jobs/{job.id}").status_code == 204
    emails.add("send", {"to": 18})
    cleaned = api.client.post("/queues/emails/clean", json={"state": "waiting"})
    assert cleaned.json() == {"removed": 1}
    assert emails.count() == 0


def test_an_own_queue_is_on_the_dashboard_and_among_the_numbers(api: Api, emails: Queue) -> None:
    emails.add("send", {"to": 17})
    page = api.show_page("/admin/queues")
    assert 'href="/admin/queues/emails"' in page
    assert "Own queue: light jobs" in page
    assert "emails" in api.show_page("/admin/queues/emails")
    numbers = api.client.get("/metrics").text
    assert 'bullmq_queue_size{queue="emails",state="waiting"} 1.0' in numbers
    assert 'feedmill_own_queue{queue="emails",weight="light"} 1.0' in numbers


def test_a_name_of_feedmill_s_own_queues_is_no_own_queue(
    api: Api, emails: Queue, redis_client: RedisConnection
) -> None:
    registry = QueueRegistry(redis_client, prefix="bull", clock=api.clock)
    registry.register([QueueRecord("items", "heavy")])
    names = [shown["name"] for shown in api.client.get("/queues").json()["items"]]
    assert names.count("items") == 1
    assert api.client.get("/queues/items").json()["weight"] is None


@pytest.fixture
def letters(api: Api, emails: Queue, redis_client: RedisConnection) -> Queue:
    """A queue that holds the dead letters of two emails."""
    registry = QueueRegistry(redis_client, prefix="bull", clock=api.clock)
    registry.register([QueueRecord("letters", DEAD_LETTERS)])
    api.clock.advance(seconds=2)
    letters = Queue("letters", redis_client, clock=api.clock)

    def send(job: Job[Any]) -> None:
        raise UnrecoverableError(f"{job.data['to']} is blocked")

    worker = Worker(emails, send, dead_letter=letters)
    for to in ("ann", "bob"):
        emails.add("send", {"to": to})
        assert worker.step()
    return letters


def test_dead_letters_are_replayed_by_their_reason_or_all(
    api: Api, emails: Queue, letters: Queue
) -> None:
    answer = api.client.post("/queues/letters/replay", json={"reason": "ann is"})
    assert (answer.status_code, answer.json()) == (200, {"replayed": 1})
    assert [job.data for job in emails.get_waiting()] == [{"to": "ann"}]
    assert api.client.post("/queues/letters/replay", json={}).json() == {"replayed": 1}
    assert (emails.count(), letters.count()) == (2, 0)


def test_dead_letters_are_replayed_by_the_dashboard(
    api: Api, emails: Queue, letters: Queue
) -> None:
    page = api.show_page("/admin/queues")
    assert 'action="/admin/queues/letters/replay"' in page
    assert 'href="/admin/queues/letters?state=waiting"' in page
    assert "Replaying 2 dead letters." in api.send_form("/admin/queues/letters/replay")
    assert emails.count() == 2
    assert 'action="/admin/queues/letters/replay"' not in api.show_page("/admin/queues")


@pytest.mark.parametrize("name", ["items", "items_dlq", "feed_fetch_queue"])
def test_feedmill_s_own_queues_are_not_replayed_so(api: Api, letters: Queue, name: str) -> None:
    answer = api.client.post(f"/queues/{name}/replay", json={})
    assert answer.status_code == 409
    assert "POST /dlq/replay" in answer.json()["detail"]
