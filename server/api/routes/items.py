"""The items that were imported."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from server.api.parts import ApiParts, Parts
from server.api.problems import describe_problems
from server.api.routing import api_router
from server.api.values import Filter, Listing, ListQuery, Moment, Text, Time, show_value
from shared.errors import NotFoundError

router = api_router("items")

SCHEMA_TYPE = "application/schema+json"


class ItemQuery(ListQuery):
    """Which items."""

    source: Filter[Text] = Field(None, description="items of this feed")
    q: Filter[Text] = Field(None, max_length=500, description="text in title or summary")
    since: Moment = Field(None, description="changed at this time or later; RFC 3339")

    @property
    def has_filters(self) -> bool:
        """Whether less than everything is asked for."""
        return bool(self.source or self.q or self.since)


class Enclosure(BaseModel):
    """A file of an item."""

    model_config = ConfigDict(extra="allow")

    url: str


class ExtraField(BaseModel):
    """An element that the feed has beyond the known fields; a nested one is named by its path."""

    model_config = ConfigDict(extra="allow")

    name: str
    value: Any = None
    attributes: Any = None


def _drop_defaults(schema: dict[str, Any]) -> None:
    """Take the defaults out: a field that the feed does not have is absent, not empty."""
    for field in schema["properties"].values():
        field.pop("default", None)


class ItemAnswer(BaseModel):
    """An item as stored; fields that the feed does not have are absent."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_drop_defaults)

    id: str
    stored_id: str = Field(alias="_id")
    source: str
    guid: str
    link: str = ""
    title: str = ""
    summary: str = ""
    content: str = ""
    author: str = ""
    categories: list[str] = []
    enclosures: list[Enclosure] = []
    extra: list[ExtraField] = []
    published_at: Time = ""
    updated_at: Time = ""
    content_hash: str
    revision: int
    created_at: Time
    modified_at: Time
    created_by: str | None
    modified_by: str | None


@router.get("/items", response_model=Listing[ItemAnswer], responses=describe_problems())
def list_items(parts: Parts, query: Annotated[ItemQuery, Query()]) -> JSONResponse:
    """List items, latest changed first."""
    return JSONResponse(read_items(parts, query))


@router.get("/items/{item_id:path}", response_model=ItemAnswer, responses=describe_problems(404))
def get_item(parts: Parts, item_id: str) -> JSONResponse:
    """Return one item."""
    return JSONResponse(read_item(parts, item_id))


@router.get(
    "/schemas/item.json",
    response_class=Response,
    responses={
        200: {"description": "JSON Schema", "content": {SCHEMA_TYPE: {"schema": {}}}},
        **describe_problems(),
    },
)
def get_item_schema() -> Response:
    """Return the JSON Schema (draft 2020-12) of an item."""
    return Response(read_item_schema(), media_type=SCHEMA_TYPE)


def read_item_schema() -> bytes:
    """Return the JSON Schema of an item, as it is shipped."""
    return (files("server.api") / "item_schema.json").read_bytes()


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


def show_item(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item's document with JSON's types; ``id`` is its ``_id`` once more.

    The hash of its counters is left out: only the comparison of imports needs it.
    """
    shown: dict[str, Any] = {"id": document["_id"]}
    fields = (item for item in document.items() if item[0] != "counters_hash")
    shown.update((name, show_value(value)) for name, value in fields)
    return shown
