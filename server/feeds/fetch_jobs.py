"""Fetch jobs: one at a time for each feed, and what all of them are added with."""

from collections import Counter
from collections.abc import Callable, Iterable

from shared.queue import ClaimedJob, NewJob, backoff_delay_ms
from shared.store import Import
from shared.urls import host_of

HEAVY_WEIGHT = "heavy"
FETCH_JOB_NAME = "fetch"
FETCH_ATTEMPTS = 3
FETCH_BACKOFF_MS = 1000
# From 1 s to 64 s: soon again after a short outage, and no hurry in a long one.
_MOST_DOUBLINGS = 6


def fetch_job_id(source: str) -> str:
    """Return the id of a feed's fetch job: one at a time for each feed."""
    return f"feed#{source}"


def fetch_job(
    source: str, import_id: str, *, keep_completed: int = 100, keep_failed: int = 500
) -> NewJob:
    """Return the fetch job of an import; ``keep_…`` say how many ended jobs the queue keeps."""
    return NewJob(
        id=fetch_job_id(source),
        name=FETCH_JOB_NAME,
        data={"source": source, "import_id": import_id},
        attempts=FETCH_ATTEMPTS,
        backoff_ms=FETCH_BACKOFF_MS,
        keep_completed=keep_completed,
        keep_failed=keep_failed,
    )


def outage_delay_ms(job: ClaimedJob, draw: Callable[[], float]) -> int:
    """Return in how many ms a job that an outage interrupted is to run again.

    Longer after each run that used no attempt. ``draw`` spreads the jobs (0 to 1): all of them meet
    the outage together.
    """
    free_runs = max(job.attempts_started - job.attempts_made, 1)
    backoff = {"type": "exponential", "delay": FETCH_BACKOFF_MS, "jitter": 0.5}
    return backoff_delay_ms(backoff, min(free_runs, _MOST_DOUBLINGS + 1), draw=draw)


def alternate_hosts(imports: Iterable[Import]) -> list[Import]:
    """Return imports in an order in which hosts take turns: the first of each, the second …

    Jobs of one host in a row would all be put off but for the first few.
    """
    met: Counter[str] = Counter()

    def turn(queued: Import) -> int:
        host = host_of(queued.urls[0]) if queued.urls else ""
        met[host] += 1
        return met[host]

    return sorted(imports, key=turn)
