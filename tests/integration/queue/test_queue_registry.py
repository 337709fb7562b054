"""The register of programs' own queues, on a real Valkey."""

import orjson
import pytest

from shared.queue import NewJob, RateLimit, RedisConnection
from shared.queue.job_queue import JobQueue
from shared.queue.registry import QueueRecord, QueueRegistry
from tests.fakes import FakeClock

EMAILS = QueueRecord("emails", "light", RateLimit(100, 1000), ("weekly",))
VIDEOS = QueueRecord("videos", "heavy")
KEY = "bull:own:queues"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(redis_client: RedisConnection, clock: FakeClock) -> QueueRegistry:
    return QueueRegistry(redis_client, prefix="bull", clock=clock)


def test_queues_are_read_by_name_as_they_were_registered_last(registry: QueueRegistry) -> None:
    assert registry.read() == []
    registry.register([])
    registry.register([VIDEOS, QueueRecord("emails", "medium")])
    registry.register([EMAILS])
    assert registry.read() == [EMAILS, VIDEOS]


def test_a_queue_that_nobody_works_any_more_is_forgotten_once_it_is_empty(
    registry: QueueRegistry, redis_client: RedisConnection, clock: FakeClock
) -> None:
    registry.register([EMAILS, VIDEOS])
    videos = JobQueue(redis_client, "videos", clock=clock)
    videos.add_many([NewJob(id="a", name="render", data={})])
    clock.advance(days=8)
    assert registry.read() == [VIDEOS]
    assert redis_client.hkeys(KEY) == [b"videos"]
    videos.remove_many(["a"])
    assert registry.read() == []


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("emails", b"no json"),
        ("emails", b"[]"),
        ("emails", orjson.dumps({"weight": "light", "limit": [1], "at": 2**50})),
        ("emails", orjson.dumps({"weight": "light", "limit": None, "at": "now"})),
        ("emails", orjson.dumps({"weight": "x", "limit": None, "schedules": 1, "at": 2**50})),
        ("emails", orjson.dumps({"weight": 3, "limit": None, "at": 2**50})),
        ("emails", orjson.dumps({"weight": "x\ny", "limit": None, "at": 2**50})),
        ("a:b", orjson.dumps({"weight": "light", "limit": None, "at": 2**50})),
        (b"\xff", orjson.dumps({"weight": "light", "limit": None, "at": 2**50})),
    ],
)
def test_what_cannot_be_read_is_left_out(
    registry: QueueRegistry, redis_client: RedisConnection, name: str | bytes, written: bytes
) -> None:
    registry.register([VIDEOS])
    redis_client.hset(KEY, name, written)
    assert registry.read() == [VIDEOS]
