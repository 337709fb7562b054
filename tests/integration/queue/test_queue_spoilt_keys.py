"""A key of a queue is of another type than it should be: whatever is done then, no job is lost."""

from collections.abc import Callable

import pytest

from feedmill import Queue
from shared.errors import QueueError
from shared.queue import GroupLimit, JobQueue, JobState
from shared.queue.editing import change_priority, promote
from shared.queue.limits import limit_groups
from tests.fakes import FakeClock
from tests.queue_states import claim, lose_locks, seed_active

STATES = ("wait", "active", "prioritized", "delayed", "waiting-children", "completed", "failed")


@pytest.fixture
def queue(queue: JobQueue, clock: FakeClock) -> JobQueue:
    """Jobs that wait, have a priority, are delayed and due, and are claimed, two of each."""
    jobs = Queue(queue.name, queue.client, clock=clock)
    seed_active(queue, "active-0", "active-1")
    for number in range(2):
        jobs.add("x", {"group": "a"}, job_id=f"waits-{number}")
        jobs.add("x", {"group": "a"}, job_id=f"first-{number}", priority=1)
        jobs.add("x", {"group": "b"}, job_id=f"later-{number}", delay=1_000)
    clock.advance(seconds=1)
    return jobs.core


def claim_plainly(queue: JobQueue) -> None:
    claim(queue, "t2", limit=50)


def claim_in_groups(queue: JobQueue) -> None:
    claim(queue, "t2", limit=50)
    claim(queue, "t3", limit=50, reads_whole=True)


def reclaim(queue: JobQueue) -> None:
    lose_locks(queue, "active-0", "active-1")
    queue.reclaim_stalled(max_stalled=1)


def places(queue: JobQueue) -> list[str]:
    """Return the ids in all states, each as often as it stands there."""
    states = list(JobState)
    return sorted(view.id for state in states for view in queue.list_jobs(state, 0, 99))


def spoil(queue: JobQueue, name: str) -> set[str]:
    """Let a key hold a text; return the ids that were there."""
    kind = queue.client.type(queue.keys.base + name)
    read = queue.client.lrange if kind == b"list" else queue.client.zrange
    ids = read(queue.keys.base + name, 0, -1) if kind in (b"list", b"zset") else []
    queue.client.delete(queue.keys.base + name)
    queue.client.set(queue.keys.base + name, "spoilt")
    return {member.decode() for member in ids} if name in STATES else set()


@pytest.mark.parametrize("name", ["wait", "active", "prioritized", "delayed", "own:groups",
                                  "own:line:a", "own:lined"])  # fmt: skip
@pytest.mark.parametrize(
    ("act", "in_groups"),
    [
        (claim_plainly, False),
        (claim_in_groups, True),
        (reclaim, False),
        (lambda queue: queue.promote_due(), False),
        (lambda queue: promote(queue, "later-0"), False),
        (lambda queue: change_priority(queue, "first-0", 0), False),
        (lambda queue: change_priority(queue, "waits-0", 3), False),
    ],
)
def test_no_job_is_lost_or_doubled(
    queue: JobQueue, name: str, act: Callable[[JobQueue], object], in_groups: bool
) -> None:
    if in_groups:
        limit_groups(queue, GroupLimit(1, 60_000, "group"))
    before = places(queue)
    gone = spoil(queue, name)
    try:
        act(queue)
    except QueueError as exc:
        assert "WRONGTYPE" in str(exc)  # noqa: PT017 - some go on, others refuse
    if queue.client.type(queue.keys.base + name) == b"string" and name != "own:lined":
        queue.client.delete(queue.keys.base + name)
    assert [job_id for job_id in places(queue) if job_id not in gone] == [
        job_id for job_id in before if job_id not in gone
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wait", {}),
        ("prioritized", {"priority": 1}),
        ("delayed", {"delay": 5_000}),
    ],
)
def test_what_cannot_be_lined_up_is_not_added(
    queue: JobQueue, clock: FakeClock, name: str, options: dict[str, int]
) -> None:
    jobs = Queue(queue.name, queue.client, clock=clock)
    spoil(queue, name)
    with pytest.raises(QueueError, match="WRONGTYPE"):
        jobs.add("x", job_id="new", **options)
    queue.client.delete(queue.keys.base + name)
    assert jobs.get_job("new") is None
    jobs.add("x", job_id="new", **options)
    assert "new" in places(queue)
