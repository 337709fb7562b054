"""JSON Feed 1.0 and 1.1 to entries. A value of a wrong type costs itself, not its item."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from server.parsing.dates import DateReader
from server.parsing.json_document import (
    Faults,
    JsonDocument,
    JsonObject,
    Person,
    as_text,
    is_number,
    join_names,
    kind_of,
    read_attachments,
    read_json,
    read_people,
)
from server.parsing.links import is_absolute, resolve_link
from server.parsing.parsed import (
    ParsedEntry,
    ParsedFeed,
    RejectedEntry,
    check_item,
    check_items,
    check_parts,
    choose_guid,
    hash_guid,
    identifying_texts,
)
from shared.error_kinds import ErrorKind
from shared.errors import ItemError, ParseError
from shared.models import TEXT, Enclosure, ExtraField, FeedItem

_ADDRESS = "jsonfeed.org/version/"
_VERSIONS = frozenset({"1", "1.0", "1.1"})
# What only an item of a JSON Feed has, where the version says nothing; and what an item may have.
_TELLING = frozenset({"content_html", "content_text", "date_published", "date_modified"})
_USUAL = _TELLING | {"title", "url", "external_url", "summary", "attachments", "tags"}
# Where APIs report what went wrong.
_ERROR_NAMES = ("error", "errors", "error_description", "message", "detail", "msg")
_LONGEST_ERROR = 200
_KNOWN = frozenset(
    {
        "id", "url", "external_url", "title", "content_html", "content_text", "summary",
        "date_published", "date_modified", "author", "authors", "tags", "attachments",
    }
)  # fmt: skip
_READ_OF_ATTACHMENTS = frozenset({"url", "mime_type", "size_in_bytes"})
_NAMES_OF_TAGS = ("name", "label", "term", "title")


@dataclass(frozen=True, slots=True)
class JsonFrame:
    """A document that was recognised as a JSON Feed; ``members`` are all of its object."""

    members: dict[str, Any]
    version: str
    items: list[Any]


def read_frame(document: JsonDocument, faults: Faults) -> JsonFrame:
    """Return the frame of a feed.

    The version may be the bare number, or missing where an item shows what it is.

    Raises:
        ParseError: ``json_error`` (an error in JSON, or no JSON), ``not_a_feed`` (other JSON),
            ``damaged`` with no whole item in it.
    """
    feed = document.value
    is_feed = isinstance(feed, dict) and _is_feed(feed)
    if is_feed and not document.is_complete and not feed.get("items"):
        raise ParseError(
            ErrorKind.DAMAGED,
            f"the document breaks off before its first item ends: {document.damage}",
        )
    if is_feed and (isinstance(feed.get("items"), list) or _is_filled_object(feed.get("items"))):
        written = str(feed.get("version") or "")
        if _ADDRESS not in written.lower():
            faults.note(f"'version' is {feed.get('version')!r}, not the address of JSON Feed's")
        version = written.rstrip("/").rpartition("/")[2]
        return JsonFrame(feed, version, _list_items(feed["items"], faults))
    raise _refusal(document, is_feed=is_feed)


def _refusal(document: JsonDocument, *, is_feed: bool) -> ParseError:
    if document.damage and not document.is_complete:
        return ParseError(ErrorKind.JSON_ERROR, f"not valid JSON: {document.damage}")
    reason = _error_answer(document.value)
    if reason:
        return ParseError(ErrorKind.JSON_ERROR, f"an error in JSON instead of a feed: {reason}")
    what = "a JSON Feed without a list of items" if is_feed else "JSON, but not a JSON Feed"
    return ParseError(ErrorKind.NOT_A_FEED, f"the document is {what}")


def _is_feed(feed: dict[str, Any]) -> bool:
    version, items = feed.get("version"), feed.get("items")
    if _ADDRESS in str(version).lower():
        return True
    if isinstance(items, dict):
        items = [items] if _TELLING & items.keys() else list(items.values())
    entries = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    is_bare = str(version).strip() in _VERSIONS and (isinstance(version, str) or is_number(version))
    needed = _USUAL if is_bare else _TELLING
    return any(needed & entry.keys() for entry in entries)


def _is_filled_object(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _list_items(items: list[Any] | dict[str, Any], faults: Faults) -> list[Any]:
    """Return the items of a list, of an object that numbers them, or one item alone."""
    if isinstance(items, list):
        return items
    faults.add("items", items, "a list")
    is_item = bool({"id", *_USUAL} & items.keys())
    return [items] if is_item else [item for item in items.values() if isinstance(item, dict)]


def _error_answer(value: object) -> str:
    """Return what an error answer of an API says, shortened; nothing for other JSON."""
    if not isinstance(value, dict):
        return ""
    reason = next((value[name] for name in _ERROR_NAMES if value.get(name)), "")
    if isinstance(reason, list):
        reason = reason[0]
    if isinstance(reason, dict):
        reason = next((reason[name] for name in _ERROR_NAMES if reason.get(name)), reason)
    return str(reason)[:_LONGEST_ERROR]


def parse_json_feed(text: str, *, url: str | None, now: datetime) -> ParsedFeed:
    """Read a document that begins like JSON.

    A faulty one is repaired; of one that breaks off the items that were whole are taken.

    Raises:
        ParseError: ``json_error`` (an error in JSON, or no JSON), ``not_a_feed`` (other JSON),
            ``damaged`` with no whole item in it, ``limits``.
    """
    document, faults = read_json(text), Faults()
    frame = read_frame(document, faults)
    check_items(len(frame.items))
    check_parts(sum(map(_count_parts, frame.items)))
    warnings = [f"not valid JSON: {document.damage}"] if document.damage else []
    if not document.is_complete:
        warnings.append("damaged, only the items before the damage are taken")
    reader = _ItemReader(frame, url=url, now=now, faults=faults)
    outcomes = [_read_item(reader, value) for value in frame.items]
    title = frame.members.get("title")
    return ParsedFeed(
        format="json_feed",
        version=frame.version,
        title=title if isinstance(title, str) else None,
        entries=tuple([each for each in outcomes if isinstance(each, ParsedEntry)]),
        rejected=tuple([each for each in outcomes if isinstance(each, RejectedEntry)]),
        warnings=(*warnings, *reader.warnings()),
        is_whole=document.is_complete,
        next_page=reader.next_url,
    )


def _read_item(reader: "_ItemReader", value: object) -> ParsedEntry | RejectedEntry:
    try:
        return reader.read(value)
    except ItemError as exc:
        return _reject(value, str(exc))


def _count_parts(value: object) -> int:
    """Return how many fields an item may become."""
    if not isinstance(value, dict):
        return 1
    return sum(len(held) if isinstance(held, list) else 1 for held in value.values())


class _ItemReader:
    """Reads the items of one document, which share its bases and its clock."""

    def __init__(self, frame: JsonFrame, *, url: str | None, now: datetime, faults: Faults) -> None:
        feed = JsonObject(frame.members, faults)
        self._faults = faults
        self._home, own = feed.text("home_page_url"), feed.text("feed_url")
        self._url = url
        self._feed_urls = frozenset(text for text in (url, own) if text)
        next_url = frame.members.get("next_url")
        self.next_url = next_url if isinstance(next_url, str) else None
        self._people = read_people(feed)
        self._dates = DateReader(
            now, written=lambda: _written_dates(frame.items), language=feed.text("language")
        )

    def read(self, value: object) -> ParsedEntry:
        """Return an item as an entry.

        Raises:
            ItemError: ``unreadable``, for what is no object or has nothing to be identified by.
        """
        if not isinstance(value, dict):
            raise ItemError("unreadable", f"the item is {kind_of(value)}, not an object")
        fields = JsonObject(value, self._faults)
        published, updated = fields.text("date_published"), fields.text("date_modified")
        files, people = read_attachments(fields), read_people(fields)
        link = _written_link(fields)
        item = FeedItem(
            guid="",
            link=self._resolve(link),
            author=join_names(people),
            categories=tuple(dict.fromkeys(fields.texts("tags", named=_NAMES_OF_TAGS))),
            enclosures=tuple(self._absolute(file) for _, file in files),
            published_at=self._dates.read(published),
            updated_at=self._dates.read(updated),
            extra=self._extra(value),
            **_texts(fields),
        )
        enclosure = files[0][1].url if files else None
        written = fields.identity("id"), link, enclosure
        guid, rung = self._identify(item, fields, written, published or updated)
        about = (*self._about(files, people), *self._dates.unread(published, updated))
        item = self._complete(item, guid, about)
        return ParsedEntry(item, *written[:2], rung, enclosure, published, updated)

    def warnings(self) -> tuple[str, ...]:
        """Return what is to be known of the document: its faults, and dates left out."""
        return (*self._faults.warnings(), *self._dates.warnings())

    def _identify(
        self,
        item: FeedItem,
        fields: JsonObject,
        written: tuple[str | None, str | None, str | None],
        date: str | None,
    ) -> tuple[str, str]:
        """Return an item's guid and its rung. What feed and attachments add is no part of it."""
        chosen = choose_guid(
            written_guid=written[0],
            written_link=written[1],
            enclosure_url=written[2],
            fallback=identifying_texts(item, date),
            feed_urls=self._feed_urls,
        )
        if chosen is None:
            raise ItemError("unreadable", "the item is empty")
        if chosen[1] == "hash" and fields.has_wrong_text("id"):
            # Under a hash it would come twice when the publisher corrects its id.
            raise ItemError("unreadable", f"'id' is {kind_of(fields.members['id'])}, not a string")
        return chosen

    def _complete(self, item: FeedItem, guid: str, about: tuple[ExtraField, ...]) -> FeedItem:
        """Return the item under its guid, with what is no part of its identity."""
        extra = (*item.extra, *about)
        author = item.author or join_names(self._people)
        bases = self._bases(item, has_extra=bool(extra))
        item = item._replace(guid=guid, author=author, extra=extra, bases=bases)
        check_item(item)
        return item

    def _bases(self, item: FeedItem, *, has_extra: bool) -> dict[str, str]:
        """Return what addresses refer to where the item has no link: the home page, the feed."""
        if is_absolute(item.link):
            return {}
        base = resolve_link(self._home or "", bases=(self._url,))
        if not is_absolute(base):
            return {}
        has_html = item.content is not None and "content" not in item.formats
        names = {"content": has_html, "extra": has_extra}
        return {name: base for name, is_needed in names.items() if is_needed}

    def _extra(self, members: Mapping[str, Any]) -> tuple[ExtraField, ...]:
        """Return what is left: strings as they are, lists one by one, all else as JSON."""
        fields: list[ExtraField] = []
        for name, content in members.items():
            if name in _KNOWN or content is None:
                continue
            values = content if isinstance(content, list) else [content]
            try:
                fields.extend(ExtraField(name, as_text(each)) for each in values)
            except ItemError as exc:
                self._faults.note(f"{name!r} is left out: {exc}")
        external = members.get("external_url")
        if members.get("url") and isinstance(external, str):
            fields.append(ExtraField("external_url", external.strip()))
        return tuple(field for field in fields if field.value)

    def _about(
        self, files: list[tuple[JsonObject, Enclosure]], people: list[Person]
    ) -> Iterator[ExtraField]:
        """Yield what attachments have beyond URL, type and size, and people beyond their name."""
        for attachment, file in files:
            attributes = attachment.plain_members()
            if attributes.keys() - _READ_OF_ATTACHMENTS:
                url = self._absolute(file).url
                yield ExtraField("attachments", None, {**attributes, "url": url})
        for person in people:
            if person.about:
                yield ExtraField("authors", person.name, person.about)

    def _absolute(self, file: Enclosure) -> Enclosure:
        return replace(file, url=self._resolve(file.url) or file.url)

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
        return as_text(value)
    except ItemError as exc:
        return str(exc)


def _texts(fields: JsonObject) -> dict[str, Any]:
    """Return title, summary and content, and the formats of those that are plain text."""
    html, plain = fields.text("content_html"), fields.text("content_text")
    summary = fields.text("summary")
    texts = {"summary": summary, "content": plain if html is None else None}
    return {
        "title": fields.text("title"),
        "summary": summary,
        "content": html or plain,
        "formats": {name: TEXT for name, text in texts.items() if text},
    }


def _written_link(fields: JsonObject) -> str | None:
    link = fields.text("url", numbers=False)
    return fields.text("external_url", numbers=False) if link is None else link


def _written_dates(items: list[Any]) -> Iterator[str]:
    for item in items:
        members = item if isinstance(item, dict) else {}
        for name in ("date_published", "date_modified"):
            if isinstance(members.get(name), str):
                yield members[name]
