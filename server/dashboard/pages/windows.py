"""How far a feed's window and back-fill are, and what can be done to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import Form, Request
from starlette.responses import Response

from server.api.feed_bodies import FeedAnswer
from server.api.parts import ApiParts, Parts, count_start
from server.api.routes import feeds as feed_routes
from server.dashboard.filters import quote_segment
from server.dashboard.pages.feed_forms import FEED_PATH, FEEDS_PATH
from server.dashboard.rendering import redirect, render
from server.dashboard.site import attempt, page_router
from server.feeds.backfills import name_of
from server.feeds.progress import BackFillView
from server.feeds.pulls import pull_import_id, show_position
from shared.errors import InvalidRequestError, NotFoundError
from shared.models import parse_time
from shared.store.intervals import IndexerState, OpenInterval

router = page_router()

BUSY_S, IDLE_S = 2, 10
# Of a page's number; a year alone is one, and refused by a window of times.
MAX_DIGITS = 9


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


@router.post(FEED_PATH + "/rollback")
def roll_back(request: Request, parts: Parts, source: str, to: Annotated[str, Form()]) -> Response:
    """Read a windowed feed again from a time or page on, in a new epoch."""

    def act() -> str:
        count_start(request, parts)
        position = int(to) if _is_page(to) else read_time("to", to)
        back = parts.services.rollbacks.roll_back(source, position)
        reached = show_position(back.cursor)
        return f"Epoch {back.epoch} of {source} has begun: it is read again from {reached} on."

    return tell(request, source, act)


@router.post(FEED_PATH + "/backfill")
def start_backfill(
    request: Request,
    parts: Parts,
    source: str,
    from_: Annotated[str, Form(alias="from")],
    to: Annotated[str, Form()] = "",
) -> Response:
    """Begin to import a feed's past."""

    def act() -> str:
        count_start(request, parts)
        until = read_time("to", to) if to.strip() else None
        parts.services.backfills.start(source, read_time("from", from_), until)
        return f"The back-fill of {source} has begun."

    return tell(request, source, act)


@router.post(FEED_PATH + "/backfill/{verb}")
def change_backfill(request: Request, parts: Parts, source: str, verb: str) -> Response:
    """Pause, resume or cancel a back-fill."""
    backfills = parts.services.backfills
    verbs: Mapping[str, tuple[Callable[[str], object], str]] = {
        "pause": (backfills.pause, "pauses; what is in flight goes on to its end"),
        "resume": (backfills.resume, "goes on"),
        "cancel": (backfills.cancel, "is cancelled; its items stay"),
    }
    if verb not in verbs:
        raise NotFoundError(f"a back-fill cannot be {verb[:20]!r}")
    change, outcome = verbs[verb]

    def act() -> str:
        change(source)
        return f"The back-fill of {source} {outcome}."

    return tell(request, source, act)


@router.post(FEED_PATH + "/reparse")
def reparse(
    request: Request, parts: Parts, source: str, since: Annotated[str, Form()] = ""
) -> Response:
    """Import a feed again from its kept bodies; goes to the import."""

    def start() -> Response:
        count_start(request, parts)
        moment = read_time("since", since) if since.strip() else None
        [started] = parts.services.starter.start_reparse(source, moment)
        return redirect(request, f"/admin/imports/{started.import_id}")

    return attempt(request, f"{FEEDS_PATH}/{source}", start)


def tell(request: Request, source: str, act: Callable[[], str]) -> Response:
    """Do what a form asks for, and say so on the feed's page; or why not."""
    back = f"{FEEDS_PATH}/{source}"
    return attempt(request, back, lambda: redirect(request, back, act()))


def read_time(name: str, text: str) -> datetime:
    """Return a time that a form holds; one without a zone is UTC.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return parse_time(text.strip())
    except ValueError as exc:
        raise InvalidRequestError(f"{name} {text[:40]!r}: a date and time is accepted") from exc


def read_reading(parts: ApiParts, feed: FeedAnswer) -> dict[str, Any]:
    """Return what ``feeds/_reading.html`` shows, and how it looks after itself."""
    source, has_window = feed.source, feed.window is not None
    indexers = parts.services.stores.intervals.read_many([source, name_of(source)])
    indexer = indexers.get(source) if has_window else None
    backfill = _find_backfill(parts, source) if name_of(source) in indexers else None
    rows = find_open_rows(indexer)
    rows_of_backfill = find_open_rows(indexers[name_of(source)]) if backfill is not None else []
    is_moving = has_window or (backfill is not None and backfill.ended_at is None)
    return {
        "here": f"{FEEDS_PATH}/{quote_segment(source)}",
        "window": feed.window,
        "indexer": indexer,
        "open_intervals": rows,
        "backfill": backfill,
        "open_of_backfill": rows_of_backfill,
        "reading_every_s": (BUSY_S if rows or rows_of_backfill else IDLE_S) if is_moving else None,
    }


def _find_backfill(parts: ApiParts, source: str) -> BackFillView | None:
    try:
        return parts.services.backfills.get(source)
    except NotFoundError:
        return None


def find_open_rows(state: IndexerState | None) -> list[OpenRow]:
    """Return the open intervals of an indexer, none where there is no indexer."""
    if state is None:
        return []
    return [OpenRow(one, pull_import_id(state.name, _latest_try(one))) for one in state.open]


def _latest_try(one: OpenInterval) -> OpenInterval:
    """Return an interval as its latest import had it: one that waits has failed, and counts it."""
    return replace(one, tries=one.tries - 1) if one.retry_at is not None else one


def _is_page(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
