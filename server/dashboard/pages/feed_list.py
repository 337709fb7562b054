"""The list of feeds: filtered, sorted, and changed many at a time; hosts that limit their rate."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Form, Request
from pydantic import BaseModel
from starlette.responses import Response

from server.api.feed_bodies import FeedAnswer
from server.api.import_answers import ImportAnswer
from server.api.parts import ApiParts, Parts
from server.api.routes import feed_bulk
from server.api.routes import feeds as feed_routes
from server.api.routes.feed_bulk import BulkAnswer, BulkRequest
from server.api.routes.feeds import FeedQuery
from server.dashboard.pages.feed_forms import FEEDS_PATH, FeedForm, add_choices
from server.dashboard.rendering import is_own_path, redirect, render
from server.dashboard.site import attempt, page_router, read_query
from server.feeds.bulk import BulkAction
from shared.store import FeedOrder

router = page_router()

LIFT_PATH = "/admin/hosts-lift"
BULK_PATH = "/admin/feeds-bulk"
# Names and directions that the head of each column offers, in turn.
COLUMNS = {
    FeedOrder.TITLE: "Feed",
    FeedOrder.STATE: "State",
    FeedOrder.LAST_IMPORT: "Last import",
    FeedOrder.NEXT_FETCH: "Next fetch",
}
SORTS = {
    "state": "failing first",
    "title": "title",
    "last_import": "oldest import",
    "next_fetch": "next fetch",
    "added": "latest added",
}
STATES = {"failing": "failing", "disabled": "disabled", "manual": "manual only"}
# What each action is called before it is done, and after.
ACTIONS = {
    BulkAction.IMPORT: ("Import now", "being imported"),
    BulkAction.ADD_TAG: ("Add tag", "tagged"),
    BulkAction.REMOVE_TAG: ("Remove tag", "untagged"),
    BulkAction.ENABLE: ("Enable", "enabled"),
    BulkAction.DISABLE: ("Disable", "disabled"),
    BulkAction.REMOVE: ("Delete", "deleted"),
}
_MAX_NAMED = 10


class BulkForm(BaseModel):
    """The feeds that are ticked, and what is to be done to them."""

    sources: list[str] = []
    action: str = ""
    tag: str = ""
    back: str = FEEDS_PATH
    is_sure: bool = False

    @property
    def back_path(self) -> str:
        """The page to go back to: the list as it was shown."""
        is_list = self.back == FEEDS_PATH or self.back.startswith(f"{FEEDS_PATH}?")
        return self.back if is_list and is_own_path(self.back) else FEEDS_PATH

    @property
    def request(self) -> BulkRequest:
        """The same as the API takes it."""
        tag = "-".join(self.tag.lower().split())
        given = {"sources": self.sources, "action": self.action, "tag": tag or None}
        return BulkRequest.model_validate(given)


@router.get(FEEDS_PATH)
def show_feeds(request: Request, parts: Parts) -> Response:
    """List feeds, failing ones first unless another order is asked for; and add one."""
    query, problem = read_query(FeedQuery, request)
    if "sort" not in request.query_params:
        query = query.model_copy(update={"sort": FeedOrder.STATE})
    listing = feed_routes.list_feeds(parts, query)
    return render(
        request,
        "feeds/list.html",
        query=query,
        is_filtered=_is_filtered(query),
        columns=[(name, *_sort_link(query, order)) for order, name in COLUMNS.items()],
        sorts=SORTS,
        states=STATES,
        # Those of this page: of all feeds they would cost a look at each.
        tags=sorted({tag for feed in listing.items for tag in feed.tags}),
        feeds=listing.items,
        next_cursor=listing.next_cursor,
        last_imports=_read_last_imports(parts, listing.items),
        hosts=feed_routes.list_hosts(parts).items,
        actions={action: words[0] for action, words in ACTIONS.items()},
        form=FeedForm(),
        **add_choices(parts),
        **problem,
    )


@router.post(BULK_PATH)
def change_feeds(request: Request, parts: Parts, form: Annotated[BulkForm, Form()]) -> Response:
    """Do one thing to the feeds that are ticked, once somebody has seen which they are."""

    def change() -> Response:
        if not form.sources:
            return redirect(request, form.back_path, "Select feeds first.", level="warning")
        wanted = form.request
        if not form.is_sure:
            return _ask(request, parts, form, wanted)
        answer = feed_bulk.change_feeds(request, parts, wanted)
        level: Any = "warning" if answer.failed else "done"
        return redirect(request, form.back_path, describe_bulk(wanted, answer), level=level)

    return attempt(request, form.back_path, change)


@router.post(LIFT_PATH)
def lift_host(request: Request, parts: Parts, host: Annotated[str, Form()]) -> Response:
    """Ask a host again before the time that it named."""

    def lift() -> Response:
        feed_routes.lift_host(parts, host)
        return redirect(request, FEEDS_PATH, f"{host} is asked again: its feeds are due now.")

    return attempt(request, FEEDS_PATH, lift)


def describe_bulk(wanted: BulkRequest, answer: BulkAnswer) -> str:
    """Return what was done to how many feeds, and which failed with which reason."""
    done = ACTIONS[wanted.action][1]
    tag = f" {wanted.tag}" if wanted.tag else ""
    texts = [f"{_count_feeds(len(answer.done))} {done}{tag}"]
    texts += [f"{each.source} not: {each.error}" for each in answer.failed[:_MAX_NAMED]]
    if len(answer.failed) > _MAX_NAMED:
        texts.append(f"{len(answer.failed) - _MAX_NAMED} more not")
    return "; ".join(texts) + "."


def _ask(request: Request, parts: ApiParts, form: BulkForm, wanted: BulkRequest) -> Response:
    """Show which feeds are meant; and ask for the tag, and offer those that they have."""
    stores = parts.services.stores
    feeds = stores.feeds.read_many(wanted.sources).values()
    return render(
        request,
        "feeds/bulk.html",
        form=form,
        wanted=wanted,
        words=ACTIONS[wanted.action][0],
        titles={feed.source: feed.shown_title for feed in feeds if feed.shown_title},
        tags=sorted({tag for feed in feeds for tag in feed.tags}),
    )


def _count_feeds(count: int) -> str:
    return f"{count} feed{'' if count == 1 else 's'}"


def _is_filtered(query: FeedQuery) -> bool:
    return any((query.q, query.tag, query.state)) or (query.enabled, query.failing) != (None, None)


def _sort_link(query: FeedQuery, order: FeedOrder) -> tuple[str, str]:
    """Return where a column's head leads, and how the list is sorted by it now, if it is.

    The list as it is filtered, by that column; the other way round where it is sorted by it.
    """
    is_current = query.sort is order
    given = query.model_dump(mode="json", exclude={"cursor", "limit", "sort", "descending"})
    given = {name: value for name, value in given.items() if value is not None} | {"sort": order}
    if is_current and not query.descending:
        given["descending"] = "true"
    now = "descending" if query.descending else "ascending"
    return f"{FEEDS_PATH}?{urlencode(given)}", now if is_current else ""


def _read_last_imports(parts: ApiParts, feeds: Sequence[FeedAnswer]) -> dict[str, ImportAnswer]:
    """Return the last import of each feed, by source, in one read."""
    by_id = parts.imports.read_many([feed.last_import for feed in feeds if feed.last_import])
    return {feed.source: by_id[feed.last_import] for feed in feeds if feed.last_import in by_id}
