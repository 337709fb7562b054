"""Windowed feeds read again from an earlier position, and back-fills."""

from fastapi import Depends

from server.api.parts import Parts, count_start
from server.api.problems import describe_problems
from server.api.routing import api_router
from server.api.values import Listing, show_value
from server.api.window_bodies import (
    BackFillAnswer,
    BackFillRequest,
    RollbackAnswer,
    RollbackRequest,
)

router = api_router("windows")
_STARTS_WORK = [Depends(count_start)]


@router.post(
    "/feeds/{source}/rollback",
    responses=describe_problems(404, 413, 415, 429),
    dependencies=_STARTS_WORK,
)
def roll_back(parts: Parts, source: str, wanted: RollbackRequest) -> RollbackAnswer:
    """Read a windowed feed again from `to` on, in a new epoch.

    Answers when nothing of an earlier epoch can be stored any more. 503: earlier jobs still run;
    send the same request again to continue. `cursor` is before `to` when earlier intervals were
    still open. Stored items stay.
    """
    rolled_back = parts.services.rollbacks.roll_back(source, wanted.to)
    return RollbackAnswer(epoch=rolled_back.epoch, cursor=show_value(rolled_back.cursor))


@router.post(
    "/feeds/{source}/backfill",
    status_code=202,
    responses=describe_problems(404, 409, 413, 415, 429),
    dependencies=_STARTS_WORK,
)
def start_backfill(parts: Parts, source: str, wanted: BackFillRequest) -> BackFillAnswer:
    """Import a feed's past: by the intervals of its window, or by its pages back to `from`.

    Uses the heavy queue at its own rate (BACKFILL_RATE_LIMIT); the feed's schedule goes on.
    409: a back-fill of this feed is running.
    """
    return BackFillAnswer.of(parts.services.backfills.start(source, wanted.from_, wanted.to))


@router.get("/feeds/{source}/backfill", responses=describe_problems(404))
def get_backfill(parts: Parts, source: str) -> BackFillAnswer:
    """Return a feed's back-fill: the running one, else the last."""
    return BackFillAnswer.of(parts.services.backfills.get(source))


@router.post("/feeds/{source}/backfill/pause", responses=describe_problems(404, 409, 413, 415))
def pause_backfill(parts: Parts, source: str) -> BackFillAnswer:
    """Pause a back-fill: no further intervals are started. Safe to repeat."""
    return BackFillAnswer.of(parts.services.backfills.pause(source))


@router.post("/feeds/{source}/backfill/resume", responses=describe_problems(404, 409, 413, 415))
def resume_backfill(parts: Parts, source: str) -> BackFillAnswer:
    """Resume a paused back-fill. Safe to repeat."""
    return BackFillAnswer.of(parts.services.backfills.resume(source))


@router.delete("/feeds/{source}/backfill", responses=describe_problems(404, 409))
def cancel_backfill(parts: Parts, source: str) -> BackFillAnswer:
    """Cancel a back-fill for good; open intervals fail, stored items stay."""
    return BackFillAnswer.of(parts.services.backfills.cancel(source))


@router.get("/backfills", responses=describe_problems())
def list_backfills(parts: Parts) -> Listing[BackFillAnswer]:
    """List running and paused back-fills by source; all of them, so no cursor."""
    running = parts.services.backfills.list_running()
    return Listing(items=[BackFillAnswer.of(each) for each in running], next_cursor=None)
