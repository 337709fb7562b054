"""Queues and their jobs: what waits, failed and holds up; pause, resume, clean, remove."""

from typing import Annotated, Any

from fastapi import Form, Query, Request
from starlette.responses import Response

from server.api.parts import ApiParts, Parts
from server.api.queue_status import QueueAnswer
from server.api.routes import queues as api
from server.api.routes.queues import CleanRequest, JobDetailAnswer, JobQuery, JobReplayRequest
from server.dashboard.filters import quote_segment
from server.dashboard.rendering import redirect, render
from server.dashboard.site import page_router
from shared.queue import JobState
from shared.queue.registry import DEAD_LETTERS, QueueRecord

router = page_router()

LIST_PATH = "/admin/queues"
# Apart from the queues' own paths: a queue may have any name.
LIVE_PATH = "/admin/live/queues"
BUSY_S, CALM_S = 2, 5
# What is looked at first, as long as there is any.
_FIRST_SHOWN = (
    JobState.WAITING,
    JobState.ACTIVE,
    JobState.FAILED,
    JobState.DELAYED,
    JobState.PRIORITIZED,
    JobState.COMPLETED,
    JobState.WAITING_CHILDREN,
)
_CLEANABLE = frozenset(
    {
        JobState.WAITING,
        JobState.PRIORITIZED,
        JobState.DELAYED,
        JobState.COMPLETED,
        JobState.FAILED,
    }
)


@router.get(LIST_PATH)
def show_queues(request: Request, parts: Parts) -> Response:
    """Show all queues."""
    return render(request, "queues/list.html", **_show_all(parts))


@router.get(LIVE_PATH)
def show_live_queues(request: Request, parts: Parts) -> Response:
    """Show all queues again."""
    return render(request, "queues/_queues.html", **_show_all(parts))


@router.get(f"{LIVE_PATH}/{{name}}")
def show_live_queue(request: Request, parts: Parts, name: str) -> Response:
    """Show one queue again."""
    return render(request, "queues/_queue.html", **_show_one(parts, name))


@router.get(f"{LIST_PATH}/{{name}}")
def show_queue(
    request: Request, parts: Parts, name: str, query: Annotated[JobQuery, Query()]
) -> Response:
    """Show one queue and its jobs, of one state at a time."""
    shown = _show_one(parts, name)
    state = query.state or _choose_state(shown["queue"])
    listing = api.list_jobs(parts, name, query.model_copy(update={"state": state}))
    return render(
        request,
        "queues/queue.html",
        listing=listing,
        state=state,
        states=list(JobState),
        is_cleanable=state in _CLEANABLE,
        is_remembered=name in _item_queues(parts),
        **shown,
    )


@router.get(f"{LIST_PATH}/{{name}}/jobs/{{job_id:path}}")
def show_job(
    request: Request, parts: Parts, name: str, job_id: str, whole: bool = False
) -> Response:
    """Show one job whole: data, options, errors, log."""
    job = api.get_job(parts, name, job_id)
    return render(
        request,
        "queues/job.html",
        queue_name=name,
        here=f"{_path(name)}/jobs/{quote_segment(job_id)}",
        job=job,
        import_id=_import_of(job),
        is_whole=whole,
        is_dead_letter=name == parts.services.dead_letter_queue.name,
        is_remembered=name in _item_queues(parts),
    )


@router.post(f"{LIST_PATH}/{{name}}/pause")
def pause_queue(request: Request, parts: Parts, name: str) -> Response:
    """Let no more jobs be started."""
    api.pause_queue(parts, name)
    text = f"Queue {name} is paused. Running jobs are finished, no new ones start."
    return redirect(request, _path(name), text)


@router.post(f"{LIST_PATH}/{{name}}/resume")
def resume_queue(request: Request, parts: Parts, name: str) -> Response:
    """Let jobs be started again."""
    api.resume_queue(parts, name)
    return redirect(request, _path(name), f"Queue {name} is resumed.")


@router.post(f"{LIST_PATH}/{{name}}/clean")
def clean_queue(
    request: Request,
    parts: Parts,
    name: str,
    state: Annotated[str, Form()],
    grace_ms: Annotated[int, Form()] = 0,
) -> Response:
    """Remove the jobs of a state."""
    wanted = CleanRequest.model_validate({"state": state, "grace_ms": grace_ms})
    removed = api.clean_queue(parts, name, wanted).removed
    text = f"{removed} {state} job{'' if removed == 1 else 's'} removed."
    return redirect(request, f"{_path(name)}?state={state}", text)


@router.post(f"{LIST_PATH}/{{name}}/replay")
def replay_dead_letters(request: Request, parts: Parts, name: str) -> Response:
    """Put all dead letters of a queue back to where they came from."""
    replayed = api.replay_jobs(parts, name, JobReplayRequest.model_validate({})).replayed
    text = f"Replaying {replayed} dead letter{'' if replayed == 1 else 's'}."
    return redirect(request, _path(name), text)


@router.post(f"{LIST_PATH}/{{name}}/remove")
def remove_job(
    request: Request, parts: Parts, name: str, id: str, state: JobState | None = None
) -> Response:
    """Remove one job. Its id is in the URL: a form would change line ends in it."""
    api.remove_job(parts, name, id)
    query = f"?state={state}" if state is not None else ""
    return redirect(request, f"{_path(name)}{query}", f"Job {id[:80]} removed.")


def _show_all(parts: ApiParts) -> dict[str, Any]:
    queues = parts.queue_status.show_all()
    every_s = BUSY_S if any(queue.is_moving for queue in queues) else CALM_S
    return {
        "queues": queues,
        "live_path": LIVE_PATH,
        "every_s": every_s,
        "purposes": _purposes(parts),
        "dead_letters": parts.services.dead_letter_queue.name,
    }


def _show_one(parts: ApiParts, name: str) -> dict[str, Any]:
    queue = api.get_queue(parts, name)
    return {
        "queue": queue,
        "live_path": f"{LIVE_PATH}/{quote_segment(name)}",
        "every_s": BUSY_S if queue.is_moving else CALM_S,
        "purposes": _purposes(parts),
        "dead_letters": parts.services.dead_letter_queue.name,
    }


def _purposes(parts: ApiParts) -> dict[str, str]:
    services = parts.services
    own = services.own_queues.read().values()
    heavy_items = services.settings.heavy_items
    return {
        **{each.record.name: _describe_own(each.record) for each in own},
        services.light_queue.name: "Items to be stored in MongoDB",
        services.heavy_queue.name: f"Items of large imports, of more than {heavy_items:,} items",
        services.fetch_queue.name: "Feeds to fetch",
        services.dead_letter_queue.name: "Items that could not be stored",
    }


def _describe_own(record: QueueRecord) -> str:
    if record.weight == DEAD_LETTERS:
        return "Own queue: dead letters"
    return f"Own queue: {record.weight} jobs"


def _item_queues(parts: ApiParts) -> set[str]:
    return {parts.services.light_queue.name, parts.services.heavy_queue.name}


def _choose_state(queue: QueueAnswer) -> JobState:
    return next((state for state in _FIRST_SHOWN if queue.counts[state]), JobState.WAITING)


def _import_of(job: JobDetailAnswer) -> str | None:
    """Return the import that a job names; a foreign producer may name anything."""
    import_id = job.data.get("import_id") if isinstance(job.data, dict) else None
    return import_id if isinstance(import_id, str) and import_id.isalnum() else None


def _path(name: str) -> str:
    return f"{LIST_PATH}/{quote_segment(name)}"
