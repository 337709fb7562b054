"""The items that were imported."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from server.api.answers import ItemAnswer, Listing
from server.api.parts import Parts
from server.api.presentation import show_item
from server.api.problems import describe_problems
from server.api.request_models import ItemQuery
from shared.errors import InvalidRequestError, NotFoundError
from shared.models import parse_time

router = APIRouter(tags=["items"])


@router.get("/items", response_model=Listing[ItemAnswer], responses=describe_problems())
def list_items(parts: Parts, query: Annotated[ItemQuery, Query()]) -> JSONResponse:
    """List items, latest changed first."""
    page = parts.services.stores.items.find_page(
        source=query.source,
        text=query.q,
        since=_parse_since(query.since),
        limit=query.limit,
        cursor=query.cursor,
    )
    shown = [show_item(document) for document in page.items]
    return JSONResponse({"items": shown, "next_cursor": page.next_cursor})


@router.get("/items/{item_id:path}", response_model=ItemAnswer, responses=describe_problems(404))
def get_item(parts: Parts, item_id: str) -> JSONResponse:
    """Return one item."""
    found = parts.services.stores.items.get(item_id)
    if found is None:
        raise NotFoundError(f"there is no item {item_id[:80]!r}")
    return JSONResponse(show_item(found))


def _parse_since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        # The plus of a zone that was not percent-encoded arrives as a blank.
        return parse_time(text.replace(" ", "+"))
    except ValueError as exc:
        raise InvalidRequestError(
            f"since {text!r}: accepted is RFC 3339, as 2026-11-01T12:00:00Z"
        ) from exc
