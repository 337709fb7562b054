"""Our half of test_mixed_workers.py: works a queue until killed. Every tenth job fails once."""

import sys
import time
from typing import Any

from feedmill import Job, Worker


def work(job: Job[Any]) -> object:
    """Take as long as Node's half."""
    time.sleep(0.02)
    if job.data % 10 == 0 and job.attempts_made == 0:
        raise OSError("the first time")
    return {"worked": job.data, "by": "python"}


if __name__ == "__main__":
    _, url, name = sys.argv
    Worker(
        name,
        work,
        url,
        concurrency=10,
        lock_duration=1_000,
        stalled_interval=200,
        max_stalled_count=1_000_000,
    ).run()
