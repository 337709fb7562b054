"""Turn a claimed job into an item that can be written, or into the reason why it cannot. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from shared.errors import ItemError
from shared.models import (
    DEFAULT_FORMATS,
    MAX_SOURCE_LENGTH,
    Rank,
    content_hash,
    counters_hash,
    is_attribute_name,
    is_source,
    make_guid,
    make_item_id,
    parse_time,
)
from shared.queue import ClaimedJob, JobQueue, Lock
from shared.queue.reading import load_json
from shared.store.items import check_encodable
from shared.urls import is_safe, scheme_of, tidy
from worker.sanitize import (
    clean_extra,
    clean_html,
    clean_text,
    may_hold_controls,
    without_controls,
)

STALLED = "stalled"
_HTML_FIELDS = ("summary", "content")
_PLAIN_FIELDS = ("title", "author")
_TEXT_FIELDS = (*_HTML_FIELDS, *_PLAIN_FIELDS, "link", "read_by")
_DATE_FIELDS = ("published_at", "updated_at")


@dataclass(frozen=True, slots=True)
class DecodedItem:
    """A claimed job and the document that it shall become.

    ``content`` holds source, guid, the sanitised fields and ``content_hash`` (of the raw ones).
    ``import_id``: None of an item that another program added, whatever its data says.
    ``epoch``: the indexer whose interval listed it, and in which epoch; None of an ordinary item.
    """

    queue: JobQueue
    job: ClaimedJob
    item_id: str
    revision: int
    import_id: str | None
    content: dict[str, Any]
    epoch: tuple[str, int] | None = None

    @property
    def rank(self) -> Rank:
        """What decides whether its content wins over what is stored."""
        return Rank.of(self.content, self.revision)

    @property
    def lock(self) -> Lock:
        """The right to settle the job."""
        return self.job.lock

    @property
    def size_bytes(self) -> int:
        """How much data its job carries."""
        return self.job.size_bytes

    @property
    def source(self) -> str:
        """The source, by which items are buffered."""
        return str(self.content["source"])

    @property
    def content_hash(self) -> str:
        """The hash of the raw content."""
        return str(self.content["content_hash"])


def decode_data(job: ClaimedJob, max_bytes: int) -> dict[str, Any]:
    """Return a job's data with ``source`` and ``guid`` checked and the guid made storable.

    Raises:
        ItemError: ``stalled`` (given up by the queue), ``too_large``, ``undecodable``, ``invalid``.
    """
    if job.deferred_failure is not None:
        raise ItemError(STALLED, job.deferred_failure)
    job_bytes = job.size_bytes
    if job_bytes > max_bytes:
        raise ItemError(
            "too_large", f"the item has {job_bytes} bytes, JOB_MAX_BYTES allows {max_bytes}"
        )
    try:
        data = orjson.loads(job.raw_data)
    except (orjson.JSONDecodeError, UnicodeError):
        data = _decode_odd(job.raw_data)
    if not isinstance(data, dict):
        raise ItemError("invalid", f"the job's data is {type(data).__name__}, not an object")
    _check_identity(data)
    data["guid"] = make_guid(data["guid"])
    return data


def _decode_odd(raw_data: str) -> Any:
    try:
        return load_json(raw_data)
    except (orjson.JSONDecodeError, UnicodeError) as exc:
        raise ItemError("undecodable", f"the job's data is not JSON: {exc}") from exc


def decode_item(
    queue: JobQueue, job: ClaimedJob, data: Mapping[str, Any], revision: int
) -> DecodedItem:
    """Build the document of an item: types checked, hashed, sanitised, proved encodable.

    Raises:
        ItemError: ``invalid``, ``unencodable``, ``too_large`` (sanitised text may be longer).
    """
    shown = without_controls(data) if may_hold_controls(job.raw_data) else data
    content = _build_content(data, shown)
    check_encodable(content)
    return DecodedItem(
        queue=queue,
        job=job,
        item_id=make_item_id(content["source"], content["guid"]),
        revision=revision,
        import_id=job.tally,
        content=content,
        epoch=read_epoch(job, data) if "indexer" in data else None,
    )


def read_epoch(job: ClaimedJob, data: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the indexer and the epoch that a job's data name, if they do.

    Only that of an import's job: in another program's these fields are the program's own.
    """
    if job.tally is None:
        return None
    name, epoch = data.get("indexer"), data.get("epoch")
    return (name, epoch) if isinstance(name, str) and isinstance(epoch, int) else None


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


def _build_content(data: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an item; ``shown`` is what its texts are made of, ``data`` is hashed."""
    _check_types(shown)
    formats = _formats_of(shown)
    content: dict[str, Any] = {"source": data["source"], "guid": data["guid"]}
    content |= _clean_texts(shown, formats)
    if shown.get("link") and is_safe(shown["link"]):
        content["link"] = tidy(shown["link"])
    content["categories"] = _clean_categories(shown, formats["categories"])
    content["enclosures"] = _clean_enclosures(shown)
    content["extra"] = _clean_extras(shown, formats["extra"])
    for name in _DATE_FIELDS:
        if shown.get(name):
            content[name] = _read_time(shown, name)
    content["content_hash"] = content_hash(data)
    counters = counters_hash(data) if data.get("extra") else None
    if counters is not None:
        content["counters_hash"] = counters
    if shown.get("read_by"):
        content["read_by"] = shown["read_by"]
    return content


def _check_types(data: Mapping[str, Any]) -> None:
    for name in _TEXT_FIELDS:
        # Asked for here: a call a field and item takes longer than the question.
        if type(data.get(name, "")) is not str:
            _expect(data, name, str)
    for name in ("formats", "bases"):
        if name in data:
            _expect_texts(data, name)


def _formats_of(data: Mapping[str, Any]) -> Mapping[str, str]:
    formats = data.get("formats")
    return {**DEFAULT_FORMATS, **formats} if formats else DEFAULT_FORMATS


def _clean_texts(data: Mapping[str, Any], formats: Mapping[str, str]) -> dict[str, str]:
    """Return the texts that are shown; one that shows nothing is left out."""
    texts: dict[str, str] = {}
    for name in _HTML_FIELDS:
        if data.get(name):
            texts[name] = clean_html(data[name], formats[name], _find_base(data, name))
    for name in _PLAIN_FIELDS:
        if data.get(name):
            texts[name] = clean_text(data[name], formats[name])
    return texts if all(texts.values()) else {name: text for name, text in texts.items() if text}


def _clean_categories(data: Mapping[str, Any], text_format: str) -> list[str]:
    shown = [
        clean_text(category, text_format) for category in _read_list(data, "categories", _read_text)
    ]
    return list(dict.fromkeys(filter(None, shown)))


def _clean_enclosures(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    files = _read_list(data, "enclosures", _read_enclosure)
    return [{**file, "url": tidy(file["url"])} for file in files if is_safe(file["url"])]


def _clean_extras(data: Mapping[str, Any], text_format: str) -> list[dict[str, Any]]:
    extra = _read_list(data, "extra", _read_extra)
    if not extra:
        return []
    base = _find_base(data, "extra")
    cleaned = [clean_extra(entry, text_format, base) for entry in extra]
    return [entry for entry in cleaned if entry is not None]


def _find_base(data: Mapping[str, Any], name: str) -> str | None:
    """Return what relative URLs in a field refer to: its own base, else the link."""
    base = (data.get("bases") or {}).get(name) or data.get("link") or ""
    return base if scheme_of(base) in ("http", "https") else None


def _expect(data: Mapping[str, Any], name: str, kind: type) -> None:
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise ItemError("invalid", f"{name} is {type(value).__name__}, not {kind.__name__}")


def _read_list(
    data: Mapping[str, Any], name: str, read_entry: Callable[[str, Any], Any]
) -> list[Any]:
    if name not in data:
        return []
    _expect(data, name, list)
    return [read_entry(name, entry) for entry in data[name] or ()]


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
    if not all(map(is_attribute_name, entry.get("attributes") or ())):
        raise ItemError("invalid", f"{name} holds an attribute whose name cannot be stored")
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
