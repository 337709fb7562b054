"""One feed with its imports and items, and what can be done to it."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Form, Request
from starlette.responses import Response

from server.api.feed_bodies import FeedChangeRequest
from server.api.parts import ApiParts, Parts
from server.api.routes import feeds as feed_routes
from server.api.routes import imports as import_routes
from server.api.routes.imports import ImportQuery
from server.api.routes.items import ItemQuery, read_items
from server.dashboard.advice import advise_by_text
from server.dashboard.pages.feed_forms import EXPORT_PATH, FEED_PATH, FEEDS_PATH
from server.dashboard.pages.imports import live_rows
from server.dashboard.pages.items import complete_item
from server.dashboard.pages.windows import read_reading
from server.dashboard.rendering import redirect, render
from server.dashboard.site import attempt, page_router
from server.fetching.addresses import mask_url
from shared.errors import InvalidRequestError
from shared.store import Feed

router = page_router()

MAX_COUNTED_ITEMS = 10_000
_LATEST_IMPORTS, _LATEST_ITEMS = 10, 5


@router.get(EXPORT_PATH)
def export_feeds(parts: Parts) -> Response:
    """Give all feeds as an OPML file."""
    answer = feed_routes.export_opml(parts)
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Content-Disposition"] = 'attachment; filename="feedmill.opml"'
    return answer


@router.get(FEED_PATH)
def show_feed(request: Request, parts: Parts, source: str) -> Response:
    """Show one feed."""
    feed = feed_routes.get_feed(parts, source)
    imports = ImportQuery.model_validate({"source": source, "limit": _LATEST_IMPORTS})
    listing = import_routes.list_imports(parts, imports)
    wanted = ItemQuery.model_validate({"source": source, "limit": _LATEST_ITEMS})
    return render(
        request,
        "feeds/one.html",
        feed=feed,
        urls=feed.urls or ([feed.url] if feed.url else []),
        advice=advise_by_text(feed.error),
        has_older_imports=listing.next_cursor is not None,
        items=[complete_item(item) for item in read_items(parts, wanted)["items"]],
        item_count=parts.services.stores.items.count(source, MAX_COUNTED_ITEMS),
        max_counted=MAX_COUNTED_ITEMS,
        **live_rows(parts, listing, imports),
        **read_reading(parts, feed),
    )


@router.post(FEED_PATH + "/enable")
def enable_feed(request: Request, parts: Parts, source: str) -> Response:
    """Let a feed be fetched again, by its schedule."""
    return _change(request, parts, source, {"enabled": True}, f"Feed {source} is enabled.")


@router.post(FEED_PATH + "/disable")
def disable_feed(request: Request, parts: Parts, source: str) -> Response:
    """Let a feed be fetched by hand only."""
    text = f"Feed {source} is disabled: it is imported only when you start it."
    return _change(request, parts, source, {"enabled": False}, text)


@router.post(FEED_PATH + "/move")
def take_new_url(
    request: Request, parts: Parts, source: str, url: Annotated[str, Form()]
) -> Response:
    """Let a feed use the URL that one of its URLs moved to."""
    back = f"{FEEDS_PATH}/{source}"

    def move() -> Response:
        moved_to = feed_routes.get_feed(parts, source).moved_to or {}
        urls = moved_urls(parts.services.feeds.get(source), moved_to, url)
        feed_routes.change_feed(parts, source, FeedChangeRequest.model_validate({"urls": urls}))
        return redirect(request, back, "The feed uses its new URL and is fetched at once.")

    return attempt(request, back, move)


@router.post(FEED_PATH + "/remove")
def remove_feed(request: Request, parts: Parts, source: str) -> Response:
    """Delete a feed; its items stay."""
    feed_routes.remove_feed(parts, source)
    return redirect(request, FEEDS_PATH, f"Feed {source} is deleted; its items are kept.")


def _change(
    request: Request, parts: ApiParts, source: str, changes: dict[str, Any], text: str
) -> Response:
    back = f"{FEEDS_PATH}/{source}"

    def change() -> Response:
        feed_routes.change_feed(parts, source, FeedChangeRequest.model_validate(changes))
        return redirect(request, back, text)

    return attempt(request, back, change)


def moved_urls(feed: Feed, moved_to: Mapping[str, str], url: str) -> list[str]:
    """Return the feed's URLs with what ``url`` (masked, as shown) moved to in its place.

    Raises:
        InvalidRequestError: it has not moved (any more).
    """
    if url not in moved_to:
        raise InvalidRequestError("the URL has not moved, or was changed in the meantime")
    return [moved_to[url] if mask_url(own) == url else own for own in feed.urls]
