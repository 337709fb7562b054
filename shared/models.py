"""Feed items and the rules of their identity: id, content hash, rank, job data, document.

Identity and hash are frozen: ``tests/unit/test_golden_vectors.py`` holds ids and hashes of known
items, and ``HASH_VERSION`` has to be raised, with a migration, before any of them may change.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from shared.errors import ItemError

HASH_VERSION = 2
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
_TEXTS = attrgetter(*_TEXT_FIELDS)
# How a raw text is to be read. What ``formats`` does not name has the default.
TEXT = "text"
HTML = "html"
DEFAULT_FORMATS: Mapping[str, str] = {
    "title": TEXT, "author": TEXT, "categories": TEXT, "extra": TEXT, "summary": HTML,
    "content": HTML,
}  # fmt: skip
# Elements that count how often an item was read, rated or answered. They change while the item
# does not: in its hash they would make every poll an update.
_COUNTERS = frozenset(
    {
        "slash:comments", "slash:hit_parade", "slash:hitparade", "thr:total", "media:community",
        "media:statistics", "media:starrating", "media:views", "yt:statistics", "yt:rating",
        "gd:comments", "gd:rating", "nyaa:seeders", "nyaa:leechers", "nyaa:downloads",
        "nyaa:comments", "torrent:seeds", "torrent:peers", "post:count",
    }
)  # fmt: skip
# The same on elements that say more: <link rel="replies" thr:count="5">.
_COUNTER_ATTRIBUTES = frozenset({"thr:count", "thr:updated", "countHint"})
# One element of indexers for all they know of a file, its counters among it.
_NAMED_ATTRIBUTES = frozenset({"torznab:attr", "newznab:attr"})
_NAMED_COUNTERS = frozenset({"seeders", "leechers", "peers", "grabs", "comments"})
# Entries of ``extra`` that keep a date which could not be read. Like all dates outside the hash.
UNREAD_PUBLISHED = "published"
UNREAD_UPDATED = "updated"
_UNREAD_DATES = frozenset({UNREAD_PUBLISHED, UNREAD_UPDATED})


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file that belongs to an item; ``length`` is the size in bytes as the feed states it."""

    url: str
    type: str | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class ExtraField:
    """One element that the feed carries beyond the known fields: ``job_listing:company``.

    A nested one is named by its path: ``media:group/media:content``. ``value`` is the element's
    own text, None where it has none; ``attributes`` are named as the publisher writes them.
    """

    name: str
    value: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


def is_attribute_name(name: str) -> bool:
    """Return whether an extra field's attribute can be stored under a name."""
    return not name.startswith("$") and "\x00" not in name


_NOTHING: Mapping[str, str] = {}


class FeedItem(NamedTuple):
    """One entry of a feed, raw: as written by the publisher, neither sanitised nor shortened.

    ``guid`` is the identity in its source after the fallbacks of :func:`make_guid`; two items
    of one source with the same guid are the same item.

    ``formats`` says of the fields whose format is not the default whether they are ``text`` or
    ``html`` (:data:`DEFAULT_FORMATS`; ``extra`` and ``categories`` as a whole). ``bases`` holds
    what relative addresses in summary, content and extra refer to, where that is not the link.
    ``read_by`` names the reader that an item of a damaged document needed.
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
    formats: Mapping[str, str] = _NOTHING
    bases: Mapping[str, str] = _NOTHING
    read_by: str | None = None

    def __reduce__(self) -> tuple[type["FeedItem"], tuple[Any, ...]]:
        """Pickle as plain arguments: faster than what a named tuple does by itself."""
        return FeedItem, tuple(self)


def is_source(text: str) -> bool:
    """Return whether ``text`` may be a source: a slug of ``a-z 0-9 - _ .``, 1 to 64 characters."""
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


def read_identity(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return source and guid, as it is stored, that a job's data names; None if not both."""
    source, guid = data.get("source"), data.get("guid")
    if not isinstance(source, str) or not is_source(source):
        return None
    return (source, make_guid(guid)) if isinstance(guid, str) and guid else None


def job_data(source: str, item: FeedItem) -> dict[str, Any]:
    """Return an item as the flat JSON object that its job carries; absent fields are left out."""
    data: dict[str, Any] = {"source": source, "guid": item.guid}
    for name, text in zip(_TEXT_FIELDS, _TEXTS(item), strict=True):
        if text is not None:
            data[name] = text
    if item.categories:
        data["categories"] = list(item.categories)
    if item.enclosures:
        data["enclosures"] = [_enclosure_data(file) for file in item.enclosures]
    if item.published_at is not None:
        data["published_at"] = format_time(item.published_at)
    if item.updated_at is not None:
        data["updated_at"] = format_time(item.updated_at)
    if item.extra:
        data["extra"] = [_extra_data(entry) for entry in item.extra]
    if item.formats:
        data["formats"] = dict(item.formats)
    if item.bases:
        data["bases"] = dict(item.bases)
    if item.read_by is not None:
        data["read_by"] = item.read_by
    return data


def content_hash(data: Mapping[str, Any]) -> str:
    """Return the hash of an item's raw content, from its job data.

    Over link, title, summary, content, author, categories, enclosures, extra and the formats, all
    as published. Dates are left out, for many publishers change them at every poll; counters, for
    they say nothing of the item; bases and ``read_by``, for they are not content. The text is
    ``<version>:<sha256 hex of a canonical JSON>``, so that hashes of two rules never compare equal.
    """
    get = data.get
    content: list[object] = [get(name) or "" for name in _TEXT_FIELDS]
    content.append(list(get("categories") or ()))
    files, extra, formats = get("enclosures"), get("extra"), get("formats") or {}
    content.append([[e.get("url"), e.get("type"), e.get("length")] for e in files] if files else ())
    content.append([_hashed(e) for e in extra if _is_content(e)] if extra else ())
    others = (name for name in DEFAULT_FORMATS if _is_other_format(formats, name))
    content.append([[name, formats[name]] for name in others] if formats else ())
    return _digest(content)


def counters_hash(data: Mapping[str, Any]) -> str | None:
    """Return the hash of an item's counters, from its job data; None where it has none.

    A counter that changed alone refreshes the stored document, but is no update of the item.
    """
    counters: list[object] = []
    for entry in data.get("extra") or ():
        attributes = entry.get("attributes") or {}
        if is_counter(entry):
            counters.append(
                [entry.get("name"), entry.get("value") or "", sorted(attributes.items())]
            )
        elif not _COUNTER_ATTRIBUTES.isdisjoint(attributes):
            counted = sorted(item for item in attributes.items() if item[0] in _COUNTER_ATTRIBUTES)
            counters.append([entry.get("name"), "", counted])
    return _digest(counters) if counters else None


def _is_content(entry: Mapping[str, Any]) -> bool:
    return entry.get("name") not in _UNREAD_DATES and not is_counter(entry)


def is_counter(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of ``extra`` in job data is a counter, or part of one."""
    name = str(entry.get("name"))
    if name in _NAMED_ATTRIBUTES:
        attributes = entry.get("attributes") or {}
        return str(attributes.get("name")) in _NAMED_COUNTERS
    return _is_counters_name(name)


@lru_cache(maxsize=4096)
def _is_counters_name(name: str) -> bool:
    return ":" in name and not _COUNTERS.isdisjoint(name.lower().split("/"))


def encode_json(value: object) -> bytes:
    """Return compact UTF-8 JSON.

    Raises:
        ItemError: ``unencodable``, for a value that JSON or UTF-8 cannot hold (a lone surrogate).
    """
    try:
        return orjson.dumps(value)
    except TypeError as exc:
        raise ItemError("unencodable", f"cannot be written as JSON: {exc}") from exc


def write_json(value: object) -> str:
    """Return compact JSON text of whatever it is, for a record that people read.

    What :func:`encode_json` refuses is escaped, or written as ``str`` has it.
    """
    try:
        return encode_json(value).decode()
    except ItemError:
        return json.dumps(value, default=str)


def format_time(moment: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC, to the millisecond."""
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


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


def _extra_data(entry: ExtraField) -> dict[str, Any]:
    data: dict[str, Any] = {"name": entry.name}
    if entry.value is not None:
        data["value"] = entry.value
    if entry.attributes:
        data["attributes"] = dict(entry.attributes)
    return data


def _hashed(entry: Mapping[str, Any]) -> list[object]:
    """Return what is hashed of an entry of ``extra``: the order of attributes means nothing."""
    attributes = entry.get("attributes") or {}
    content = sorted(item for item in attributes.items() if item[0] not in _COUNTER_ATTRIBUTES)
    return [entry.get("name"), entry.get("value") or "", content]


def _is_other_format(formats: Mapping[str, Any], name: str) -> bool:
    default = DEFAULT_FORMATS[name]
    return bool(formats.get(name, default) != default)


def _digest(content: object) -> str:
    return f"{HASH_VERSION}:{hashlib.sha256(encode_json(content)).hexdigest()}"


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """The order of an item's contents: a strict reading wins over a lenient one, whatever their
    revisions; among equals the higher revision wins.

    A lenient reading is a guess at a damaged document. It stands in until a strict one comes, and
    must never take the place of one. The rank of a stored document only ever rises.
    """

    is_strict: bool
    revision: int

    @classmethod
    def of(cls, data: Mapping[str, Any], revision: int) -> "Rank":
        """Return the rank of an item's job data, or document, at a revision."""
        return cls(get_reader(data) is None, revision)


def get_reader(data: Mapping[str, Any]) -> str | None:
    """Return which lenient reader made an item, from its job data or document; None: a strict one.

    What is no name counts as none.
    """
    read_by = data.get("read_by")
    return read_by if isinstance(read_by, str) and read_by else None
