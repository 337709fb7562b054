"""Fetch jobs: one at a time for each feed, and what all of them are added with."""

from collections import Counter
from collections.abc import Iterable

from shared.queue import NewJob
from shared.store import Import
from shared.urls import host_of

HEAVY_WEIGHT = "heavy"
FETCH_JOB_NAME = "fetch"
FETCH_ATTEMPTS = 3
FETCH_BACKOFF_MS = 1000


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
