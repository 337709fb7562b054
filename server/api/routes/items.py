"""The items that were imported."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from server.api.answers import ItemAnswer, Listing
from server.api.parts import ApiParts, Parts
from server.api.presentation import show_item
from server.api.problems import describe_problems
from server.api.request_models import ItemQuery
from shared.errors import NotFoundError

router = APIRouter(tags=["items"])


@router.get("/items", response_model=Listing[ItemAnswer], responses=describe_problems())
def list_items(parts: Parts, query: Annotated[ItemQuery, Query()]) -> JSONResponse:
    """List items, latest changed first."""
    return JSONResponse(read_items(parts, query))


@router.get("/items/{item_id:path}", response_model=ItemAnswer, responses=describe_problems(404))
def get_item(parts: Parts, item_id: str) -> JSONResponse:
    """Return one item."""
    return JSONResponse(read_item(parts, item_id))


def read_items(parts: ApiParts, query: ItemQuery) -> dict[str, Any]:
    """Return a page of items as they are shown, latest changed first."""
    page = parts.services.stores.items.find_page(
        source=query.source,
        text=query.q,
        since=query.since,
        limit=query.limit,
        cursor=query.cursor,
    )
    shown = [show_item(document) for document in page.items]
    return {"items": shown, "next_cursor": page.next_cursor}


def read_item(parts: ApiParts, item_id: str) -> dict[str, Any]:
    """Return an item as it is shown.

    Raises:
        NotFoundError: there is none.
    """
    found = parts.services.stores.items.get(item_id)
    if found is None:
        raise NotFoundError(f"there is no item {item_id[:80]!r}")
    return show_item(found)
