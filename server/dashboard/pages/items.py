"""Items: the list with its search, and one item with all that is known of it."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from fastapi import Request
from starlette.responses import Response

from server.api.parts import ApiParts, Parts
from server.api.routes.dead_letters import show_dead_letter
from server.api.routes.items import ItemQuery, read_item, read_items
from server.dashboard.filters import quote_segment, read_moment
from server.dashboard.rendering import render, root_path_of, static_url
from server.dashboard.site import page_router, read_query
from shared.store.items import OPTIONAL_FIELDS
from shared.store.pages import encode_cursor

router = page_router()

ITEMS_PATH = "/admin/items"
CONTENT_STYLE = "content.css"
_TEXTS = ("content", "summary")
# What a template asks for, whether or not the document has it.
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
    titles = parts.services.stores.feed_lists.find_titles(_sources_of(listing["items"]))
    has_any = listing["items"] or read_items(parts, ItemQuery.model_validate({"limit": 1}))["items"]
    return render(
        request,
        "items/list.html",
        query=query,
        items=[complete_item(item) for item in listing["items"]],
        titles=titles,
        is_empty=not has_any,
        next_cursor=listing["next_cursor"],
        **problem,
    )


@router.get(ITEMS_PATH + "/{item_id:path}")
def show_item(request: Request, parts: Parts, item_id: str, whole: bool = False) -> Response:
    """Show one item: its text, its fields, the imports that made it, its dead letter."""
    document = read_item(parts, item_id)
    item = complete_item(document)
    stores = parts.services.stores
    letter = stores.dead_letters.get(item_id)
    made_by = filter(None, (item["created_by"], item["modified_by"]))
    source = str(item["source"])
    text, *others = _read_texts(item)
    return render(
        request,
        "items/one.html",
        item=item,
        document=document,
        text=text,
        summary=others[0] if others else None,
        frame=partial(frame_content, root_path=root_path_of(request)),
        imports=stores.imports.read_many(made_by),
        has_feed=parts.services.feeds.exists(source),
        feed_title=stores.feed_lists.find_titles([source]).get(source, source),
        letter=show_dead_letter(letter) if letter is not None else None,
        older=_find_older(parts, item),
        here=f"{ITEMS_PATH}/{quote_segment(item_id)}",
        is_whole=whole,
    )


def complete_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item with every field that a template asks for; those it lacks are empty."""
    return {**_ABSENT, **item}


def frame_content(html: str, root_path: str = "") -> str:
    """Return the document for the sandboxed frame: an item's HTML, in our type."""
    style = f'<link rel="stylesheet" href="{root_path}{static_url(CONTENT_STYLE)}">'
    # app.js puts the theme that somebody chose in the place of both.
    theme = '<meta name="color-scheme" content="light dark">'
    return f'<!doctype html><meta charset="utf-8">{theme}<title>Content</title>{style}<body>{html}'


def _sources_of(items: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(item["source"]) for item in items if "source" in item}


def _read_texts(item: Mapping[str, Any]) -> list[str | None]:
    """Return the text of an item, the longest kind first; a summary that only repeats it is not."""
    texts = dict.fromkeys(str(item[name]) for name in _TEXTS if item[name])
    return [*texts] or [None]


def _find_older(parts: ApiParts, item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the item of the same source that follows in the list, or None."""
    modified_at = read_moment(item["modified_at"])
    if modified_at is None:
        return None
    cursor = encode_cursor(modified_at, item["id"])
    found = parts.services.stores.items.find_page(
        source=str(item["source"]), text=None, since=None, limit=1, cursor=cursor
    )
    return complete_item(found.items[0]) if found.items else None
