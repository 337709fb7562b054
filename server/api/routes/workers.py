"""The workers that live."""

from fastapi import APIRouter

from server.api.answers import Listing, WorkerAnswer
from server.api.parts import Parts
from server.api.presentation import show_worker
from server.api.problems import describe_problems

router = APIRouter(tags=["workers"])


@router.get("/workers", responses=describe_problems())
def list_workers(parts: Parts) -> Listing[WorkerAnswer]:
    """List the workers that said within the last 10 s that they live; they fit on one page."""
    return Listing(
        items=[show_worker(sign) for sign in parts.worker_signs.read()], next_cursor=None
    )
