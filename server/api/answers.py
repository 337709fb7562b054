"""The bodies of the API's answers, as OpenAPI describes them."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shared.queue import JobState
from shared.store import ImportState, LetterKind, Trigger

T = TypeVar("T")

Time = Annotated[
    str,
    Field(
        description="RFC 3339, UTC",
        examples=["2026-11-01T12:00:00.000Z"],
        json_schema_extra={"format": "date-time"},
    ),
]


class Listing(BaseModel, Generic[T]):
    """One page of a list, newest first."""

    items: list[T]
    next_cursor: str | None = Field(description="hand it in as `cursor` for the next page")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


class Counts(BaseModel):
    """Where an import's items are; `fetched` is always the sum of all others."""

    fetched: int
    new: int
    updated: int
    unchanged: int
    duplicate: int
    superseded: int
    dead: int
    removed: int
    pending: int


class FetchAnswer(BaseModel):
    """How one URL of an import answered."""

    url: str | None
    http_status: int | None
    not_modified: bool
    error: str | None


class StartedImport(BaseModel):
    """An import that was started, or that was running already."""

    id: str
    source: str
    url: str | None
    state: ImportState


class StartedImports(BaseModel):
    """The imports of a start, one a feed."""

    imports: list[StartedImport]


class ReplayAnswer(StartedImports):
    """The dead letters taken, and one import a source that brings them home."""

    replayed: int


class ImportAnswer(BaseModel):
    """An import."""

    id: str
    source: str
    url: str | None = Field(description="the first URL; null for a document that was handed in")
    trigger: Trigger
    state: ImportState
    http_status: int | None
    not_modified: bool
    error: str | None
    error_kind: str | None
    warnings: list[str]
    fetches: list[FetchAnswer]
    requested_at: Time
    started_at: Time | None
    finished_at: Time | None
    counts: Counts


class FeedAnswer(BaseModel):
    """A feed: with `url`, or with `urls` when it has several."""

    source: str
    url: str | None = Field(None, description="absent when there are several")
    urls: list[str] | None = Field(None, description="only when there are several")
    enabled: bool
    interval_s: int | None
    cron: str | None
    headers: list[str] = Field(description="names only")
    weight: Literal["light", "heavy"] | None
    window: dict[str, Any] | None = None
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


class HostAnswer(BaseModel):
    """A host that asked to be left alone: none of its feeds is asked before that time."""

    host: str = Field(description="with its port, unless that is the scheme's own")
    retry_after_until: Time
    feeds: int = Field(description="how many feeds have their first URL there")


class NamedFeedAnswer(BaseModel):
    """A feed that a page names, or the one that was asked for."""

    url: str
    title: str | None
    type: str | None = Field(description="media type, as the page says")


class DiscoveryAnswer(BaseModel):
    """What an address leads to: itself when `is_feed`, else the feeds that its page names."""

    feeds: list[NamedFeedAnswer]
    is_feed: bool


class Enclosure(BaseModel):
    """A file that belongs to an item."""

    model_config = ConfigDict(extra="allow")

    url: str


class ExtraField(BaseModel):
    """An element that a feed carries beyond the known fields; a nested one is named by its path."""

    model_config = ConfigDict(extra="allow")

    name: str
    value: Any = None
    attributes: Any = None


class ItemAnswer(BaseModel):
    """An item as stored; fields that the feed does not have are absent."""

    model_config = ConfigDict(extra="allow")

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


class RateLimitAnswer(BaseModel):
    """At most so many jobs are started in each window, over all workers."""

    max_jobs: int
    duration_ms: int


class QueueAnswer(BaseModel):
    """A queue."""

    name: str
    is_paused: bool
    counts: dict[JobState, int] = Field(description="jobs by BullMQ's states")
    totals: dict[str, int] = Field(description="completed, failed and retried since Redis began")
    rate_per_s: float | None = Field(description="jobs completed a second, lately")
    oldest_waiting_ms: int | None = Field(description="age of the job that waits longest")
    rate_limit: RateLimitAnswer | None
    limited_by: Literal["breaker", "no_worker", "paused", "rate_limit", "workers"] | None = Field(
        description="what limits the speed right now; null when nothing waits"
    )
    limited_by_text: str = Field(description="the same in a few words")


class WorkerAnswer(BaseModel):
    """A worker that lives: it said so within the last 10 s."""

    id: str
    queues: list[str] = Field(description="whose jobs it takes")
    held_jobs: int = Field(description="claimed and not settled yet")
    up_s: float = Field(description="how long it has run")
    breaker_reason: str | None = Field(
        description="why it claims nothing: MongoDB cannot store; null when it can"
    )
    breaker_open_s: float
    failing_threads: list[str] = Field(
        description="which of its long-lived threads fail, how often in a row and of what"
    )


class JobAnswer(BaseModel):
    """A job; `data`, `opts` and `result` are text where they are no JSON."""

    id: str
    name: str
    state: JobState
    data: Any
    opts: Any
    revision: int | None
    added_at: Time | None
    processed_at: Time | None
    finished_at: Time | None
    attempts_made: int
    stalled_count: int
    failed_reason: str | None
    stacktrace: list[str]
    result: Any


class JobDetailAnswer(JobAnswer):
    """A job with what its handlers logged."""

    logs: list[str] = Field(description="the last 200 lines, as Node's `job.log` keeps them")


class CleanAnswer(BaseModel):
    """How many jobs were removed."""

    removed: int


class DeathAnswer(BaseModel):
    """One end of an item."""

    revision: int
    import_id: str | None
    content_hash: str
    kind: LetterKind
    at: Time


class DeadLetterAnswer(BaseModel):
    """An item whose attempts are used up, or that an operator removed."""

    id: str
    queue: str
    source: str
    guid: str
    kind: LetterKind
    revision: int
    reason: str
    error_type: str
    cause: str
    attempts: int
    failed_at: Time
    import_id: str | None
    data: Any = Field(description="the job's data; text where it is no JSON")
    stacktrace: str
    history: list[DeathAnswer]


class CauseExample(BaseModel):
    """The dead letter of a cause that failed last."""

    id: str
    reason: str


class CauseAnswer(BaseModel):
    """Dead letters that failed alike."""

    cause: str
    error_type: str
    count: int
    sources: list[str] = Field(description="the 10 with most of them")
    source_count: int = Field(description="how many sources there are in all")
    latest_failed_at: Time
    example: CauseExample


class CausesAnswer(BaseModel):
    """The 100 most frequent causes, the most frequent first."""

    items: list[CauseAnswer]


class Health(BaseModel):
    """A sign of life."""

    status: Literal["ok"]


class ReadinessAnswer(Health):
    """Both stores answer. What fails within the server is told all the same."""

    failing_threads: list[str] = Field(
        default=[], description="long-lived threads whose last round failed; left out while none"
    )
