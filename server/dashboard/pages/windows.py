"""How far a feed's window is read."""

from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request
from starlette.responses import Response

from server.api.feed_bodies import FeedAnswer
from server.api.parts import ApiParts, Parts
from server.api.routes import feeds as feed_routes
from server.dashboard.filters import quote_segment
from server.dashboard.pages.feed_forms import FEED_PATH, FEEDS_PATH
from server.dashboard.rendering import render
from server.dashboard.site import page_router
from server.feeds.pulls import pull_import_id
from shared.store.intervals import IndexerState, OpenInterval

router = page_router()

BUSY_S, IDLE_S = 2, 10


@dataclass(frozen=True, slots=True)
class OpenRow:
    """An interval that has not come to its end, with its latest import."""

    open: OpenInterval
    import_id: str


@router.get(FEED_PATH + "/reading")
def show_reading(request: Request, parts: Parts, source: str) -> Response:
    """Show how far a feed is read, once more."""
    feed = feed_routes.get_feed(parts, source)
    return render(request, "feeds/_reading.html", **read_reading(parts, feed))


def read_reading(parts: ApiParts, feed: FeedAnswer) -> dict[str, Any]:
    """Return what ``feeds/_reading.html`` shows, and how it looks after itself."""
    has_window = feed.window is not None
    indexer = parts.services.stores.intervals.get(feed.source) if has_window else None
    rows = find_open_rows(indexer)
    return {
        "here": f"{FEEDS_PATH}/{quote_segment(feed.source)}",
        "window": feed.window,
        "indexer": indexer,
        "open_intervals": rows,
        "reading_every_s": (BUSY_S if rows else IDLE_S) if has_window else None,
    }


def find_open_rows(state: IndexerState | None) -> list[OpenRow]:
    """Return the open intervals of an indexer, none where there is no indexer."""
    if state is None:
        return []
    return [OpenRow(one, pull_import_id(state.name, _latest_try(one))) for one in state.open]


def _latest_try(one: OpenInterval) -> OpenInterval:
    """Return an interval as its latest import had it: one that waits has failed, and counts it."""
    return replace(one, tries=one.tries - 1) if one.retry_at is not None else one
