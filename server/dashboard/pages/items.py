"""Items: looking for them, and one with all that is known of it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import Request
from starlette.responses import Response

from server.api.parts import Parts
from server.api.routes.dead_letters import show_dead_letter
from server.api.routes.items import ItemQuery, read_item, read_items
from server.dashboard.rendering import render, root_path_of, static_url
from server.dashboard.site import page_router, read_query
from shared.store.items import OPTIONAL_FIELDS

router = page_router()

ITEMS_PATH = "/admin/items"
CONTENT_STYLE = "content.css"
_TEXTS = ("content", "summary")
# What a page asks for, whether or not the document has it.
_ABSENT: Mapping[str, Any] = {
    **dict.fromkeys(OPTIONAL_FIELDS),
    **dict.fromkeys(("created_by", "modified_by", "created_at", "modified_at", "content_hash")),
    **dict.fromkeys(("source", "guid"), ""),
    **dict.fromkeys(("categories", "enclosures", "extra"), ()),
    "revision": 0,
}


@router.get(ITEMS_PATH)
def show_items(request: Request, parts: Parts) -> Response:
    """List items, latest changed first."""
    query, problem = read_query(ItemQuery, request)
    listing = read_items(parts, query)
    return render(
        request,
        "items/list.html",
        query=query,
        items=[complete_item(item) for item in listing["items"]],
        next_cursor=listing["next_cursor"],
        **problem,
    )


@router.get(ITEMS_PATH + "/{item_id:path}")
def show_item(request: Request, parts: Parts, item_id: str) -> Response:
    """Show one item: its fields, its content, the imports that made it, its dead letter."""
    item = complete_item(read_item(parts, item_id))
    stores = parts.services.stores
    letter = stores.dead_letters.get(item_id)
    made_by = filter(None, (item["created_by"], item["modified_by"]))
    return render(
        request,
        "items/one.html",
        item=item,
        texts={name: item[name] for name in _TEXTS if item[name]},
        frame=partial(frame_content, root_path=root_path_of(request)),
        others={name: item[name] for name in item.keys() - _ABSENT.keys() - {"_id", "id"}},
        imports=stores.imports.read_many(made_by),
        has_feed=parts.services.feeds.exists(str(item["source"])),
        letter=show_dead_letter(letter) if letter is not None else None,
    )


def complete_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item with every field that a template asks for; those it lacks are empty."""
    return {**_ABSENT, **item}


def frame_content(html: str, root_path: str = "") -> str:
    """Return the document for the sandboxed frame: an item's HTML, in our letters."""
    style = f'<link rel="stylesheet" href="{root_path}{static_url(CONTENT_STYLE)}">'
    return f'<!doctype html><meta charset="utf-8"><title>Content</title>{style}<body>{html}'
