"""Feeds as requests give them and as answers show them."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from server.api.values import (
    MAX_YEAR_S,
    RequestBody,
    Source,
    Text,
    Time,
    Url,
    printable,
    show_text,
    show_time,
    show_value,
)
from server.api.window_bodies import PositionAnswer, WindowBody, show_position
from server.feeds.history import FeedHistory
from server.feeds.service import MAX_URLS
from server.feeds.tags import MAX_TAG_LENGTH, MAX_TAGS
from server.fetching.addresses import mask_url
from shared.store import Feed, IndexerState
from shared.store.feed_documents import MAX_TITLE_LENGTH

GivenTag = Annotated[Text, Field(min_length=1, max_length=MAX_TAG_LENGTH)]
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff\t]{0,4096}")
# Those that the fetcher sets by itself: another value would break its requests.
_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "if-modified-since",
        "if-none-match",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("a header may be given once only, whatever its case")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(
                f"header {name[:40]!r} must be a token, its value without control characters"
            )
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"header {name!r} is set by Feedmill itself")
    return headers


class FeedFields(RequestBody):
    """What can be set of a feed."""

    url: Url | None = None
    urls: list[Url] | None = Field(
        None, min_length=1, max_length=MAX_URLS, description="several that list the same items"
    )
    enabled: bool | None = None
    interval_s: int | None = Field(None, ge=1, le=MAX_YEAR_S)
    cron: str | None = Field(None, max_length=200, description="five fields, UTC")
    headers: Annotated[dict[str, str], AfterValidator(_check_headers)] | None = Field(
        None, max_length=32, description="write-only"
    )
    weight: Literal["light", "heavy"] | None = None
    title: Text | None = Field(
        None, max_length=MAX_TITLE_LENGTH, description="null: what its document is called"
    )
    tags: list[GivenTag] | None = Field(
        None, max_length=MAX_TAGS, description="lower-case words; a space becomes a hyphen"
    )
    window: WindowBody | None = Field(None, description="null ends it")

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.url is not None and self.urls is not None:
            raise ValueError("give url or urls, not both")
        if self.interval_s is not None and self.cron is not None:
            raise ValueError("give interval_s or cron, not both")
        return self

    @property
    def all_urls(self) -> list[str] | None:
        """The URLs, however they were given."""
        return [self.url] if self.url is not None else self.urls


class NewFeedRequest(FeedFields):
    """A feed to add. Without interval_s and cron the default interval; nulls: manual only."""

    source: Source | None = Field(None, description="made from the URL when left out")

    @model_validator(mode="after")
    def _demand_url(self) -> Self:
        if self.all_urls is None:
            raise ValueError("url or urls is required")
        return self

    def choose_interval_s(self, default_s: int) -> int | None:
        """Return the interval asked for, or ``default_s`` when no schedule is named."""
        is_named = {"interval_s", "cron"} & self.model_fields_set
        return self.interval_s if is_named else default_s


class FeedChangeRequest(FeedFields):
    """What to change of a feed; fields left out stay."""

    @model_validator(mode="after")
    def _refuse_nulls(self) -> Self:
        for name in ("url", "urls", "enabled"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self

    def changes(self) -> dict[str, Any]:
        """Return what is to be set, named as the store names it."""
        given = self.model_fields_set - {"url", "urls"}
        changes = {name: getattr(self, name) for name in given}
        if self.window is not None:
            changes["window"] = self.window.to_window()
        if "headers" in changes:
            changes["headers"] = changes["headers"] or {}
        if "tags" in changes:
            changes["tags"] = changes["tags"] or []
        if self.all_urls is not None:
            changes["urls"] = self.all_urls
        return changes


class FeedAnswer(BaseModel):
    """A feed: with `url`, or with `urls` when it has several."""

    source: str
    title: str | None = Field(description="the one that it was given, else its document's")
    tags: list[str]
    url: str | None = Field(None, description="absent when there are several")
    urls: list[str] | None = Field(None, description="only when there are several")
    enabled: bool
    interval_s: int | None
    cron: str | None
    headers: list[str] = Field(description="names only")
    weight: Literal["light", "heavy"] | None
    window: dict[str, Any] | None = None
    position: PositionAnswer | None = Field(None, description="where its window stands")
    next_fetch_at: Time | None
    next_fetch_reason: str
    moved_to: dict[str, str] | None = Field(
        None, description="only when URLs moved for good: where to, by URL"
    )
    disbelieved: list[str] | None = Field(
        None, description="only when there are any: URLs whose 304 hid items, fetched whole"
    )
    last_import: str | None
    consecutive_failures: int
    error: str | None


def show_feed(feed: Feed, indexer: IndexerState | None = None) -> FeedAnswer:
    """Return a feed: ``url`` or ``urls``, headers by name only; ``indexer`` is its window's."""
    window = {"window": show_value(feed.window)} if feed.window is not None else {}
    if feed.window is not None and indexer is not None:
        window["position"] = show_position(indexer)
    return FeedAnswer(
        **_show_urls(feed),
        **window,
        source=feed.source,
        title=show_text(feed.shown_title) if feed.shown_title else None,
        tags=[printable(tag) for tag in feed.tags],
        enabled=feed.enabled,
        interval_s=feed.interval_s,
        cron=feed.cron,
        headers=list(feed.headers),
        weight=_show_weight(feed.weight),
        next_fetch_at=show_time(feed.next_fetch_at) if feed.enabled else None,
        next_fetch_reason=feed.next_fetch_reason,
        last_import=feed.last_import,
        consecutive_failures=feed.consecutive_failures,
        error=show_text(feed.error) if feed.error else None,
    )


def _show_urls(feed: Feed) -> dict[str, Any]:
    """Return a feed's URLs, masked, and what is known of them; what is not known is left out."""
    urls = [mask_url(url) for url in feed.urls]
    shown: dict[str, Any] = {"urls": urls} if len(urls) > 1 else {"url": urls[0] if urls else None}
    histories = FeedHistory.read(feed.history).urls
    moved_to = {
        mask_url(url): target
        for url, history in histories.items()
        if (target := history.moved_to or history.said_moved_to) is not None
    }
    disbelieved = [mask_url(url) for url, history in histories.items() if history.is_disbelieved]
    if moved_to:
        shown["moved_to"] = moved_to
    if disbelieved:
        shown["disbelieved"] = disbelieved
    return shown


def _show_weight(weight: str | None) -> Literal["light", "heavy"] | None:
    match weight:
        case "light" | "heavy":
            return weight
        case _:
            return None
