"""Queues, their jobs in pages, and the workers that take them."""

import base64
import binascii
from typing import Annotated, Any, Literal

import orjson
from fastapi import Query
from pydantic import BaseModel, Field

from server.api.parts import Parts
from server.api.problems import describe_problems
from server.api.queue_status import QueueAnswer
from server.api.routing import api_router
from server.api.values import (
    MAX_YEAR_S,
    Filter,
    Listing,
    ListQuery,
    RequestBody,
    Time,
    printable,
    show_json,
    show_text,
)
from shared.clock import datetime_from_ms
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.models import format_time
from shared.queue import JobQueue, JobState, JobView, WorkerSign, holder_of
from shared.queue.dead_letters import replay
from shared.queue.getters import read_logs

router = api_router("queues")

_MAX_OFFSET = 2**40
_MAX_LOG_LINES = 200


class JobQuery(ListQuery):
    """Which jobs."""

    state: Filter[JobState] = Field(None, description="jobs in this state")


class CleanRequest(RequestBody):
    """Which jobs to remove from a queue."""

    state: Literal["waiting", "prioritized", "delayed", "completed", "failed"]
    grace_ms: int = Field(
        0, ge=0, le=10 * MAX_YEAR_S * 1000, description="only jobs older than this, milliseconds"
    )


class JobAnswer(BaseModel):
    """A job; `data`, `opts` and `result` are text where they are no JSON."""

    id: str
    name: str
    state: JobState
    data: Any
    opts: Any
    revision: int | None
    added_at: Time | None
    processed_at: Time | None
    finished_at: Time | None
    attempts_made: int
    stalled_count: int
    failed_reason: str | None
    stacktrace: list[str]
    result: Any


class JobDetailAnswer(JobAnswer):
    """A job with what its handlers logged."""

    logs: list[str] = Field(description="the last 200 lines, as Node's `job.log` keeps them")


class JobReplayRequest(RequestBody):
    """Which dead letters to replay; all by default."""

    ids: list[str] | None = Field(None, min_length=1, max_length=1000)
    reason: Filter[str] = Field(None, description="dead letters whose reason contains this text")


class JobReplayAnswer(BaseModel):
    """How many jobs are back in their queues."""

    replayed: int


class CleanAnswer(BaseModel):
    """How many jobs were removed."""

    removed: int


class WorkerAnswer(BaseModel):
    """A worker that reported within the last 10 s."""

    id: str
    queues: list[str] = Field(description="queues whose jobs it runs")
    held_jobs: int = Field(description="claimed and not settled")
    up_s: float = Field(description="uptime, seconds")
    breaker_reason: str | None = Field(
        description="why it claims no jobs: MongoDB cannot store; null when it can"
    )
    breaker_open_s: float
    failing_threads: list[str] = Field(
        description="failing threads, with how often in a row and the error"
    )


@router.get("/queues", responses=describe_problems())
def list_queues(parts: Parts) -> Listing[QueueAnswer]:
    """List all queues; they fit on one page."""
    return Listing(items=parts.queue_status.show_all(), next_cursor=None)


@router.get("/queues/{name}", responses=describe_problems(404))
def get_queue(parts: Parts, name: str) -> QueueAnswer:
    """Return one queue."""
    return parts.queue_status.show(parts.get_queue(name))


@router.get("/queues/{name}/jobs", responses=describe_problems(404))
def list_jobs(parts: Parts, name: str, query: Annotated[JobQuery, Query()]) -> Listing[JobAnswer]:
    """List the jobs of one state, or of all states one after the other.

    Newest first; delayed jobs with the one first that is due first. With several priorities, and
    over partitions, that holds within each page.
    """
    states = [query.state] if query.state is not None else list(JobState)
    start = _decode(query.cursor, states) if query.cursor is not None else (0, 0)
    return _read_page(parts.get_queue(name), states, start, query.limit)


@router.get("/queues/{name}/jobs/{job_id:path}", responses=describe_problems(404))
def get_job(parts: Parts, name: str, job_id: str) -> JobDetailAnswer:
    """Return one job, with its last log lines."""
    queue = parts.get_queue(name)
    found = queue.get_job(job_id)
    if found is None:
        raise NotFoundError(f"there is no job {job_id[:80]!r} in queue {name!r}")
    lines, _ = read_logs(holder_of(queue, job_id), job_id, -_MAX_LOG_LINES, -1)
    logs = [show_text(line) for line in lines]
    return JobDetailAnswer(**dict(show_job(found)), logs=logs)


@router.delete(
    "/queues/{name}/jobs/{job_id:path}", status_code=204, responses=describe_problems(404, 409)
)
def remove_job(parts: Parts, name: str, job_id: str) -> None:
    """Remove a job.

    An item's job leaves a removed dead letter, so that the same content is not imported again.
    """
    parts.services.remover.remove_job(parts.get_queue(name), job_id)


@router.post("/queues/{name}/pause", responses=describe_problems(404))
def pause_queue(parts: Parts, name: str) -> QueueAnswer:
    """Pause a queue: no jobs are started until it is resumed."""
    queue = parts.get_queue(name)
    queue.pause()
    return parts.queue_status.show(queue)


@router.post("/queues/{name}/resume", responses=describe_problems(404))
def resume_queue(parts: Parts, name: str) -> QueueAnswer:
    """Resume a paused queue."""
    queue = parts.get_queue(name)
    queue.resume()
    return parts.queue_status.show(queue)


@router.post("/queues/{name}/clean", responses=describe_problems(404, 413, 415))
def clean_queue(parts: Parts, name: str, wanted: CleanRequest) -> CleanAnswer:
    """Remove the jobs of a state that are older than `grace_ms`.

    An item's job leaves a removed dead letter, so that the same content is not imported again.
    """
    queue = parts.get_queue(name)
    removed = parts.services.remover.clean(queue, JobState(wanted.state), wanted.grace_ms)
    return CleanAnswer(removed=removed)


@router.post("/queues/{name}/replay", responses=describe_problems(404, 409, 413, 415))
def replay_jobs(parts: Parts, name: str, wanted: JobReplayRequest) -> JobReplayAnswer:
    """Replay jobs of a dead-letter queue: put them back into the queues that they came from."""
    queue = parts.get_queue(name)
    if name not in parts.services.own_queues.read():
        raise ConflictError(
            f"queue {name!r} holds no dead letters of your own queues; "
            "replay those of items with POST /dlq/replay"
        )
    return JobReplayAnswer(replayed=replay(queue, wanted.ids, reason=wanted.reason))


@router.get("/workers", responses=describe_problems())
def list_workers(parts: Parts) -> Listing[WorkerAnswer]:
    """List the workers that reported within the last 10 s; they fit on one page."""
    return Listing(
        items=[show_worker(sign) for sign in parts.worker_signs.read()], next_cursor=None
    )


def show_job(job: JobView) -> JobAnswer:
    """Return a job, its data decoded where that is possible."""
    return JobAnswer(
        id=job.id,
        name=printable(job.name),
        state=job.state,
        data=show_json(job.data),
        opts=show_json(job.opts),
        revision=job.revision,
        added_at=_show_ms(job.timestamp_ms),
        processed_at=_show_ms(job.processed_ms),
        finished_at=_show_ms(job.finished_ms),
        attempts_made=job.attempts_made,
        stalled_count=job.stalled_count,
        failed_reason=show_text(job.failed_reason) if job.failed_reason is not None else None,
        stacktrace=[show_text(str(trace)) for trace in job.stacktrace],
        result=show_json(job.result),
    )


def show_worker(sign: WorkerSign) -> WorkerAnswer:
    """Return a worker as it last described itself."""
    reason = sign.breaker_reason
    return WorkerAnswer(
        id=printable(sign.worker_id),
        queues=list(sign.queues),
        held_jobs=sign.held_jobs,
        up_s=sign.up_s,
        breaker_reason=show_text(reason) if reason is not None else None,
        breaker_open_s=sign.breaker_open_s,
        failing_threads=[show_text(thread) for thread in sign.failing_threads],
    )


def _read_page(
    queue: JobQueue, states: list[JobState], start: tuple[int, int], limit: int
) -> Listing[JobAnswer]:
    """Return up to ``limit`` jobs, from an offset in one of ``states`` on.

    A queue that moves meanwhile moves the pages.
    """
    place, offset = start
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
        raise InvalidRequestError(
            f"invalid cursor {cursor[:40]!r}: use this list's next_cursor"
        ) from exc


def _show_ms(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    try:
        return format_time(datetime_from_ms(epoch_ms))
    except (OverflowError, ValueError, OSError):
        return None  # a foreign producer may have written any number
