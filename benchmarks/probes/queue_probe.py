"""Runs in the Python of a measured checkout: its queue's own calls, timed.

``python queue_probe.py REDIS_URL ACTION COUNT`` prints one JSON object of figures. The Redis is
emptied first. Started by ``benchmarks.parts.queue``; it knows ``shared.queue`` only.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import count

from shared.clock import SystemClock
from shared.queue import ClaimedJob, Completion, JobQueue, NewJob, connect

ADD_AT_ONCE = 5_000
CLAIM_AT_ONCE = 500
SETTLE_AT_ONCE = 100
SETTLED_JOBS = 1_000
LOCK_MS = 600_000
SOURCE_LIMIT = 10
JOB_BYTES = 620

_tokens = count()


def main() -> None:
    """Do what the command line asks for."""
    url, action, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = connect(url)
    client.flushdb()
    queue = JobQueue(client, "bench", clock=SystemClock())
    print(json.dumps(_ACTIONS[action](queue, jobs)))
    client.flushdb()


def _add_and_drain(queue: JobQueue, jobs: int) -> dict[str, float]:
    made = _make_jobs(jobs)
    add_s, _, _ = _timed(queue, lambda: _add(queue, made))
    drain_s, own_s, redis_s = _timed(queue, lambda: _drain(queue))
    return {
        "add": jobs / add_s,
        "drain": jobs / drain_s,
        "drain.ours": own_s * 10_000 / jobs,
        "drain.redis": redis_s * 10_000 / jobs,
    }


def _settle_oldest(queue: JobQueue, others: int) -> dict[str, float]:
    """Settle the jobs that were claimed first, as it mostly comes about."""
    return _settle(queue, _claim_beside(queue, others)[:SETTLED_JOBS])


def _settle_anywhere(queue: JobQueue, others: int) -> dict[str, float]:
    """Settle batches from all over the active ones, as where workers differ in speed."""
    active = _claim_beside(queue, others)
    apart = len(active) * SETTLE_AT_ONCE // SETTLED_JOBS
    starts = range(0, len(active), apart)
    return _settle(
        queue, [job for start in starts for job in active[start : start + SETTLE_AT_ONCE]]
    )


def _claim_beside(queue: JobQueue, others: int) -> list[ClaimedJob]:
    _add(queue, _make_jobs(others + SETTLED_JOBS))
    return _claim_all(queue)


def _claim_beside_waiting(queue: JobQueue, waiting: int) -> dict[str, float]:
    _add(queue, _make_jobs(waiting + SETTLED_JOBS))
    seconds, _, redis_s = _timed(queue, lambda: _drain(queue, SETTLED_JOBS))
    return {"ms": seconds * 1000, "redis_ms": redis_s * 1000}


def _claim_beside_throttled(queue: JobQueue, throttled: int) -> dict[str, float]:
    """Work jobs of many sources beside those of one that may start no more."""
    try:
        from shared.queue.limits import GroupLimit, limit_groups
    except ImportError:
        return {}
    limit_groups(queue, GroupLimit(SOURCE_LIMIT, LOCK_MS, "source"))
    _add(queue, _make_jobs(throttled + SOURCE_LIMIT))
    _drain(queue, SOURCE_LIMIT)
    _add(queue, _make_jobs(SETTLED_JOBS, sources=SETTLED_JOBS // SOURCE_LIMIT))
    seconds, _, redis_s = _timed(queue, lambda: _drain(queue, SETTLED_JOBS))
    return {"ms": seconds * 1000, "redis_ms": redis_s * 1000}


def _settle(queue: JobQueue, jobs: list[ClaimedJob]) -> dict[str, float]:
    def settle_all() -> None:
        for start in range(0, len(jobs), SETTLE_AT_ONCE):
            _complete(queue, jobs[start : start + SETTLE_AT_ONCE])

    seconds, _, redis_s = _timed(queue, settle_all)
    return {"ms": seconds * 1000, "redis_ms": redis_s * 1000}


def _make_jobs(jobs: int, sources: int = 0) -> list[NewJob]:
    """Return jobs of one source, or of so many others."""
    filler = "x" * (JOB_BYTES - 60)
    names = [f"board-{number}" for number in range(sources)] or ["board"]
    return [
        NewJob(
            id=f"{names[number % len(names)]}#{number}",
            name="item",
            data={"source": names[number % len(names)], "guid": str(number), "summary": filler},
            revision=1,
            attempts=3,
            backoff_ms=1000,
        )
        for number in range(jobs)
    ]


def _add(queue: JobQueue, jobs: list[NewJob]) -> None:
    for start in range(0, len(jobs), ADD_AT_ONCE):
        queue.add_many(jobs[start : start + ADD_AT_ONCE])


def _claim(queue: JobQueue) -> list[ClaimedJob]:
    token = f"bench-{next(_tokens)}"
    return list(queue.claim(limit=CLAIM_AT_ONCE, lock_ms=LOCK_MS, token=token).jobs)


def _claim_all(queue: JobQueue) -> list[ClaimedJob]:
    claimed: list[ClaimedJob] = []
    while jobs := _claim(queue):
        claimed += jobs
    return claimed


def _drain(queue: JobQueue, at_most: int | None = None) -> None:
    drained = 0
    while (at_most is None or drained < at_most) and (jobs := _claim(queue)):
        _complete(queue, jobs)
        drained += len(jobs)


def _complete(queue: JobQueue, jobs: list[ClaimedJob]) -> None:
    queue.complete_many([Completion(job.id, job.token) for job in jobs])


def _timed(queue: JobQueue, act: Callable[[], None]) -> tuple[float, float, float]:
    """Return what an act took in seconds: by the clock, of this process, and in Redis' scripts."""
    before_s, before_cpu_s, before_redis_s = (
        time.perf_counter(),
        time.process_time(),
        _script_s(queue),
    )
    act()
    return (
        time.perf_counter() - before_s,
        time.process_time() - before_cpu_s,
        _script_s(queue) - before_redis_s,
    )


def _script_s(queue: JobQueue) -> float:
    """Return the seconds that Redis has spent in scripts. What they call is in it, once."""
    statistics = queue.client.info("commandstats")
    names = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall")
    return float(sum(statistics.get(name, {}).get("usec", 0) for name in names)) / 1e6


_ACTIONS = {
    "add_and_drain": _add_and_drain,
    "settle_oldest": _settle_oldest,
    "settle_anywhere": _settle_anywhere,
    "claim_beside_waiting": _claim_beside_waiting,
    "claim_beside_throttled": _claim_beside_throttled,
}

if __name__ == "__main__":
    main()
