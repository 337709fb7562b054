"""JSON Feed 1.0 and 1.1 to entries. A value of a wrong type rejects its item, not the feed."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from server.parsing.date_reader import DateReader
from server.parsing.guids import choose_guid, hash_guid, identifying_texts
from server.parsing.json_repair import JsonDocument, read_json
from server.parsing.limits import check_item, check_items, check_parts
from server.parsing.links import resolve_link
from server.parsing.parsed import ParsedEntry, ParsedFeed, RejectedEntry
from shared.errors import ItemError, ParseError
from shared.models import TEXT, Enclosure, ExtraField, FeedItem

_ADDRESS = "jsonfeed.org/version/"
# Where APIs say what went wrong.
_ERROR_NAMES = ("error", "errors", "error_description", "message", "detail", "msg")
_LONGEST_ERROR = 200
_KNOWN = frozenset(
    {
        "id", "url", "external_url", "title", "content_html", "content_text", "summary",
        "date_published", "date_modified", "author", "authors", "tags", "attachments",
    }
)  # fmt: skip


def parse_json_feed(text: str, *, url: str | None, now: datetime) -> ParsedFeed:
    """Read a document that begins like JSON.

    A faulty one is mended; of one that breaks off the items that were whole are taken.

    Raises:
        ParseError: ``json_error`` (an error in JSON, or no JSON), ``not_a_feed`` (other JSON),
            ``damaged`` with no whole item in it, ``limits``.
    """
    document = read_json(text)
    feed = _check_feed(document)
    check_items(len(feed["items"]))
    check_parts(sum(map(_count_parts, feed["items"])))
    warnings = [f"not valid JSON: {document.damage}"] if document.damage else []
    if not document.is_complete:
        warnings.append("damaged, only the items before the damage are taken")
    reader = _ItemReader(feed, url=url, dates=DateReader(now))
    entries: list[ParsedEntry] = []
    rejected: list[RejectedEntry] = []
    for value in feed["items"]:
        try:
            entries.append(reader.read(value))
        except ItemError as exc:
            rejected.append(_reject(value, str(exc)))
    title, next_page = feed.get("title"), feed.get("next_url")
    return ParsedFeed(
        format="json_feed",
        version=str(feed["version"]).rpartition("/")[2],
        title=title if isinstance(title, str) else None,
        entries=tuple(entries),
        rejected=tuple(rejected),
        warnings=(*warnings, *reader.dates.warnings()),
        is_whole=document.is_complete,
        next_page=next_page if isinstance(next_page, str) else None,
    )


def _check_feed(document: JsonDocument) -> dict[str, Any]:
    """Return the feed's members, or raise what the document is instead."""
    feed = document.value
    is_feed = isinstance(feed, dict) and _ADDRESS in str(feed.get("version"))
    if is_feed and not document.is_complete and not feed.get("items"):
        raise ParseError(
            "damaged", f"the document breaks off before its first item ends: {document.damage}"
        )
    if is_feed and isinstance(feed.get("items"), list):
        return dict(feed)
    if document.damage and not document.is_complete:
        raise ParseError("json_error", f"not valid JSON: {document.damage}")
    told = _told_error(feed)
    if told:
        raise ParseError("json_error", f"an error in JSON instead of a feed: {told}")
    what = "a JSON Feed without a list of items" if is_feed else "JSON, but not a JSON Feed"
    raise ParseError("not_a_feed", f"the document is {what}")


def _told_error(value: object) -> str:
    """Return what an error answer of an API says, shortened; nothing for other JSON."""
    if not isinstance(value, dict):
        return ""
    told = next((value[name] for name in _ERROR_NAMES if value.get(name)), "")
    if isinstance(told, list):
        told = told[0]
    if isinstance(told, dict):
        told = next((told[name] for name in _ERROR_NAMES if told.get(name)), told)
    return str(told)[:_LONGEST_ERROR]


def _count_parts(value: object) -> int:
    """Return how many fields an item may become."""
    if not isinstance(value, dict):
        return 1
    return sum(len(held) if isinstance(held, list) else 1 for held in value.values())


class _ItemReader:
    """Reads the items of one document, which share its bases and its clock."""

    def __init__(self, feed: Mapping[str, Any], *, url: str | None, dates: DateReader) -> None:
        home, own = feed.get("home_page_url"), feed.get("feed_url")
        self._home = home if isinstance(home, str) else None
        self._url = url
        self._feed_urls = frozenset(text for text in (url, own) if isinstance(text, str))
        self.dates = dates

    def read(self, value: object) -> ParsedEntry:
        """Return an item as an entry.

        Raises:
            ItemError: ``unreadable``, for values of a wrong type or an item without identity.
        """
        if not isinstance(value, dict):
            raise ItemError("unreadable", f"the item is {_kind(value)}, not an object")
        written_guid = _identity(value)
        written_link = _text(value, "url") or _text(value, "external_url")
        written_enclosures = _enclosures(value)
        published, updated = _text(value, "date_published"), _text(value, "date_modified")
        content_html = _text(value, "content_html")
        content = content_html or _text(value, "content_text")
        summary = _text(value, "summary")
        texts = {"summary": summary, "content": None if content_html else content}
        item = FeedItem(
            guid="",
            link=self._resolve(written_link),
            title=_text(value, "title"),
            summary=summary,
            content=content,
            author=_authors(value),
            categories=_tags(value),
            enclosures=self._resolve_enclosures(written_enclosures),
            published_at=self.dates.read(published),
            updated_at=self.dates.read(updated),
            extra=_extra(value),
            formats={name: TEXT for name, text in texts.items() if text},
        )
        check_item(item)
        chosen = choose_guid(
            written_guid=written_guid,
            written_link=written_link,
            enclosure_url=written_enclosures[0].url if written_enclosures else None,
            fallback=identifying_texts(item, published or updated),
            feed_urls=self._feed_urls,
        )
        if chosen is None:
            raise ItemError("unreadable", "the item is empty")
        return ParsedEntry(replace(item, guid=chosen[0]), written_guid, written_link, chosen[1])

    def _resolve_enclosures(self, written: tuple[Enclosure, ...]) -> tuple[Enclosure, ...]:
        return tuple(replace(file, url=self._resolve(file.url) or file.url) for file in written)

    def _resolve(self, link: str | None) -> str | None:
        return resolve_link(link, bases=(self._home, self._url)) if link else None


def _reject(value: object, reason: str) -> RejectedEntry:
    """Return the rejected item under its id, or a hash of all it says: never its position."""
    fields = value if isinstance(value, dict) else {}
    texts = {name: fields.get(name) for name in ("id", "url", "title")}
    known = {name: text for name, text in texts.items() if isinstance(text, str)}
    chosen = choose_guid(
        written_guid=known.get("id"),
        written_link=known.get("url"),
        enclosure_url=None,
        fallback=(_sum_up(value),),
        feed_urls=frozenset(),
    )
    guid = chosen[0] if chosen is not None else hash_guid(())
    return RejectedEntry(guid, reason, title=known.get("title"), link=known.get("url"))


def _sum_up(value: object) -> str:
    try:
        return _dump(value)
    except ItemError as exc:
        return str(exc)


def _identity(value: Mapping[str, Any]) -> str | None:
    written = value.get("id")
    # Version 1 says that a number is to be read as text.
    if isinstance(written, int | float) and not isinstance(written, bool):
        return str(written)
    return _text(value, "id")


def _text(value: Mapping[str, Any], name: str) -> str | None:
    text = value.get(name)
    if text is None:
        return None
    if not isinstance(text, str):
        raise ItemError("unreadable", f"{name!r} is {_kind(text)}, not a string")
    return text.strip() or None


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    values = value.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise ItemError("unreadable", f"{name!r} is {_kind(values)}, not a list")
    return values


def _objects(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    values = _list(value, name)
    for each in values:
        if not isinstance(each, dict):
            raise ItemError("unreadable", f"{name!r} holds {_kind(each)}, not an object")
    return values


def _authors(value: Mapping[str, Any]) -> str | None:
    people = _objects(value, "authors")
    if not people and value.get("author") is not None:
        people = _objects({"author": [value["author"]]}, "author")
    names = [_text(person, "name") or _text(person, "url") for person in people]
    return ", ".join(dict.fromkeys(name for name in names if name)) or None


def _tags(value: Mapping[str, Any]) -> tuple[str, ...]:
    tags = _list(value, "tags")
    if not all(isinstance(tag, str) for tag in tags):
        raise ItemError("unreadable", "'tags' holds something other than strings")
    return tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))


def _enclosures(value: Mapping[str, Any]) -> tuple[Enclosure, ...]:
    enclosures = []
    for attachment in _objects(value, "attachments"):
        url = _text(attachment, "url")
        size = attachment.get("size_in_bytes")
        length = int(size) if isinstance(size, int | float) and 0 <= size < 2**63 else None
        if url:
            enclosures.append(Enclosure(url, _text(attachment, "mime_type"), length))
    return tuple(enclosures)


def _extra(value: Mapping[str, Any]) -> tuple[ExtraField, ...]:
    """Return what is left: strings as they are, lists one by one, all else as JSON."""
    fields: list[ExtraField] = []
    for name, content in value.items():
        if name not in _KNOWN and content is not None:
            values = content if isinstance(content, list) else [content]
            fields.extend(ExtraField(name, _as_text(each)) for each in values)
    if value.get("url") and value.get("external_url"):
        fields.append(ExtraField("external_url", str(value["external_url"])))
    return tuple(field for field in fields if field.value)


def _as_text(value: object) -> str:
    return value.strip() if isinstance(value, str) else _dump(value)


def _dump(value: object) -> str:
    """Return JSON whose keys have one order.

    Raises:
        ItemError: ``unreadable``, for values nested too deep to be written again.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError as exc:
        raise ItemError("unreadable", "values are nested too deep") from exc


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
