"""BullMQ in Python, by kinds of jobs: addBulk of 1,000 a call, one worker with 50 handlers.

One kind a call, for not each of them ends each time with version 3.4.4.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import redis.asyncio
from bullmq import FlowProducer, Queue
from python_bullmq import work

AT_ONCE = 1_000
CONCURRENCY = 50
CHILDREN = 9
PRIORITIES = 10
JOBS_A_SCHEDULER = 10
TOGETHER = 100
GONE = {"removeOnComplete": True}

Opts = Callable[[int], Mapping[str, object]]


async def measure(url: str, jobs: int, kind: str) -> dict[str, float]:
    """Add and work a kind; return both rates a second, or nothing where it has no such kind."""
    client = redis.asyncio.Redis.from_url(url)
    queue = Queue("bench", {"connection": url})
    kinds: dict[str, Callable[[], Awaitable[int]]] = {
        "plain": lambda: _add_bulk(queue, jobs, lambda number: {}),
        "priorities": lambda: _add_bulk(
            queue, jobs, lambda number: {"priority": number % PRIORITIES + 1}
        ),
        "delayed": lambda: _add_bulk(queue, jobs, lambda number: {"delay": 1}),
        "flows": lambda: _add_flows(url, jobs),
    }
    if hasattr(queue, "upsertJobScheduler"):
        kinds["schedulers"] = lambda: _add_schedulers(queue, jobs)
    if kind not in kinds:
        return {}
    await client.flushdb()
    started_s = time.perf_counter()
    added = await kinds[kind]()
    add_s = time.perf_counter() - started_s
    work_s = await work(url, added, CONCURRENCY)
    await client.flushdb()
    return {f"{kind}.add": added / add_s, f"{kind}.work": added / work_s}


async def _add_bulk(queue: Queue, jobs: int, opts: Opts) -> int:
    entries = [
        {"name": "n", "data": {"n": number}, "opts": {**GONE, **opts(number)}}
        for number in range(jobs)
    ]
    for start in range(0, jobs, AT_ONCE):
        await queue.addBulk(entries[start : start + AT_ONCE])
    return jobs


async def _add_flows(url: str, jobs: int) -> int:
    producer = FlowProducer(url)
    flows = max(jobs // (CHILDREN + 1), 1)
    for start in range(0, flows, TOGETHER):
        await producer.addBulk([_tree() for _ in range(min(TOGETHER, flows - start))])
    return flows * (CHILDREN + 1)


def _tree() -> dict[str, Any]:
    """Return a flow of its own: it is written to as it is added."""
    return {**_leaf(), "children": [_leaf() for _ in range(CHILDREN)]}


def _leaf() -> dict[str, Any]:
    return {"name": "n", "queueName": "bench", "data": {}, "opts": dict(GONE)}


async def _add_schedulers(queue: Queue, jobs: int) -> int:
    schedulers = max(jobs // JOBS_A_SCHEDULER, 1)
    for start in range(0, schedulers, TOGETHER):
        some = range(start, min(start + TOGETHER, schedulers))
        template = {"name": "n", "opts": GONE}
        await asyncio.gather(
            *(queue.upsertJobScheduler(f"s{n}", {"every": 3_600_000}, template) for n in some)
        )
    return schedulers


url, jobs, kind = sys.argv[1:]
print(json.dumps(asyncio.run(measure(url, int(jobs), kind))), flush=True)
