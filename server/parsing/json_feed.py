"""JSON Feed 1.0 and 1.1 to entries. A value of a wrong type costs itself, not its item."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from server.parsing.date_reader import DateReader
from server.parsing.guids import choose_guid, hash_guid, identifying_texts
from server.parsing.json_frame import JsonFrame, read_frame
from server.parsing.json_repair import read_json
from server.parsing.json_values import Faults, JsonObject, as_text, is_number, kind_of
from server.parsing.limits import check_item, check_items, check_parts
from server.parsing.links import is_absolute, resolve_link
from server.parsing.parsed import ParsedEntry, ParsedFeed, RejectedEntry
from shared.errors import ItemError
from shared.models import TEXT, Enclosure, ExtraField, FeedItem

_KNOWN = frozenset(
    {
        "id", "url", "external_url", "title", "content_html", "content_text", "summary",
        "date_published", "date_modified", "author", "authors", "tags", "attachments",
    }
)  # fmt: skip
_READ_OF_ATTACHMENTS = frozenset({"url", "mime_type", "size_in_bytes"})
_NAMES_OF_TAGS = ("name", "label", "term", "title")


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
    entries: list[ParsedEntry] = []
    rejected: list[RejectedEntry] = []
    for value in frame.items:
        try:
            entries.append(reader.read(value))
        except ItemError as exc:
            rejected.append(_reject(value, str(exc)))
    title = frame.members.get("title")
    return ParsedFeed(
        format="json_feed",
        version=frame.version,
        title=title if isinstance(title, str) else None,
        entries=tuple(entries),
        rejected=tuple(rejected),
        warnings=(*warnings, *reader.warnings()),
        is_whole=document.is_complete,
        next_page=reader.next_url,
    )


def _count_parts(value: object) -> int:
    """Return how many fields an item may become."""
    if not isinstance(value, dict):
        return 1
    return sum(len(held) if isinstance(held, list) else 1 for held in value.values())


@dataclass(frozen=True, slots=True)
class _Person:
    """Who wrote an item, and what the feed says of them beside the name."""

    name: str
    about: dict[str, str]


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
        self._people = _people(feed)
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
        files, people = _attachments(fields), _people(fields)
        written_link = fields.text("url", numbers=False)
        if written_link is None:
            written_link = fields.text("external_url", numbers=False)
        item = FeedItem(
            guid="",
            link=self._resolve(written_link),
            author=_names(people),
            categories=tuple(dict.fromkeys(fields.texts("tags", named=_NAMES_OF_TAGS))),
            enclosures=tuple(self._absolute(file) for _, file in files),
            published_at=self._dates.read(published),
            updated_at=self._dates.read(updated),
            extra=self._extra(value),
            **_texts(fields),
        )
        addresses = (written_link, files[0][1].url if files else None)
        entry = self._identify(item, fields, addresses, published or updated)
        about = [
            *self._about_files(files),
            *(ExtraField("authors", each.name, each.about) for each in people if each.about),
            *self._dates.unread(published=published, updated=updated),
        ]
        return replace(
            entry,
            item=self._complete(entry.item, about),
            written_enclosure=addresses[1],
            written_published=published,
            written_updated=updated,
        )

    def warnings(self) -> tuple[str, ...]:
        """Return what is to be known of the document: its faults, and dates left out."""
        return (*self._faults.warnings(), *self._dates.warnings())

    def _identify(
        self,
        item: FeedItem,
        fields: JsonObject,
        addresses: tuple[str | None, str | None],
        date: str | None,
    ) -> ParsedEntry:
        """Return the item under its guid. What feed and attachments say beside it is no part."""
        written_guid, (written_link, file_url) = fields.identity("id"), addresses
        chosen = choose_guid(
            written_guid=written_guid,
            written_link=written_link,
            enclosure_url=file_url,
            fallback=identifying_texts(item, date),
            feed_urls=self._feed_urls,
        )
        if chosen is None:
            raise ItemError("unreadable", "the item is empty")
        if chosen[1] == "hash" and fields.has_wrong_text("id"):
            # Under a hash it would come twice when the publisher corrects its id.
            raise ItemError("unreadable", f"'id' is {kind_of(fields.members['id'])}, not a string")
        return ParsedEntry(replace(item, guid=chosen[0]), written_guid, written_link, chosen[1])

    def _complete(self, item: FeedItem, about: list[ExtraField]) -> FeedItem:
        """Return the item with what is no part of its identity."""
        extra = (*item.extra, *about)
        author = item.author or _names(self._people)
        bases = self._bases(item, has_extra=bool(extra))
        if extra != item.extra or author != item.author or bases:
            item = replace(item, author=author, extra=extra, bases=bases)
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

    def _about_files(self, files: list[tuple[JsonObject, Enclosure]]) -> Iterator[ExtraField]:
        """Return what attachments say beyond address, type and size: title, duration."""
        for attachment, file in files:
            attributes = _plain_members(attachment.members)
            if attributes.keys() - _READ_OF_ATTACHMENTS:
                url = self._absolute(file).url
                yield ExtraField("attachments", None, {**attributes, "url": url})

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


def _written_dates(items: list[Any]) -> Iterator[str]:
    for item in items:
        members = item if isinstance(item, dict) else {}
        for name in ("date_published", "date_modified"):
            if isinstance(members.get(name), str):
                yield members[name]


def _people(fields: JsonObject) -> list[_Person]:
    """Return the authors, or what version 1 has in their place."""
    for objects in (
        fields.objects("authors", text_as="name"),
        fields.one_object("author", text_as="name"),
    ):
        found = [person for each in objects if (person := _person(each)) is not None]
        if found:
            return found
    return []


def _person(fields: JsonObject) -> _Person | None:
    url = fields.text("url", numbers=False)
    name = fields.text("name") or url
    if name is None:
        return None
    about = {key: text for key, text in _plain_members(fields.members).items() if key != "name"}
    if about.get("url") == name:
        del about["url"]
    return _Person(name, about)


def _names(people: list[_Person]) -> str | None:
    return ", ".join(dict.fromkeys(person.name for person in people)) or None


def _attachments(fields: JsonObject) -> list[tuple[JsonObject, Enclosure]]:
    files = []
    for each in fields.objects("attachments", text_as="url"):
        url = each.text("url", numbers=False)
        if url:
            file = Enclosure(url, each.text("mime_type", numbers=False), each.size("size_in_bytes"))
            files.append((each, file))
    return files


def _plain_members(members: Mapping[str, Any]) -> dict[str, str]:
    """Return the members that are texts, numbers, true or false, as texts; blank ones left out."""
    texts = {
        name: as_text(value)
        for name, value in members.items()
        if isinstance(value, str | bool) or is_number(value)
    }
    return {name: text for name, text in texts.items() if text}
