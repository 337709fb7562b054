"""Imports: their history, one as it runs, and starting them."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Form, Request
from starlette.responses import Response

from server.api.import_answers import ImportAnswer
from server.api.parts import ApiParts, Parts, count_start
from server.api.routes import dead_letters as dead_letter_routes
from server.api.routes import imports as import_routes
from server.api.routes.dead_letters import DeadLetterQuery
from server.api.routes.imports import ImportQuery, StartRequest
from server.api.values import Listing
from server.dashboard.advice import advise
from server.dashboard.filters import quote_segment
from server.dashboard.rendering import redirect, render
from server.dashboard.site import attempt, page_router, read_query
from shared.models import format_time
from shared.store import ImportState

router = page_router()

IMPORTS_PATH = "/admin/imports"
LATEST_PATH = "/admin/imports-latest"
START_PATH = "/admin/imports-start"
PERIODS = {"1 h": timedelta(hours=1), "24 h": timedelta(days=1), "7 days": timedelta(days=7)}
# Rows that a page which stays open may grow to.
MAX_LIVE_ROWS = 200
MAX_LETTERS = 20
BUSY_S, IDLE_S = 2, 5
_ENDED = (ImportState.COMPLETED, ImportState.FAILED)


@router.get(IMPORTS_PATH)
def show_imports(request: Request, parts: Parts) -> Response:
    """List imports, latest first; the first page goes on by itself."""
    query, problem = read_query(ImportQuery, request)
    listing = import_routes.list_imports(parts, query)
    return render(
        request,
        "imports/list.html",
        query=query,
        states=list(ImportState),
        periods=_periods(parts.services.clock.now()),
        next_cursor=listing.next_cursor,
        **live_rows(parts, listing, query),
        **problem,
    )


@router.get(LATEST_PATH)
def show_latest(request: Request, parts: Parts) -> Response:
    """Show the rows of a list once more, as they are by now."""
    query, _ = read_query(ImportQuery, request)
    listing = import_routes.list_imports(parts, query)
    return render(request, "imports/_list.html", **live_rows(parts, listing, query))


@router.get(IMPORTS_PATH + "/{import_id}")
def show_import(request: Request, parts: Parts, import_id: str) -> Response:
    """Show one import: its counts, URLs, warnings, error and failures."""
    context = _one(parts, import_id)
    shown = context["shown"]
    has_feed = parts.services.feeds.exists(shown.source)
    return render(request, "imports/one.html", has_feed=has_feed, **context)


@router.get(IMPORTS_PATH + "/{import_id}/progress")
def show_progress(request: Request, parts: Parts, import_id: str) -> Response:
    """Show state and counts once more."""
    return render(request, "imports/_progress.html", **_one(parts, import_id))


@router.get(IMPORTS_PATH + "/{import_id}/details")
def show_details(request: Request, parts: Parts, import_id: str) -> Response:
    """Show URLs, warnings and failures once more."""
    return render(request, "imports/_details.html", **_one(parts, import_id))


@router.post(START_PATH)
def start_imports(
    request: Request,
    parts: Parts,
    source: Annotated[str, Form()] = "",
    force: Annotated[str, Form()] = "",
) -> Response:
    """Import a feed now, or every enabled one; goes to the import."""
    back = f"/admin/feeds/{quote_segment(source)}" if source else IMPORTS_PATH

    def start() -> Response:
        count_start(request, parts)
        choice = {"sources": [source]} if source else {}
        wanted = StartRequest.model_validate({**choice, "force": bool(force)})
        started = import_routes.start(parts.services, wanted)
        if len(started) == 1:
            return redirect(request, f"{IMPORTS_PATH}/{started[0].import_id}")
        if not started:
            return redirect(
                request, back, "No imports started: there is no enabled feed.", level="warning"
            )
        return redirect(request, IMPORTS_PATH, f"{len(started)} imports started.")

    return attempt(request, back, start)


def live_rows(
    parts: ApiParts, listing: Listing[ImportAnswer], query: ImportQuery
) -> dict[str, Any]:
    """Return what ``imports/_list.html`` shows, and how it looks after itself.

    What is asked for again is bounded by the oldest row shown: that costs the same however long
    the history is, and "Older" goes on where the list ends.
    """
    imports = listing.items
    is_busy = any(shown.state not in _ENDED for shown in imports)
    asked = query.model_dump(mode="json", exclude_none=True, exclude={"cursor", "limit"})
    if listing.next_cursor is not None:
        asked["since"] = imports[-1].requested_at
    live_url = f"{LATEST_PATH}?{urlencode(asked | {'limit': MAX_LIVE_ROWS})}"
    # Older pages do not change, but for what is still running.
    every_s = None if query.cursor is not None else BUSY_S if is_busy else IDLE_S
    return {
        "imports": imports,
        "titles": parts.services.stores.feed_lists.find_titles({each.source for each in imports}),
        "is_nothing_yet": not imports and _is_nothing_yet(parts, query),
        "source_shown": query.source,
        "live_url": live_url,
        "every_s": every_s,
    }


def _is_nothing_yet(parts: ApiParts, query: ImportQuery) -> bool:
    """Return whether an empty list means that none was made yet, of any feed or of this one."""
    if query.state or query.since or query.until:
        return False
    return query.source is None or parts.services.feeds.exists(query.source)


def _one(parts: ApiParts, import_id: str) -> dict[str, Any]:
    shown = import_routes.get_import(parts, import_id)
    letters = dead_letter_routes.list_dead_letters(
        parts, DeadLetterQuery.model_validate({"import_id": import_id, "limit": MAX_LETTERS})
    )
    return {
        "shown": shown,
        "is_open": shown.state not in _ENDED,
        "advice": advise(shown.error_kind) if shown.error else None,
        "letters": letters.items,
        "has_more_letters": letters.next_cursor is not None,
        "now": parts.services.clock.now(),
    }


def _periods(now: datetime) -> dict[str, str]:
    return {name: format_time(now - length) for name, length in PERIODS.items()}
