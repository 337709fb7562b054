"""Feeds: adding, changing, removing, and OPML."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from server.api.answers import DiscoveryAnswer, FeedAnswer, Listing
from server.api.parts import Parts, count_start, read_body
from server.api.presentation import show_discovery, show_feed
from server.api.problems import describe_problems
from server.api.request_models import (
    DiscoverRequest,
    FeedChangeRequest,
    FeedQuery,
    NewFeedRequest,
)
from server.feeds.opml import OPML_TYPE, OpmlReport, import_outlines, read_opml, write_opml

router = APIRouter(tags=["feeds"])

_OPML_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": {"type": "string"}}
            for media_type in (OPML_TYPE, "text/xml", "application/xml")
        },
    }
}


@router.get("/feeds", responses=describe_problems(), response_model_exclude_unset=True)
def list_feeds(parts: Parts, query: Annotated[FeedQuery, Query()]) -> Listing[FeedAnswer]:
    """List feeds, latest added first."""
    page = parts.services.stores.feeds.find_page(
        text=query.q,
        enabled=query.enabled,
        failing=query.failing,
        limit=query.limit,
        cursor=query.cursor,
    )
    return Listing(items=[show_feed(feed) for feed in page.items], next_cursor=page.next_cursor)


@router.post(
    "/feeds",
    status_code=201,
    responses=describe_problems(409, 413, 415),
    response_model_exclude_unset=True,
)
def add_feed(parts: Parts, wanted: NewFeedRequest) -> FeedAnswer:
    """Add a feed; it is fetched at once, and then as its schedule says."""
    added = parts.services.feeds.add(
        wanted.all_urls or [],
        source=wanted.source,
        enabled=wanted.enabled is not False,
        cron=wanted.cron,
        interval_s=wanted.choose_interval_s(parts.services.settings.fetch_interval_s),
        headers=wanted.headers,
        weight=wanted.weight,
    )
    return show_feed(added)


@router.get(
    "/feeds.opml",
    responses={
        200: {"description": "OPML", "content": {OPML_TYPE: {"schema": {"type": "string"}}}},
        **describe_problems(),
    },
    response_class=Response,
)
def export_opml(parts: Parts) -> Response:
    """Return all feeds that have a URL as OPML, credentials masked."""
    return Response(write_opml(parts.services.stores.feeds), media_type=OPML_TYPE)


@router.post("/feeds/opml", responses=describe_problems(413), openapi_extra=_OPML_BODY)
def import_opml(parts: Parts, body: Annotated[bytes, Depends(read_body)]) -> OpmlReport:
    """Add the feeds of an OPML document; those that exist already are skipped."""
    services = parts.services
    return import_outlines(read_opml(body), services.feeds, services.settings.fetch_interval_s)


@router.post(
    "/feeds/discover",
    responses=describe_problems(413, 415, 429, 502, 504),
    dependencies=[Depends(count_start)],
)
def discover_feeds(parts: Parts, wanted: DiscoverRequest) -> DiscoveryAnswer:
    """Fetch an address and tell which feeds it leads to: itself, or those that its page names.

    Nothing is stored; counts as a call that starts work. 422: the address may not be fetched.
    502: it could not be fetched, or is neither a feed nor a web page; 504: that took too long.
    `kind` then says what happened, in one word.
    """
    return show_discovery(parts.services.discoverer.discover(wanted.url))


@router.get("/feeds/{source}", responses=describe_problems(404), response_model_exclude_unset=True)
def get_feed(parts: Parts, source: str) -> FeedAnswer:
    """Return one feed."""
    return show_feed(parts.services.feeds.get(source))


@router.patch(
    "/feeds/{source}",
    responses=describe_problems(404, 409, 413, 415),
    response_model_exclude_unset=True,
)
def change_feed(parts: Parts, source: str, wanted: FeedChangeRequest) -> FeedAnswer:
    """Change a feed; fields left out stay. A new schedule or URL makes it due at once."""
    changes: dict[str, Any] = wanted.changes()
    return show_feed(parts.services.feeds.change(source, changes))


@router.delete("/feeds/{source}", status_code=204, responses=describe_problems(404))
def remove_feed(parts: Parts, source: str) -> None:
    """Delete a feed. Its items stay; its queued or fetching import fails."""
    parts.services.feeds.remove(source)
