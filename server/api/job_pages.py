"""Jobs as they are shown: one, or a list cut into pages by place.

A queue that moves meanwhile moves the pages.
"""

import base64
import binascii

import orjson

from server.api.answers import JobAnswer, JobDetailAnswer, Listing
from server.api.presentation import show_job, show_job_detail
from shared.errors import InvalidRequestError, NotFoundError
from shared.queue import JobQueue, JobState

_MAX_OFFSET = 2**40
_MAX_LOG_LINES = 200


def find_job(queue: JobQueue, job_id: str) -> JobDetailAnswer:
    """Return one job.

    Raises:
        NotFoundError: the queue has none of this id.
    """
    found = queue.get_job(job_id)
    if found is None:
        raise NotFoundError(f"there is no job {job_id[:80]!r} in queue {queue.name!r}")
    return show_job_detail(found, queue.read_job_logs(job_id, _MAX_LOG_LINES))


def list_jobs_page(
    queue: JobQueue, state: JobState | None, limit: int, cursor: str | None
) -> Listing[JobAnswer]:
    """Return up to ``limit`` jobs of one state, or of all states one after the other.

    Raises:
        InvalidRequestError: the cursor is not of this list.
    """
    states = [state] if state is not None else list(JobState)
    place, offset = _decode(cursor, states) if cursor is not None else (0, 0)
    found: list[JobAnswer] = []
    while place < len(states):
        wanted = limit - len(found)
        size = queue.counts()[states[place]]
        found += [show_job(job) for job in queue.list_jobs(states[place], offset, wanted)]
        if size > offset + wanted:
            return Listing(items=found, next_cursor=_encode(states[place], offset + wanted))
        place, offset = place + 1, 0
        if len(found) == limit and place < len(states):
            return Listing(items=found, next_cursor=_encode(states[place], 0))
    return Listing(items=found, next_cursor=None)


def _encode(state: JobState, offset: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([state, offset])).decode().rstrip("=")


def _decode(cursor: str, states: list[JobState]) -> tuple[int, int]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        state, offset = orjson.loads(base64.urlsafe_b64decode(padded))
        if not (isinstance(offset, int) and 0 <= offset <= _MAX_OFFSET):
            raise ValueError("not an offset")
        return states.index(JobState(state)), offset
    except (binascii.Error, ValueError, TypeError) as exc:
        raise InvalidRequestError(f"cursor {cursor[:40]!r} was not given out by this list") from exc
