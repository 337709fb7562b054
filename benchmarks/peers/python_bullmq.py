"""BullMQ in Python: addBulk of 1,000 jobs a call, one worker with 100 empty handlers at a time."""

import asyncio
import json
import sys
import time
from typing import Any

import redis.asyncio
from bullmq import Queue, Worker

AT_ONCE = 1_000
CONCURRENCY = 100


async def measure(url: str, count: int) -> dict[str, float]:
    """Add and drain so many jobs; return both rates a second."""
    client = redis.asyncio.Redis.from_url(url)
    await client.flushdb()
    queue = Queue("bench", {"connection": url})
    add_s = await _add(queue, count)
    drain_s = await work(url, count, CONCURRENCY)
    await client.flushdb()
    return {"add": count / add_s, "drain": count / drain_s}


async def _add(queue: Queue, count: int) -> float:
    options = {"attempts": 3, "removeOnComplete": True}
    jobs = [
        {
            "name": "item",
            "data": {"source": "board", "guid": str(number), "summary": "x" * 560},
            "opts": {"jobId": f"board#{number}", **options},
        }
        for number in range(count)
    ]
    started_s = time.perf_counter()
    for start in range(0, count, AT_ONCE):
        await queue.addBulk(jobs[start : start + AT_ONCE])
    return time.perf_counter() - started_s


async def work(url: str, count: int, concurrency: int) -> float:
    """Run so many jobs by one worker with empty handlers; return the seconds it took."""
    is_drained = asyncio.Event()
    left = count

    async def handle(job: Any, token: str) -> None:
        """Do nothing."""

    def note(job: Any, result: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            is_drained.set()

    started_s = time.perf_counter()
    worker = Worker("bench", handle, {"connection": url, "concurrency": concurrency})
    worker.on("completed", note)
    await is_drained.wait()
    drain_s = time.perf_counter() - started_s
    await worker.close(True)
    return drain_s


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2])))), flush=True)
