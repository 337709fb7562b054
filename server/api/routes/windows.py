"""Windows read again from an earlier position, and back-fills."""

from fastapi import APIRouter, Depends

from server.api.parts import Parts, count_start
from server.api.problems import describe_problems
from server.api.values import Listing, show_value
from server.api.window_bodies import (
    BackFillAnswer,
    BackFillRequest,
    RollbackAnswer,
    RollbackRequest,
)

router = APIRouter(tags=["windows"])
_STARTS_WORK = [Depends(count_start)]


@router.post(
    "/feeds/{source}/rollback",
    responses=describe_problems(404, 413, 415, 429),
    dependencies=_STARTS_WORK,
)
def roll_back(parts: Parts, source: str, wanted: RollbackRequest) -> RollbackAnswer:
    """Read a feed's window again from `to`, in a further epoch.

    Answers once nothing of an earlier epoch can be stored any more. 503: jobs of before are still
    worked on; send the same request again, it goes on. `cursor` lies before `to` when intervals
    before it had not come to their end. Items that were stored stay.
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

    It uses the heavy queue at a rate of its own (BACKFILL_RATE_LIMIT), beside what is read today.
    409: one is under way.
    """
    return BackFillAnswer.of(parts.services.backfills.start(source, wanted.from_, wanted.to))


@router.get("/feeds/{source}/backfill", responses=describe_problems(404))
def get_backfill(parts: Parts, source: str) -> BackFillAnswer:
    """Return a feed's back-fill: the one under way, else the last."""
    return BackFillAnswer.of(parts.services.backfills.get(source))


@router.post("/feeds/{source}/backfill/pause", responses=describe_problems(404, 409, 413, 415))
def pause_backfill(parts: Parts, source: str) -> BackFillAnswer:
    """Take no further intervals until it is resumed. Safe to repeat."""
    return BackFillAnswer.of(parts.services.backfills.pause(source))


@router.post("/feeds/{source}/backfill/resume", responses=describe_problems(404, 409, 413, 415))
def resume_backfill(parts: Parts, source: str) -> BackFillAnswer:
    """Go on after a pause. Safe to repeat."""
    return BackFillAnswer.of(parts.services.backfills.resume(source))


@router.delete("/feeds/{source}/backfill", responses=describe_problems(404, 409))
def cancel_backfill(parts: Parts, source: str) -> BackFillAnswer:
    """End a back-fill for good; what is not committed fails, what is stored stays."""
    return BackFillAnswer.of(parts.services.backfills.cancel(source))


@router.get("/backfills", responses=describe_problems())
def list_backfills(parts: Parts) -> Listing[BackFillAnswer]:
    """List the back-fills that have not ended, by source; all of them, so no cursor."""
    running = parts.services.backfills.list_running()
    return Listing(items=[BackFillAnswer.of(each) for each in running], next_cursor=None)
