"""Queues and their jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from server.api.answers import CleanAnswer, JobAnswer, JobDetailAnswer, Listing, QueueAnswer
from server.api.job_pages import find_job, list_jobs_page
from server.api.parts import Parts
from server.api.problems import describe_problems
from server.api.request_models import CleanRequest, JobQuery
from shared.queue import JobState

router = APIRouter(prefix="/queues", tags=["queues"])


@router.get("", responses=describe_problems())
def list_queues(parts: Parts) -> Listing[QueueAnswer]:
    """List all queues; they fit on one page."""
    return Listing(items=parts.queue_status.show_all(), next_cursor=None)


@router.get("/{name}", responses=describe_problems(404))
def get_queue(parts: Parts, name: str) -> QueueAnswer:
    """Return one queue."""
    return parts.queue_status.show(parts.get_queue(name))


@router.get("/{name}/jobs", responses=describe_problems(404))
def list_jobs(parts: Parts, name: str, query: Annotated[JobQuery, Query()]) -> Listing[JobAnswer]:
    """List the jobs of a state, or of one state after the other."""
    return list_jobs_page(parts.get_queue(name), query.state, query.limit, query.cursor)


@router.get("/{name}/jobs/{job_id:path}", responses=describe_problems(404))
def get_job(parts: Parts, name: str, job_id: str) -> JobDetailAnswer:
    """Return one job, with its last log lines."""
    return find_job(parts.get_queue(name), job_id)


@router.delete("/{name}/jobs/{job_id:path}", status_code=204, responses=describe_problems(404, 409))
def remove_job(parts: Parts, name: str, job_id: str) -> None:
    """Remove a job; an item's is remembered, so that the same content stays away."""
    parts.services.remover.remove_job(parts.get_queue(name), job_id)


@router.post("/{name}/pause", responses=describe_problems(404))
def pause_queue(parts: Parts, name: str) -> QueueAnswer:
    """Let no more jobs be started, until it is resumed."""
    queue = parts.get_queue(name)
    queue.pause()
    return parts.queue_status.show(queue)


@router.post("/{name}/resume", responses=describe_problems(404))
def resume_queue(parts: Parts, name: str) -> QueueAnswer:
    """Let jobs be started again."""
    queue = parts.get_queue(name)
    queue.resume()
    return parts.queue_status.show(queue)


@router.post("/{name}/clean", responses=describe_problems(404, 413, 415))
def clean_queue(parts: Parts, name: str, wanted: CleanRequest) -> CleanAnswer:
    """Remove the jobs of a state that are older than `grace_ms`; items' are remembered."""
    queue = parts.get_queue(name)
    removed = parts.services.remover.clean(queue, JobState(wanted.state), wanted.grace_ms)
    return CleanAnswer(removed=removed)
