"""A feed, and the document it is stored as."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from shared.store.database import Document
from shared.store.reading import check_urls, read_fields
from shared.urls import host_of

_REQUIRED = {"source": "_id", "urls": "urls", "created_at": "created_at", "enabled": "enabled"}
_OPTIONAL = (
    "interval_s",
    "cron",
    "weight",
    "window",
    "next_fetch_at",
    "running_import",
    "last_import",
    "consecutive_failures",
    "error",
    "history",
    "title",
    "document_title",
    "tags",
)
MAX_TITLE_LENGTH = 200
_VALIDATOR_FIELDS = ("etag", "last_modified", "body_hash", "final_url")


@dataclass(frozen=True, slots=True)
class StoredValidators:
    """What the last whole answer of one URL said about its version, byte for byte.

    ``final_url`` is the address behind all redirects that said so, the only one they mean
    anything to.
    """

    etag: str | None = None
    last_modified: str | None = None
    body_hash: str | None = None
    final_url: str | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed as stored.

    ``running_import`` names the import that is queued or fetching; a feed can be claimed only
    while it is empty. ``validators`` has one entry a URL that has any. ``history`` is what the
    schedule needs to know of earlier fetches, see ``server/feeds/history.py``. ``title`` is what
    somebody named it, ``document_title`` what its document is called.
    """

    source: str
    urls: list[str]
    created_at: datetime
    enabled: bool = True
    interval_s: int | None = None
    cron: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    weight: str | None = None
    window: Document | None = None
    next_fetch_at: datetime | None = None
    next_fetch_reason: str = "manual only: it has no schedule"
    running_import: str | None = None
    last_import: str | None = None
    consecutive_failures: int = 0
    error: str | None = None
    validators: dict[str, StoredValidators] = field(default_factory=dict)
    history: Document = field(default_factory=dict)
    title: str | None = None
    document_title: str | None = None
    tags: list[str] = field(default_factory=list)

    @property
    def shown_title(self) -> str | None:
        """The title that people see: their own, else the document's."""
        return self.title or self.document_title

    @property
    def host(self) -> str | None:
        """The host of its first URL, by which it is scheduled; None without a URL.

        Stored too, wherever ``urls`` is, so that feeds can be looked for by it.
        """
        return host_of_first(self.urls)

    @property
    def is_scheduled(self) -> bool:
        """Whether it is fetched by itself."""
        return self.interval_s is not None or self.cron is not None


@dataclass(frozen=True, slots=True)
class FeedCounts:
    """How many feeds there are; ``scheduled`` are fetched by themselves, ``failing`` failed last.

    A disabled feed is neither.
    """

    feeds: int
    scheduled: int
    failing: int


@dataclass(frozen=True, slots=True)
class Deferral:
    """A due feed as it was seen, when to fetch it instead, and why."""

    seen: Feed
    next_fetch_at: datetime
    reason: str


def key_of_urls(urls: Sequence[str]) -> str | None:
    """Return what stands for a feed's URLs as a whole in the unique index; None without any.

    A hash, for some stores limit the length of what they index.
    """
    return hashlib.sha256("\n".join(urls).encode()).hexdigest() if urls else None


def urls_fields(urls: Sequence[str]) -> Document:
    """Return all that is stored of a feed's URLs; ``urls_key`` is left out where there are none.

    Stored together or not at all: feeds are looked for by each of them.
    """
    key = key_of_urls(urls)
    fields: Document = {"urls": list(urls), "host": host_of_first(urls)}
    return fields if key is None else {**fields, "urls_key": key}


def validators_document(validators: Mapping[str, StoredValidators]) -> list[Document]:
    """Return validators as stored: a list, for a URL can be no field name."""
    return [
        {
            "url": url,
            "etag": entry.etag,
            "last_modified": entry.last_modified,
            "body_hash": entry.body_hash,
            "final_url": entry.final_url,
        }
        for url, entry in validators.items()
    ]


def to_document(feed: Feed) -> Document:
    """Return a new feed as stored."""
    return {
        "_id": feed.source,
        **urls_fields(feed.urls),
        "created_at": feed.created_at,
        # Not of the feed's own: see note_new_items. Until then it has been silent since it began.
        "new_item_at": feed.created_at,
        "enabled": feed.enabled,
        "interval_s": feed.interval_s,
        "cron": feed.cron,
        "headers": headers_document(feed.headers),
        "weight": feed.weight,
        "window": feed.window,
        "next_fetch_at": feed.next_fetch_at,
        "next_fetch_reason": feed.next_fetch_reason,
        "running_import": feed.running_import,
        "last_import": feed.last_import,
        "consecutive_failures": feed.consecutive_failures,
        "error": feed.error,
        "validators": validators_document(feed.validators),
        "history": feed.history,
        "title": feed.title,
        "document_title": feed.document_title,
        "tags": feed.tags,
    }


def tidy_title(text: str | None) -> str | None:
    """Return a title as one line of at most 200 characters that can be shown; None for a blank."""
    printable = "".join(c if c.isprintable() else " " for c in text or "")
    return " ".join(printable.split())[:MAX_TITLE_LENGTH].rstrip() or None


def host_of_first(urls: Sequence[str]) -> str | None:
    """Return the host by which a feed with these URLs is scheduled."""
    return host_of(urls[0]) if urls else None


def headers_document(headers: Mapping[str, str]) -> list[Document]:
    """Return headers as stored: a list, for a name may hold what a field name cannot."""
    return [{"name": name, "value": value} for name, value in headers.items()]


def to_feed(document: Document) -> Feed:
    """Return a feed from its document, also one that an earlier version stored.

    Raises:
        KeyError, TypeError, ValueError: a field is missing, or holds what it should not.
    """
    values = {name: document[stored] for name, stored in _REQUIRED.items()} | {
        name: document[name] for name in _OPTIONAL if document.get(name) is not None
    }
    feed = read_fields(
        Feed,
        values
        | {
            "headers": {entry["name"]: entry["value"] for entry in document.get("headers") or ()},
            "next_fetch_reason": document.get("next_fetch_reason")
            or "manual only: it has no schedule",
            "validators": _read_validators(document.get("validators") or ()),
        },
    )
    check_urls(feed.urls)
    return feed


def _read_validators(entries: Sequence[Document]) -> dict[str, StoredValidators]:
    return {
        entry["url"]: read_fields(
            StoredValidators, {name: entry.get(name) for name in _VALIDATOR_FIELDS}
        )
        for entry in entries
    }
