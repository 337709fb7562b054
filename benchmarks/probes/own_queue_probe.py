"""Runs in the Python of a measured checkout: queues of one's own, by the package ``feedmill``.

``python own_queue_probe.py REDIS_URL JOBS`` prints one JSON object of rates a second. The Redis is
emptied first. Started by ``benchmarks.parts.own``.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from feedmill import Flow, Job, Queue, Worker, connect
from shared.queue import RedisConnection

CONCURRENCY = 50
BATCH = 500
CHILDREN = 9
PRIORITIES = 10
JOBS_A_SCHEDULER = 10
FLOWS_AT_ONCE = 100
GONE = {"remove_on_complete": True}

Add = Callable[[RedisConnection, Queue, int], int]


def main() -> None:
    """Measure each kind of jobs; ``add`` and ``work`` of it are rates of jobs."""
    url, jobs = sys.argv[1], int(sys.argv[2])
    client = connect(url)
    figures: dict[str, float] = {}
    for kind, add in _KINDS.items():
        client.flushdb()
        queue = Queue("bench", client)
        started_s = time.perf_counter()
        added = add(client, queue, jobs)
        figures[f"own.{kind}.add"] = added / (time.perf_counter() - started_s)
        figures[f"own.{kind}.work"] = added / _work(queue, added)
    client.flushdb()
    added = _add_plain(client, queue, jobs)
    figures["own.batches.work"] = added / _work(queue, added, batch=BATCH, concurrency=1)
    print(json.dumps(figures))
    client.flushdb()


def _work(queue: Queue, jobs: int, **options: Any) -> float:
    """Work until so many jobs have run; return how many seconds that took."""
    left, lock, is_done = jobs, threading.Lock(), threading.Event()

    def note(ended: int) -> None:
        nonlocal left
        with lock:
            left -= ended
            if left <= 0:
                is_done.set()

    def handle(given: Job[Any] | list[Job[Any]]) -> None:
        note(len(given) if isinstance(given, list) else 1)

    worker = Worker(queue, handle, **{"concurrency": CONCURRENCY, **options})
    started_s = time.perf_counter()
    worker.start()
    is_done.wait()
    taken_s = time.perf_counter() - started_s
    worker.close()
    return taken_s


def _add_bulk(queue: Queue, jobs: int, opts: Callable[[int], Mapping[str, object]]) -> int:
    queue.add_bulk(
        [
            {"name": "n", "data": {"n": number}, "opts": {**GONE, **opts(number)}}
            for number in range(jobs)
        ]
    )
    return jobs


def _add_plain(client: RedisConnection, queue: Queue, jobs: int) -> int:
    return _add_bulk(queue, jobs, lambda number: {})


def _add_prioritized(client: RedisConnection, queue: Queue, jobs: int) -> int:
    return _add_bulk(queue, jobs, lambda number: {"priority": number % PRIORITIES + 1})


def _add_delayed(client: RedisConnection, queue: Queue, jobs: int) -> int:
    return _add_bulk(queue, jobs, lambda number: {"delay": 1})


def _add_flows(client: RedisConnection, queue: Queue, jobs: int) -> int:
    child = {"name": "n", "queue_name": "bench", "opts": GONE}
    tree = {**child, "children": [child] * CHILDREN}
    flows = max(jobs // (CHILDREN + 1), 1)
    with Flow(client) as producer:
        for start in range(0, flows, FLOWS_AT_ONCE):
            producer.add_bulk([tree] * min(FLOWS_AT_ONCE, flows - start))
    return flows * (CHILDREN + 1)


def _add_schedulers(client: RedisConnection, queue: Queue, jobs: int) -> int:
    schedulers = max(jobs // JOBS_A_SCHEDULER, 1)
    for number in range(schedulers):
        queue.upsert_job_scheduler(f"s{number}", {"every": 3_600_000}, {"name": "n", "opts": GONE})
    return schedulers


_KINDS: Mapping[str, Add] = {
    "plain": _add_plain,
    "priorities": _add_prioritized,
    "delayed": _add_delayed,
    "flows": _add_flows,
    "schedulers": _add_schedulers,
}

if __name__ == "__main__":
    main()
