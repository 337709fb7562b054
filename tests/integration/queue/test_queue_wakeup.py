"""Waiting for work: woken by the marker, in time for what is delayed."""

import threading
import time

import pytest

from shared.clock import SystemClock
from shared.errors import QueueUnavailable
from shared.queue import JobQueue, RedisConnection, Retry, connect, disconnect, wait_for_work
from shared.queue.keys import worker_connection_name
from tests.queue_states import claim, make_job, seed_active, seed_waiting
from tests.servers import find_free_port


@pytest.fixture
def queue(redis_client: RedisConnection) -> JobQueue:
    return JobQueue(redis_client, "items", clock=SystemClock())


def test_waiting_jobs_are_told_at_once_and_once(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    assert wait_for_work(queue.client, [queue], 5.0)
    assert not wait_for_work(queue.client, [queue], 0.02)


def test_a_claim_wakes_the_next_worker(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    wait_for_work(queue.client, [queue], 5.0)
    claim(queue, limit=1)
    assert wait_for_work(queue.client, [queue], 5.0)


def test_any_of_several_queues_wakes(queue: JobQueue) -> None:
    other = JobQueue(queue.client, "other", clock=SystemClock())
    adding = threading.Timer(0.05, lambda: seed_waiting(other, "a#1"))
    adding.start()
    assert wait_for_work(queue.client, [queue, other], 5.0)
    adding.join()


def test_who_waits_is_listed_as_a_worker_of_each_queue(queue: JobQueue) -> None:
    queues = [JobQueue(queue.client, name, clock=SystemClock()) for name in ("a", "b", "c")]
    assert not wait_for_work(queue.client, queues, 0.01)
    names = {client["name"] for client in queue.client.client_list()}
    assert {worker_connection_name(queue.prefix, each.name) for each in queues} <= names


def test_disconnecting_ends_the_connections_that_waited_too(valkey_url: str) -> None:
    client = connect(valkey_url, client_name="goes")
    waiting = JobQueue(client, "goes", clock=SystemClock())
    client.ping()
    wait_for_work(client, [waiting], 0.01)
    disconnect(client)
    with connect(valkey_url) as other:
        names = {each["name"] for each in other.client_list()}
    assert names.isdisjoint({"goes", worker_connection_name(waiting.prefix, "goes")})


def test_a_paused_queue_wakes_nobody_until_it_is_resumed(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.pause()
    assert not wait_for_work(queue.client, [queue], 0.02)
    queue.resume()
    assert wait_for_work(queue.client, [queue], 5.0)


def test_a_delayed_job_wakes_when_it_is_due(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.client.delete(queue.keys.marker)
    queue.retry_many([Retry("a#1", "t1", "boom", "", 150)])
    began_s = time.monotonic()
    assert wait_for_work(queue.client, [queue], 5.0)
    assert 0.1 < time.monotonic() - began_s < 2.0
    assert [job.id for job in claim(queue, "t2").jobs] == ["a#1"]


def test_a_new_job_wakes_who_waits_for_a_delayed_one(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.client.delete(queue.keys.marker)
    queue.retry_many([Retry("a#1", "t1", "boom", "", 60_000)])
    adding = threading.Timer(0.05, lambda: queue.add_many([make_job("a#2")]))
    adding.start()
    assert wait_for_work(queue.client, [queue], 5.0)
    adding.join()


def test_waiting_on_a_dead_redis_says_so() -> None:
    client = connect(f"redis://127.0.0.1:{find_free_port()}/0")
    with pytest.raises(QueueUnavailable):
        wait_for_work(client, [JobQueue(client, "items", clock=SystemClock())], 1.0)
    disconnect(client)
