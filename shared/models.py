"""Feed items and the rules of their identity: id, content hash, job data, document.

Identity and hash are frozen: ``tests/unit/test_golden_vectors.py`` holds ids and hashes of known
items, and ``HASH_VERSION`` has to be raised, with a migration, before any of them may change.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from shared.errors import ItemError

HASH_VERSION = 1
MAX_GUID_BYTES = 512
MAX_SOURCE_LENGTH = 64

SOURCE_PATTERN = re.compile(r"[a-z0-9_.-]{1,64}")
# The Unicode categories Cc and Cs, and the line separators: nothing that would break a log line,
# a URL or a key.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\ud800-\udfff]")
# BullMQ keeps a job's parts under `<job id>:<suffix>`; a guid that ends so would share their keys.
_RESERVED_SUFFIXES = (
    ":logs",
    ":lock",
    ":dependencies",
    ":processed",
    ":failed",
    ":unsuccessful",
)
_TEXT_FIELDS = ("link", "title", "summary", "content", "author")
_DATE_FIELDS = ("published_at", "updated_at")


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file that belongs to an item; ``length`` is the size in bytes as the feed states it."""

    url: str
    type: str | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class ExtraField:
    """One element that the feed carries beyond the known fields: ``job_listing:company``."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One entry of a feed, raw: as written by the publisher, neither sanitised nor shortened.

    ``guid`` is the identity in its source after the fallbacks of :func:`make_guid`; two items
    of one source with the same guid are the same item.
    """

    guid: str
    link: str | None = None
    title: str | None = None
    summary: str | None = None
    content: str | None = None
    author: str | None = None
    categories: tuple[str, ...] = ()
    enclosures: tuple[Enclosure, ...] = ()
    published_at: datetime | None = None
    updated_at: datetime | None = None
    extra: tuple[ExtraField, ...] = ()


def is_source(text: str) -> bool:
    """Tell whether ``text`` may be a source: a slug of ``a-z 0-9 - _ .``, 1 to 64 characters."""
    return SOURCE_PATTERN.fullmatch(text) is not None


def make_guid(written: str) -> str:
    """Return the guid to store for an identity as written.

    The text itself; where Redis or BullMQ could not hold it (over 512 bytes, control characters,
    a reserved suffix) ``sha256:<hex>`` of its UTF-8 bytes.
    """
    encoded = written.encode("utf-8", "surrogatepass")
    unsafe = (
        len(encoded) > MAX_GUID_BYTES
        or _UNPRINTABLE.search(written) is not None
        or written.endswith(_RESERVED_SUFFIXES)
    )
    return "sha256:" + hashlib.sha256(encoded).hexdigest() if unsafe else written


def make_item_id(source: str, guid: str) -> str:
    """Return the id of an item's document and job: ``source#guid``."""
    return f"{source}#{guid}"


def split_item_id(item_id: str) -> tuple[str, str]:
    """Split an item id at its first ``#``: a source holds none, a guid may."""
    source, _, guid = item_id.partition("#")
    return source, guid


def job_data(source: str, item: FeedItem) -> dict[str, Any]:
    """Return an item as the flat JSON object that its job carries; absent fields are left out."""
    data: dict[str, Any] = {"source": source, "guid": item.guid}
    for field in _TEXT_FIELDS:
        data[field] = getattr(item, field)
    data["categories"] = list(item.categories)
    data["enclosures"] = [_enclosure_data(enclosure) for enclosure in item.enclosures]
    for field in _DATE_FIELDS:
        moment = getattr(item, field)
        data[field] = format_time(moment) if moment is not None else None
    data["extra"] = [{"name": field.name, "value": field.value} for field in item.extra]
    return {name: value for name, value in data.items() if value is not None and value != []}


def content_hash(data: Mapping[str, Any]) -> str:
    """Return the hash of an item's raw content, from its job data.

    Over link, title, summary, content, author, categories, enclosures and extra; dates are left
    out, for many publishers change them at every poll. The text is
    ``<version>:<sha256 hex of a canonical JSON>``, so that hashes of two rules never compare equal.
    """
    content = [data.get(field) or "" for field in _TEXT_FIELDS]
    content.append(list(data.get("categories") or ()))
    content.append(
        [[e.get("url"), e.get("type"), e.get("length")] for e in data.get("enclosures") or ()]
    )
    content.append([[e.get("name"), e.get("value")] for e in data.get("extra") or ()])
    return f"{HASH_VERSION}:{hashlib.sha256(encode_json(content)).hexdigest()}"


def encode_json(value: object) -> bytes:
    """Return compact UTF-8 JSON.

    Raises:
        ItemError: ``unencodable``, for a value that JSON or UTF-8 cannot hold (a lone surrogate).
    """
    try:
        return orjson.dumps(value)
    except TypeError as exc:
        raise ItemError("unencodable", f"cannot be written as JSON: {exc}") from exc


def format_time(moment: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC, to the millisecond."""
    in_utc = moment.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Read RFC 3339 text; a time without a zone is UTC.

    Raises:
        ValueError: not a time.
    """
    moment = datetime.fromisoformat(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError(f"{text!r} is outside the years 1 to 9999 in UTC") from exc


def _enclosure_data(enclosure: Enclosure) -> dict[str, Any]:
    fields = {"url": enclosure.url, "type": enclosure.type, "length": enclosure.length}
    return {name: value for name, value in fields.items() if value is not None}
