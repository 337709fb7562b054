"""What requests may carry, checked before anything is done."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from server.feeds.service import MAX_URLS
from shared.models import MAX_SOURCE_LENGTH, is_source, parse_time
from shared.queue import JobState
from shared.store import ImportState, Trigger

MAX_LIMIT = 500
MAX_IDS = 10_000
MAX_YEAR_S = 31_536_000
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


def _check_source(text: str) -> str:
    if not is_source(text):
        raise ValueError(f"a slug of a-z 0-9 - _ . with 1 to {MAX_SOURCE_LENGTH} characters")
    return text


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("each header once, whatever its case")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(
                f"header {name[:40]!r}: a token, and a value without control characters"
            )
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"header {name!r} is set by Feedmill itself")
    return headers


def _refuse_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("text without NUL")
    return text


def _drop_blank(value: object) -> object:
    """Take ``?state=`` as if it had been left out."""
    return None if value == "" else value


def _read_moment(value: object) -> object:
    if not isinstance(value, str) or value == "":
        return value or None
    try:
        # The plus of a zone that was not percent-encoded arrives as a blank.
        return parse_time(value.replace(" ", "+"))
    except ValueError as exc:
        raise ValueError("accepted is RFC 3339, as 2026-11-01T12:00:00Z") from exc


Source = Annotated[
    str,
    AfterValidator(_check_source),
    Field(json_schema_extra={"pattern": "^[a-z0-9_.-]{1,64}$"}),
]
Url = Annotated[str, Field(min_length=1, max_length=4096)]
Text = Annotated[str, AfterValidator(_refuse_nul)]
# A time in a query: RFC 3339, nothing else that pydantic would take for one.
Moment = Annotated[
    datetime | None,
    BeforeValidator(_read_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 64}, {"type": "null"}]}),
]


class RequestBody(BaseModel):
    """A JSON object that may hold the named fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _name_accepted_fields(cls, body: Any) -> Any:
        if isinstance(body, dict):
            unknown = sorted(str(name)[:40] for name in body.keys() - cls.model_fields.keys())
            if unknown:
                accepted = ", ".join(cls.model_fields)
                raise ValueError(f"unknown field {unknown[0]!r}: accepted are {accepted}")
        return body


class StartRequest(RequestBody):
    """Which imports to start: of all enabled feeds when it names nothing."""

    sources: list[Source] | None = Field(None, max_length=MAX_IDS)
    url: Url | None = None
    document: str | None = Field(None, description="the feed document itself; needs `source`")
    source: Source | None = Field(None, description="with `url` or `document`")
    force: bool = Field(False, description="skip validators and comparison")
    trigger: Literal[Trigger.API, Trigger.CLI] = Trigger.API

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        chosen = [
            name for name in ("sources", "url", "document") if getattr(self, name) is not None
        ]
        if len(chosen) > 1:
            raise ValueError(f"one of sources, url and document, not {' and '.join(chosen)}")
        if self.document is not None and self.source is None:
            raise ValueError("document needs source")
        if self.source is not None and chosen not in (["url"], ["document"]):
            raise ValueError("source needs url or document; for existing feeds use sources")
        return self


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
    window: None = Field(None, description="not supported yet")

    @model_validator(mode="before")
    @classmethod
    def _refuse_window(cls, body: Any) -> Any:
        if isinstance(body, dict) and body.get("window") is not None:
            raise ValueError("windowed feeds are not supported yet")
        return body

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.url is not None and self.urls is not None:
            raise ValueError("url or urls, not both")
        if self.interval_s is not None and self.cron is not None:
            raise ValueError("interval_s or cron, not both")
        return self

    @property
    def all_urls(self) -> list[str] | None:
        """The URLs, however they were given."""
        return [self.url] if self.url is not None else self.urls


class NewFeedRequest(FeedFields):
    """A feed to add. Without interval_s and cron the default interval; nulls: not scheduled."""

    source: Source | None = Field(None, description="made from the URL when left out")

    @model_validator(mode="after")
    def _demand_url(self) -> Self:
        if self.all_urls is None:
            raise ValueError("url or urls is needed")
        return self

    def choose_interval_s(self, default_s: int) -> int | None:
        """Return the interval asked for, or ``default_s`` when no schedule is named."""
        is_named = {"interval_s", "cron"} & self.model_fields_set
        return self.interval_s if is_named else default_s


class DiscoverRequest(RequestBody):
    """An address to look at: a feed's, or that of a page that names feeds."""

    url: Url


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
        given = self.model_fields_set - {"url", "urls", "window"}
        changes = {name: getattr(self, name) for name in given}
        if "headers" in changes:
            changes["headers"] = changes["headers"] or {}
        if self.all_urls is not None:
            changes["urls"] = self.all_urls
        return changes


class ReplayRequest(RequestBody):
    """Which dead letters to replay: exactly one way to choose."""

    ids: list[Text] | None = Field(None, max_length=MAX_IDS)
    source: Source | None = None
    cause: Text | None = None
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        names = ("ids", "source", "cause", "all")
        if sum(getattr(self, name) is not None for name in names) != 1:
            raise ValueError('exactly one of ids, source, cause and "all": true')
        return self


class CleanRequest(RequestBody):
    """Which jobs to remove from a queue."""

    state: Literal["waiting", "prioritized", "delayed", "completed", "failed"]
    grace_ms: int = Field(0, ge=0, le=10 * MAX_YEAR_S * 1000, description="only older ones")


class ListQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_LIMIT)
    cursor: Annotated[str | None, BeforeValidator(_drop_blank)] = Field(None, max_length=4000)


class ImportQuery(ListQuery):
    """Which imports."""

    source: Annotated[Text | None, BeforeValidator(_drop_blank)] = None
    state: Annotated[ImportState | None, BeforeValidator(_drop_blank)] = None
    since: Moment = Field(None, description="requested at this time or after; RFC 3339")
    until: Moment = Field(None, description="requested before this time; RFC 3339")


class FeedQuery(ListQuery):
    """Which feeds."""

    q: Annotated[Text | None, BeforeValidator(_drop_blank)] = Field(
        None, max_length=500, description="a text in the source or a URL"
    )
    enabled: Annotated[bool | None, BeforeValidator(_drop_blank)] = None
    failing: Annotated[bool | None, BeforeValidator(_drop_blank)] = Field(
        None, description="true: those that have an `error`; false: those that have none"
    )


class ItemQuery(ListQuery):
    """Which items."""

    source: Annotated[Text | None, BeforeValidator(_drop_blank)] = None
    q: Annotated[Text | None, BeforeValidator(_drop_blank)] = Field(
        None, max_length=500, description="a text in title or summary"
    )
    since: Moment = Field(None, description="changed at this time or after; RFC 3339")


class JobQuery(ListQuery):
    """Which jobs."""

    state: Annotated[JobState | None, BeforeValidator(_drop_blank)] = None


class DeadLetterQuery(ListQuery):
    """Which dead letters."""

    source: Annotated[Text | None, BeforeValidator(_drop_blank)] = None
    cause: Annotated[Text | None, BeforeValidator(_drop_blank)] = None
    import_id: Annotated[Text | None, BeforeValidator(_drop_blank)] = Field(
        None, description="that ended in this import, though they may have died again since"
    )


class CauseQuery(BaseModel):
    """Whose causes."""

    model_config = ConfigDict(extra="forbid")

    source: Annotated[Text | None, BeforeValidator(_drop_blank)] = None
