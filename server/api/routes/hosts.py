"""Hosts that asked to be left alone with Retry-After."""

from fastapi import APIRouter

from server.api.answers import HostAnswer, Listing
from server.api.parts import Parts
from server.api.problems import describe_problems
from server.feeds.retry_after import RetryAfter
from shared.models import format_time

router = APIRouter(tags=["feeds"])


@router.get("/hosts", responses=describe_problems())
def list_hosts(parts: Parts) -> Listing[HostAnswer]:
    """List the hosts that are not asked now, the longest first; at most 500, so no cursor."""
    pauses = RetryAfter(parts.services.stores, parts.services.clock).list_pauses()
    items = [
        HostAnswer(host=each.host, retry_after_until=format_time(each.until), feeds=each.feeds)
        for each in pauses
    ]
    return Listing(items=items, next_cursor=None)


@router.delete("/hosts/{host}", status_code=204, responses=describe_problems(404))
def lift_host(parts: Parts, host: str) -> None:
    """Let a host be asked again; its feeds that waited for it are due at once."""
    RetryAfter(parts.services.stores, parts.services.clock).lift(host)
