"""A dead letter as a job of the dead-letter queue: what Bull Board and Node programs see of it."""

from datetime import datetime

import orjson

from shared.models import format_time
from shared.queue import NewJob

DEAD_JOB_NAME = "dead"


def dead_job(
    *,
    item_id: str,
    queue: str,
    job_id: str,
    raw_data: str,
    reason: str,
    error_type: str,
    attempts: int,
    failed_at: datetime,
    revision: int,
) -> NewJob:
    """Return the job that stands for a dead item; ``raw_data`` is its data as JSON text."""
    return NewJob(
        id=item_id,
        name=DEAD_JOB_NAME,
        data={
            "queue": queue,
            "job_id": job_id,
            "data": readable_data(raw_data),
            "reason": reason,
            "error_type": error_type,
            "attempts": attempts,
            "failed_at": format_time(failed_at),
        },
        revision=revision,
    )


def readable_data(raw_data: str) -> object:
    """Return a job's data as JSON would show it; as the bare text when it is none."""
    try:
        return orjson.loads(raw_data)
    except (orjson.JSONDecodeError, UnicodeError):
        return encodable(raw_data)


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: what it cannot hold is replaced by ``?``."""
    return text.encode("utf-8", "replace").decode()
