"""Runs in the Python of a measured checkout: puts item jobs into its queue, as any producer may.

``python seed_probe.py REDIS_URL JOBS SOURCES`` prints ``{"added": JOBS}``.
"""

import json
import sys

from shared.clock import SystemClock
from shared.queue import JobQueue, NewJob, connect

QUEUE = "job_import_queue"
ADD_AT_ONCE = 5_000


def main() -> None:
    """Add the jobs that the command line asks for, the sources in turn."""
    url, jobs, sources = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    queue = JobQueue(connect(url), QUEUE, clock=SystemClock())
    for start in range(0, jobs, ADD_AT_ONCE):
        numbers = range(start, min(start + ADD_AT_ONCE, jobs))
        queue.add_many([_make_job(f"board-{number % sources}", number) for number in numbers])
    print(json.dumps({"added": jobs}))


def _make_job(source: str, number: int) -> NewJob:
    data = {"source": source, "guid": str(number), "title": "Engineer", "summary": "." * 500}
    return NewJob(id=f"{source}#{number}", name="item", data=data, attempts=3, backoff_ms=1000)


if __name__ == "__main__":
    main()
