"""Turn a claimed job into an item that can be written, or into the reason why it cannot. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

import nh3
import orjson

from shared.errors import ItemError
from shared.models import (
    MAX_SOURCE_LENGTH,
    content_hash,
    counters_hash,
    is_source,
    make_guid,
    make_item_id,
    parse_time,
)
from shared.queue import ClaimedJob, JobQueue, Lock
from shared.store.items import check_encodable

STALLED = "stalled"
# nh3 0.3 takes time with the square of the ampersands behind a "<": 80,000 cost 0.3 s, a million
# minutes. A text with more than this is no article: it is shown as the text that it is.
MAX_AMPERSANDS = 20_000
_HTML_FIELDS = ("summary", "content")
_PLAIN_FIELDS = ("title", "author")
_DATE_FIELDS = ("published_at", "updated_at")
_SCHEME = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):")
_SAFE_SCHEMES = frozenset({"http", "https", "mailto", "ftp", "ftps", "magnet", "tel"})
# What a browser ignores in a URL before it looks at the scheme.
_IGNORED_IN_URLS = re.compile(r"[\x00-\x20\x7f]")
# In an address these stand for markup, or for nothing; written so they are the address still.
_UNSAFE_IN_URLS = {
    **dict.fromkeys([*range(0x20), 0x7F]),
    **{ord(character): f"%{ord(character):02X}" for character in '<>"`'},
}
# Fields of the publisher's own that hold an address: "link:via", "media:content@url".
_ADDRESS_NAME = re.compile(
    r"(?:^|/)link(?::[^/@]*)?$|(?:href|link|ur[li]|src|comments|docs|icon|image|logo|about)$",
    re.IGNORECASE,
)
_RUNNING_SCHEMES = frozenset({"javascript", "vbscript", "data"})


@dataclass(frozen=True, slots=True)
class HeldItem:
    """An item in hand: its claimed job, and the document that it shall become.

    ``content`` holds source, guid, the sanitised fields and ``content_hash`` (of the raw ones).
    """

    queue: JobQueue
    job: ClaimedJob
    item_id: str
    revision: int
    import_id: str | None
    content: dict[str, Any]

    @property
    def lock(self) -> Lock:
        """The right to settle the job."""
        return Lock(self.job.id, self.job.token)

    @property
    def size_bytes(self) -> int:
        """How much data its job carries."""
        return size_bytes(self.job)

    @property
    def source(self) -> str:
        """The source, by which items are buffered."""
        return str(self.content["source"])

    @property
    def content_hash(self) -> str:
        """The hash of the raw content."""
        return str(self.content["content_hash"])


def size_bytes(job: ClaimedJob) -> int:
    """Return how many bytes a job's data has in UTF-8, as it lies in Redis."""
    # Asking is free, and most data is ASCII: the others are encoded to be counted.
    text = job.raw_data
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def decode_data(job: ClaimedJob, max_bytes: int) -> dict[str, Any]:
    """Return a job's data with ``source`` and ``guid`` checked and the guid made storable.

    Raises:
        ItemError: ``stalled`` (given up by the queue), ``too_large``, ``undecodable``, ``invalid``.
    """
    if job.deferred_failure is not None:
        raise ItemError(STALLED, job.deferred_failure)
    job_bytes = size_bytes(job)
    if job_bytes > max_bytes:
        raise ItemError(
            "too_large", f"the item has {job_bytes} bytes, JOB_MAX_BYTES allows {max_bytes}"
        )
    try:
        data = orjson.loads(job.raw_data)
    except (orjson.JSONDecodeError, UnicodeError) as exc:
        raise ItemError("undecodable", f"the job's data is not JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise ItemError("invalid", f"the job's data is {type(data).__name__}, not an object")
    _check_identity(data)
    data["guid"] = make_guid(data["guid"])
    return data


def hold_item(queue: JobQueue, job: ClaimedJob, data: Mapping[str, Any], revision: int) -> HeldItem:
    """Build the document of an item: types checked, hashed, sanitised, proved encodable.

    Raises:
        ItemError: ``invalid``, ``unencodable``, ``too_large`` (sanitised text may be longer).
    """
    content = _build_content(data)
    check_encodable(content)
    import_id = data.get("import_id")
    return HeldItem(
        queue=queue,
        job=job,
        item_id=make_item_id(content["source"], content["guid"]),
        revision=revision,
        import_id=import_id if isinstance(import_id, str) else None,
        content=content,
    )


def _check_identity(data: Mapping[str, Any]) -> None:
    source, guid = data.get("source"), data.get("guid")
    if not isinstance(source, str) or not is_source(source):
        raise ItemError(
            "invalid",
            f"source {str(source)[:80]!r} is not a slug of a-z 0-9 - _ ., "
            f"1 to {MAX_SOURCE_LENGTH} characters",
        )
    if not isinstance(guid, str) or not guid:
        raise ItemError(
            "invalid", f"guid {str(guid)[:80]!r} is not a text of one character or more"
        )


def _build_content(data: Mapping[str, Any]) -> dict[str, Any]:
    for name in (*_HTML_FIELDS, *_PLAIN_FIELDS, "link", "read_by"):
        _expect(data, name, str)
    for name in ("formats", "bases"):
        _expect_texts(data, name)
    categories = _read_list(data, "categories", _read_text)
    enclosures = _read_list(data, "enclosures", _read_enclosure)
    extra = _read_list(data, "extra", _read_extra)
    content: dict[str, Any] = {"source": data["source"], "guid": data["guid"]}
    content |= {name: _clean_html(data[name]) for name in _HTML_FIELDS if data.get(name)}
    content |= {name: _clean_text(data[name]) for name in _PLAIN_FIELDS if data.get(name)}
    if data.get("link") and _is_safe_url(data["link"]):
        content["link"] = _clean_url(data["link"])
    content["categories"] = [_clean_text(category) for category in categories]
    content["enclosures"] = [
        _clean_enclosure(entry) for entry in enclosures if _is_safe_url(entry["url"])
    ]
    content["extra"] = [
        {
            **field,
            "name": _clean_text(field["name"]),
            **({"value": _clean_html(field["value"])} if "value" in field else {}),
        }
        for field in extra
        if not _runs_something(field)
    ]
    content |= {name: _read_time(data, name) for name in _DATE_FIELDS if data.get(name)}
    content["content_hash"] = content_hash(data)
    counters = counters_hash(data)
    if counters is not None:
        content["counters_hash"] = counters
    if data.get("read_by"):
        content["read_by"] = data["read_by"]
    return content


def _expect(data: Mapping[str, Any], name: str, kind: type) -> None:
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise ItemError("invalid", f"{name} is {type(value).__name__}, not {kind.__name__}")


def _read_list(
    data: Mapping[str, Any], name: str, read_entry: Callable[[str, Any], Any]
) -> list[Any]:
    _expect(data, name, list)
    return [read_entry(name, entry) for entry in data.get(name) or ()]


def _read_text(name: str, entry: Any) -> str:
    if not isinstance(entry, str):
        raise ItemError("invalid", f"{name} holds {type(entry).__name__}, not str")
    return entry


def _read_enclosure(name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
        raise ItemError("invalid", f"{name} holds an entry without a url")
    _expect(entry, "type", str)
    _expect(entry, "length", int)
    return {key: entry[key] for key in ("url", "type", "length") if entry.get(key) is not None}


def _read_extra(name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ItemError("invalid", f"{name} holds an entry without a name")
    _expect(entry, "value", str)
    _expect_texts(entry, "attributes")
    read: dict[str, Any] = {"name": entry["name"]}
    if entry.get("value"):
        read["value"] = entry["value"]
    if entry.get("attributes"):
        read["attributes"] = entry["attributes"]
    return read


def _expect_texts(data: Mapping[str, Any], name: str) -> None:
    _expect(data, name, dict)
    for value in (data.get(name) or {}).values():
        if not isinstance(value, str):
            raise ItemError("invalid", f"{name} holds {type(value).__name__}, not str")


def _read_time(data: Mapping[str, Any], name: str) -> datetime:
    _expect(data, name, str)
    try:
        return parse_time(data[name])
    except (ValueError, OverflowError) as exc:
        raise ItemError("invalid", f"{name} {data[name][:40]!r} is not RFC 3339") from exc


def _clean_html(text: str) -> str:
    # Without "<" there is no markup, and plain text stays as the publisher wrote it.
    if "<" not in text:
        return text
    return nh3.clean(text) if _can_be_cleaned(text) else escape(text)


def _clean_text(text: str) -> str:
    if "<" not in text:
        return text
    return nh3.clean(text, tags=set()) if _can_be_cleaned(text) else escape(text)


def _can_be_cleaned(text: str) -> bool:
    return text.count("&") <= MAX_AMPERSANDS


def _clean_enclosure(entry: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = {**entry, "url": _clean_url(entry["url"])}
    return cleaned | ({"type": _clean_text(entry["type"])} if "type" in entry else {})


def _clean_url(url: str) -> str:
    return url.translate(_UNSAFE_IN_URLS)


def _is_safe_url(url: str) -> bool:
    scheme = _scheme_of(url)
    return scheme is None or scheme in _SAFE_SCHEMES


def _runs_something(field: Mapping[str, Any]) -> bool:
    """Tell whether a field is an address that a browser would run."""
    is_address = _ADDRESS_NAME.search(field["name"]) is not None
    return is_address and _scheme_of(field.get("value", "")) in _RUNNING_SCHEMES


def _scheme_of(url: str) -> str | None:
    scheme = _SCHEME.match(_IGNORED_IN_URLS.sub("", url))
    return scheme[1].lower() if scheme is not None else None
