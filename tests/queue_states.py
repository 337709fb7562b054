"""Jobs at each stage of their life, and the whole content of a queue to compare."""

from collections.abc import Callable
from typing import Any

from shared.queue import Claim, ClaimedJob, JobQueue, NewJob

LOCK_MS = 30_000


def make_job(job_id: str = "lwn#1", **overrides: Any) -> NewJob:
    """Return a job as an item would be added."""
    fields: dict[str, Any] = {
        "name": "item",
        "data": {"guid": job_id},
        "revision": 1,
        "tally": "import-1",
        "attempts": 3,
        "backoff_ms": 1000,
    }
    return NewJob(id=job_id, **(fields | overrides))


def seed_waiting(queue: JobQueue, *job_ids: str, **overrides: Any) -> None:
    """Add jobs, next to run first."""
    queue.add_many([make_job(job_id, **overrides) for job_id in job_ids])


def claim(queue: JobQueue, token: str = "t1", limit: int = 100, **options: Any) -> Claim:
    """Claim with the values that most tests do not care about."""
    return queue.claim(limit=limit, lock_ms=options.pop("lock_ms", LOCK_MS), token=token, **options)


def seed_active(
    queue: JobQueue, *job_ids: str, token: str = "t1", **overrides: Any
) -> list[ClaimedJob]:
    """Add and claim jobs; they must be all that waits."""
    seed_waiting(queue, *job_ids, **overrides)
    jobs = claim(queue, token, limit=1000).jobs
    assert [job.id for job in jobs] == list(job_ids)
    return jobs


def lose_locks(queue: JobQueue, *job_ids: str) -> None:
    """Let locks run out, as those of a dead worker do."""
    for job_id in job_ids:
        assert queue.client.delete(f"{queue.keys.base}{job_id}:lock") == 1


def seed_stalled(queue: JobQueue, *job_ids: str, token: str = "t1", **overrides: Any) -> None:
    """Add and claim jobs whose worker then dies."""
    seed_active(queue, *job_ids, token=token, **overrides)
    lose_locks(queue, *job_ids)


def job_fields(queue: JobQueue, job_id: str) -> dict[str, str]:
    """Return a job's hash."""
    fields = queue.client.hgetall(queue.keys.job(job_id))
    return {name.decode(): value.decode() for name, value in fields.items()}


def line(queue: JobQueue) -> list[str]:
    """Return the ids that wait, next to run first."""
    return [member.decode() for member in queue.client.lrange(queue.keys.wait, 0, -1)][::-1]


def active(queue: JobQueue) -> list[str]:
    """Return the claimed ids, oldest claim first."""
    return [member.decode() for member in queue.client.lrange(queue.keys.active, 0, -1)][::-1]


def events(queue: JobQueue) -> list[str]:
    """Return the events as ``event jobId``, oldest first."""
    entries = queue.client.xrange(queue.keys.base + "events")
    return [
        f"{fields[b'event'].decode()} {fields.get(b'jobId', b'').decode()}".strip()
        for _, fields in entries
    ]


def is_listened_to(queue: JobQueue) -> bool:
    """Return whether somebody waits for events at this moment."""
    clients: list[dict[str, str]] = queue.client.client_list()
    return any(each["name"].endswith(":qe") and "b" in each["flags"] for each in clients)


def whole_state(queue: JobQueue) -> dict[str, Any]:
    """Return every key of the queue with its content; locks without what is left of them."""
    names = sorted(key for key in queue.client.scan_iter(match=queue.keys.base + "*", count=1000))
    return {key.decode(): _content(queue, key) for key in names}


def _content(queue: JobQueue, key: bytes) -> Any:
    client = queue.client
    readers: dict[bytes, Any] = {
        b"string": client.get,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1, withscores=True),
        b"hash": client.hgetall,
        b"stream": client.xlen,
    }
    return readers[client.type(key)](key)


def scripts_of(queue: JobQueue, act: Callable[[], object]) -> int:
    """Return how many round trips ``act`` made, each of them one script."""
    sent: list[object] = []
    execute = queue.client.execute_command
    queue.client.execute_command = lambda *a, **k: sent.append(a[0]) or execute(*a, **k)  # type: ignore[method-assign, func-returns-value]
    try:
        act()
    finally:
        del queue.client.execute_command
    assert set(sent) <= {"EVALSHA", "EVAL"}
    return len(sent)
