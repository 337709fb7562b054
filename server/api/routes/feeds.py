"""Feeds: adding, changing, removing, OPML; the feeds at a URL; rate-limited hosts."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import AfterValidator, BaseModel, Field
from starlette.responses import Response

from server.api.feed_bodies import FeedAnswer, FeedChangeRequest, NewFeedRequest, show_feed
from server.api.parts import ApiParts, Parts, count_start, read_body
from server.api.problems import describe_problems
from server.api.routing import api_router
from server.api.values import (
    Filter,
    Listing,
    ListQuery,
    RequestBody,
    Text,
    Time,
    Url,
    printable,
    show_text,
)
from server.feeds.discovery import Discovery
from server.feeds.opml import OPML_TYPE, OpmlReport, import_outlines, write_opml
from server.feeds.opml_reading import read_opml
from server.feeds.tags import MAX_TAG_LENGTH, read_tag
from server.fetching.addresses import mask_url
from shared.errors import InvalidRequestError
from shared.models import format_time
from shared.store import Feed, FeedFilter, FeedOrder, FeedState, IndexerState

router = api_router("feeds")

_OPML_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": {"type": "string"}}
            for media_type in (OPML_TYPE, "text/xml", "application/xml")
        },
    }
}


def _read_tag(text: str | None) -> str | None:
    try:
        return None if text is None else read_tag(text)
    except InvalidRequestError as exc:
        raise ValueError(str(exc)) from exc


class FeedQuery(ListQuery):
    """Which feeds."""

    q: Filter[Text] = Field(
        None, max_length=500, description="a text in the title, the source, a URL or a tag"
    )
    tag: Annotated[Filter[Text], AfterValidator(_read_tag)] = Field(
        None, max_length=MAX_TAG_LENGTH, description="feeds with this tag"
    )
    state: Filter[FeedState] = Field(
        None, description="`manual`: those that are enabled and have no schedule"
    )
    enabled: Filter[bool] = Field(None, description="true: enabled feeds; false: disabled ones")
    failing: Filter[bool] = Field(
        None, description="true: those that have an `error`; false: those that have none"
    )
    sort: Filter[FeedOrder] = Field(
        FeedOrder.ADDED,
        description="`added`: latest first. `state`: failing first, disabled last",
    )
    descending: bool = Field(False, description="not for `added`")

    def to_filter(self) -> FeedFilter:
        """Return it as the store takes it."""
        return FeedFilter(
            text=self.q,
            tag=self.tag,
            state=self.state,
            enabled=self.enabled,
            failing=self.failing,
        )


class DiscoverRequest(RequestBody):
    """The URL of a feed, or of a page that links to feeds."""

    url: Url


class NamedFeedAnswer(BaseModel):
    """A feed that a page links to, or the URL itself."""

    url: str
    title: str | None
    type: str | None = Field(description="media type in the page's link")


class DiscoveryAnswer(BaseModel):
    """The feeds at a URL: the URL itself when `is_feed`, else those that its page links to."""

    feeds: list[NamedFeedAnswer]
    is_feed: bool


class HostAnswer(BaseModel):
    """A rate-limited host: none of its feeds is fetched before that time."""

    host: str = Field(description="with its port, unless that is 80 or 443")
    retry_after_until: Time
    feeds: int = Field(description="how many feeds have their first URL there")


@router.get("/feeds", responses=describe_problems(), response_model_exclude_unset=True)
def list_feeds(parts: Parts, query: Annotated[FeedQuery, Query()]) -> Listing[FeedAnswer]:
    """List feeds, latest added first or as `sort` says."""
    page = parts.services.stores.feed_lists.find_page(
        query.to_filter(),
        order=query.sort or FeedOrder.ADDED,
        descending=query.descending,
        limit=query.limit,
        cursor=query.cursor,
    )
    indexers = _read_indexers(parts, page.items)
    items = [show_feed(feed, indexers.get(feed.source)) for feed in page.items]
    return Listing(items=items, next_cursor=page.next_cursor)


@router.post(
    "/feeds",
    status_code=201,
    responses=describe_problems(409, 413, 415),
    response_model_exclude_unset=True,
)
def add_feed(parts: Parts, wanted: NewFeedRequest) -> FeedAnswer:
    """Add a feed; it is fetched at once, and then by its schedule."""
    added = parts.services.feeds.add(
        wanted.all_urls or [],
        source=wanted.source,
        enabled=wanted.enabled is not False,
        cron=wanted.cron,
        interval_s=wanted.choose_interval_s(parts.services.settings.fetch_interval_s),
        headers=wanted.headers,
        weight=wanted.weight,
        window=wanted.window.to_window() if wanted.window is not None else None,
        title=wanted.title,
        tags=wanted.tags or (),
    )
    return _show(parts, added)


@router.get(
    "/feeds.opml",
    responses={
        200: {"description": "OPML", "content": {OPML_TYPE: {"schema": {"type": "string"}}}},
        **describe_problems(),
    },
    response_class=Response,
)
def export_opml(parts: Parts) -> Response:
    """Export all feeds that have a URL as OPML; credentials are masked."""
    return Response(write_opml(parts.services.stores.feed_lists), media_type=OPML_TYPE)


@router.post("/feeds/opml", responses=describe_problems(413), openapi_extra=_OPML_BODY)
def import_opml(parts: Parts, body: Annotated[bytes, Depends(read_body)]) -> OpmlReport:
    """Add the feeds of an OPML document; those that exist already are skipped."""
    services = parts.services
    return import_outlines(read_opml(body), services.feeds, services.settings.fetch_interval_s)


@router.post(
    "/feeds/discover",
    responses=describe_problems(413, 415, 429, 502, 504),
    dependencies=[Depends(count_start)],
)
def discover_feeds(parts: Parts, wanted: DiscoverRequest) -> DiscoveryAnswer:
    """Fetch a URL and list its feeds: the URL itself, or the feeds that its page links to.

    Nothing is stored; counts as a call that starts work. 422: the URL may not be fetched.
    502: it could not be fetched, or is neither a feed nor a web page; 504: that took too long.
    `kind` is then what happened, in one word.
    """
    return show_discovery(parts.services.discoverer.discover(wanted.url))


@router.get("/feeds/{source}", responses=describe_problems(404), response_model_exclude_unset=True)
def get_feed(parts: Parts, source: str) -> FeedAnswer:
    """Return one feed."""
    return _show(parts, parts.services.feeds.get(source))


@router.patch(
    "/feeds/{source}",
    responses=describe_problems(404, 409, 413, 415),
    response_model_exclude_unset=True,
)
def change_feed(parts: Parts, source: str, wanted: FeedChangeRequest) -> FeedAnswer:
    """Change a feed; fields left out stay. A new schedule or URL makes it due at once."""
    changes: dict[str, Any] = wanted.changes()
    return _show(parts, parts.services.feeds.change(source, changes))


@router.delete("/feeds/{source}", status_code=204, responses=describe_problems(404))
def remove_feed(parts: Parts, source: str) -> None:
    """Delete a feed. Its items stay; its queued or fetching import fails."""
    parts.services.feeds.remove(source)


@router.get("/hosts", responses=describe_problems())
def list_hosts(parts: Parts) -> Listing[HostAnswer]:
    """List the rate-limited hosts, the longest first; at most 500, so no cursor."""
    pauses = parts.services.retry_after.list_pauses()
    items = [
        HostAnswer(host=each.host, retry_after_until=format_time(each.until), feeds=each.feeds)
        for each in pauses
    ]
    return Listing(items=items, next_cursor=None)


@router.delete("/hosts/{host}", status_code=204, responses=describe_problems(404))
def lift_host(parts: Parts, host: str) -> None:
    """Clear a host's rate limit; its feeds that waited for it are due at once."""
    parts.services.feeds.lift_pause(host)


def _show(parts: ApiParts, feed: Feed) -> FeedAnswer:
    return show_feed(feed, _read_indexers(parts, [feed]).get(feed.source))


def _read_indexers(parts: ApiParts, feeds: Sequence[Feed]) -> dict[str, IndexerState]:
    windowed = [feed.source for feed in feeds if feed.window is not None]
    return parts.services.stores.intervals.read_many(windowed) if windowed else {}


def show_discovery(discovery: Discovery) -> DiscoveryAnswer:
    """Return what was found behind a URL.

    Only the URL that was asked for is masked: what a page names is no secret of ours, and could
    not be added without its query.
    """
    feeds = [
        NamedFeedAnswer(
            url=mask_url(found.url) if discovery.is_feed else printable(found.url),
            title=show_text(found.title) if found.title else None,
            type=printable(found.type) if found.type else None,
        )
        for found in discovery.feeds
    ]
    return DiscoveryAnswer(feeds=feeds, is_feed=discovery.is_feed)
