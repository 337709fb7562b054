"""The items of RSS, RDF and Atom to entries: known fields, identity, and all that is left over."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from server.parsing.dates import DateReader
from server.parsing.detection import repair_c1, strip_blanks
from server.parsing.item_fields import (
    PUBLISHED,
    UPDATED,
    ItemFields,
    is_category,
    read_length,
    written_url,
)
from server.parsing.item_texts import (
    ItemTexts,
    inner_markup,
    is_ordinary_type,
    other_bases,
    other_formats,
    resolved_text,
    text_of,
)
from server.parsing.links import is_absolute, resolve_link
from server.parsing.parsed import (
    ParsedEntry,
    RejectedEntry,
    check_item,
    choose_guid,
    hash_guid,
    identifying_texts,
)
from server.parsing.xml_channel import Channel
from server.parsing.xml_tree import Node, written_attribute_name
from shared.errors import ItemError
from shared.models import Enclosure, ExtraField, FeedItem
from shared.urls import is_safe, scheme_of

_HIDDEN_ATTRIBUTES = frozenset({"xml:base", "xml:lang", "xml:space"})
# Attributes that became part of a known field, by the kind of element.
_READ_OF_LINKS = frozenset({"href", "url", "uri", "rel", "rdf:about"})
_READ_OF_FILES = _READ_OF_LINKS | {"type", "length"}
_READ_OF_CATEGORIES = frozenset({"term", "text"})
_READ_OF_TEXTS = frozenset({"mode", "ispermalink"})
# One for all: most elements have none.
_NO_ATTRIBUTES: Mapping[str, str] = {}
_PAGE_TYPES = frozenset({"text/html", "html", "xhtml", "application/xhtml+xml"})
_READ_OF_PEOPLE = frozenset({"name", "email"})
_NEVER_IDENTIFYING = frozenset(
    {
        "slash:comments", "slash:hit_parade", "thr:total", "media:community",
        "media:statistics", "media:starrating",
    }
)  # fmt: skip
_DATES = frozenset({*PUBLISHED, *UPDATED})
_MOST_SCHEMES = 5
_LONGEST_SCHEME = 20


def date_reader(items: Sequence[Node], language: str | None, now: datetime) -> DateReader:
    """Return a reader for the dates of one document, which it reads together."""
    return DateReader(now, written=lambda: _written_dates(items), language=language)


def _written_dates(items: Sequence[Node]) -> Iterator[str]:
    for item in items:
        for child in item.children:
            if child.name in _DATES and child.text:
                yield child.text


class _Written(NamedTuple):
    """What identifies an item, and its dates, as they stand in the document."""

    guid: str | None
    link_node: Node | None
    link: str | None
    files: list[tuple[Node, Enclosure]]
    published: str | None
    updated: str | None

    @property
    def enclosure(self) -> str | None:
        return self.files[0][1].url if self.files else None


class EntryReader:
    """Reads the items of one document, which share its bases and its clock."""

    def __init__(self, channel: Channel, *, url: str | None, dates: DateReader) -> None:
        self._channel = channel
        self._url = url
        self._dates = dates
        self._unknown_schemes: Counter[str] = Counter()
        own = (url, channel.self_url)
        self._feed_urls = frozenset(each for each in own if each)

    def read(self, item: Node) -> ParsedEntry | RejectedEntry:
        """Return the item as an entry, or rejected: nothing identifies it, or it is a bomb."""
        fields = ItemFields(item, self._channel.default_format)
        written, texts = _read_written(fields), fields.texts()
        author, categories = fields.author(), fields.categories()
        chosen = choose_guid(
            written_guid=written.guid,
            written_link=written.link,
            enclosure_url=written.enclosure,
            fallback=_identifying_texts(fields, texts, author, categories, written),
            feed_urls=self._feed_urls,
        )
        if chosen is None:
            return RejectedEntry(hash_guid(("empty",)), "the entry is empty")
        author = author or self._inherited_author(fields)
        feed_item = self._build(fields, chosen[0], written, texts, author, categories)
        try:
            check_item(feed_item)
        except ItemError as exc:
            return RejectedEntry(chosen[0], str(exc), title=feed_item.title, link=feed_item.link)
        return ParsedEntry(
            feed_item,
            written.guid,
            written.link,
            chosen[1],
            written.enclosure,
            written.published,
            written.updated,
        )

    def _build(
        self,
        fields: ItemFields,
        guid: str,
        written: _Written,
        texts: ItemTexts,
        author: str | None,
        categories: tuple[str, ...],
    ) -> FeedItem:
        link = self._resolve(written.link_node, written.link or _permalink(fields))
        self._note_scheme(link)
        extra = read_extra(fields)
        dates = self._dates.read(written.published), self._dates.read(written.updated)
        unread = self._dates.unread(written.published, written.updated)
        return FeedItem(
            guid=guid,
            link=link,
            title=text_of(texts.title),
            summary=resolved_text(texts.summary),
            content=resolved_text(texts.content),
            author=author,
            categories=categories,
            enclosures=self._resolve_files(written.files + fields.media_files()),
            published_at=dates[0],
            updated_at=dates[1],
            extra=(*extra, *unread),
            formats=other_formats(texts, fields.default_format, author, categories, extra),
            bases=other_bases(texts, link, self._find_base, fields.item if extra else None),
        )

    def warnings(self) -> list[str]:
        """Return what was found about dates and links of all items read."""
        return [
            *self._dates.warnings(),
            *(
                f"links that begin with {scheme}: are left out ({count} items)"
                for scheme, count in self._unknown_schemes.most_common(_MOST_SCHEMES)
            ),
        ]

    def _note_scheme(self, link: str | None) -> None:
        if link is not None and not is_absolute(link) and not is_safe(link):
            self._unknown_schemes[str(scheme_of(link))[:_LONGEST_SCHEME]] += 1

    def _inherited_author(self, fields: ItemFields) -> str | None:
        if self._channel.format != "atom":
            return None
        return fields.source_author() or self._channel.author

    def _find_base(self, link: str | None, node: Node) -> str | None:
        """Return what addresses in a text refer to: xml:base, or link, feed and document."""
        nearest = node.base or (link if is_absolute(link) else None) or ""
        base = resolve_link(nearest, bases=(self._channel.link, self._url))
        return base if is_absolute(base) else None

    def reject(
        self, item: Node, reason: str, *, is_cut: bool = False, text: str = ""
    ) -> RejectedEntry:
        """Return an item that cannot be imported, identified as far as it was read.

        Where that is not enough, by its own ``text``; never by the reason, which names a line.
        """
        fields = ItemFields(item, self._channel.default_format)
        written, title = _read_written(fields), text_of(fields.texts().title)
        chosen = choose_guid(
            written_guid=written.guid,
            written_link=written.link,
            enclosure_url=None if is_cut else written.enclosure,
            fallback=_titled(title, written, fields.author()) if title else (text,),
            feed_urls=self._feed_urls,
        )
        guid = chosen[0] if chosen is not None else hash_guid(("cut",))
        link = self._resolve(written.link_node, written.link)
        return RejectedEntry(guid, reason, is_cut=is_cut, title=title, link=link)

    def _resolve_files(self, written: list[tuple[Node, Enclosure]]) -> tuple[Enclosure, ...]:
        """Return files with absolute addresses, each address once."""
        if not written:
            return ()
        files: dict[str, Enclosure] = {}
        for node, file in written:
            url = self._resolve(node, file.url) or file.url
            files.setdefault(url, replace(file, url=url))
        return tuple(files.values())

    def _resolve(self, node: Node | None, link: str | None) -> str | None:
        if not link:
            return None
        nearest = node.base if node is not None else None
        return resolve_link(link, bases=(nearest, self._channel.link, self._url))


def _read_written(fields: ItemFields) -> _Written:
    link_node, link = fields.link()
    guid, files = fields.written_guid(), fields.enclosures()
    return _Written(guid, link_node, link, files, fields.published_text(), fields.updated_text())


def _identifying_texts(
    fields: ItemFields,
    texts: ItemTexts,
    author: str | None,
    categories: tuple[str, ...],
    written: _Written,
) -> tuple[str | None, ...]:
    """Return the item's own texts as they identify it, without what comes from its feed."""
    title, date = text_of(texts.title), written.published or written.updated
    if title:
        return _titled(title, written, author)
    own = FeedItem(
        guid="",
        summary=None if texts.is_of_media else text_of(texts.summary),
        content=text_of(texts.content),
        author=author,
        categories=categories,
    )
    media = texts.summary.node if texts.is_of_media and texts.summary is not None else None
    unread = [node for node in fields.children if node is media or not fields.is_used(node)]
    return (*identifying_texts(own, date), *_identifying_extra(unread))


def _titled(title: str, written: _Written, author: str | None) -> tuple[str | None, ...]:
    return (title, written.published or written.updated, author)


def _permalink(fields: ItemFields) -> str | None:
    link = fields.permalink()
    return link if is_absolute(link) else None


def read_extra(fields: ItemFields) -> tuple[ExtraField, ...]:
    """Return what no known field holds, an entry an element, in document order.

    An element gives its text and its attributes under its name (``job_listing:company``), a child
    under ``parent/child``. An element that says nothing is left out. One that a known field was
    read from stands here as well when it says more than that field can hold: a link's title, a
    category's scheme, an author's address.
    """
    entries: list[ExtraField] = []
    used = fields.used
    for node in fields.children:
        text = None if node.attributes else node.leaf_text
        if text is None:
            entries += _left_over(node, fields) if id(node) in used else _entries(node, "", fields)
        elif text and id(node) not in used:
            entries.append(ExtraField(node.name, repair_c1(text), _NO_ATTRIBUTES))
    return tuple(entries)


def _entries(node: Node, path: str, fields: ItemFields) -> Iterator[ExtraField]:
    name = path + node.name
    attributes = _attributes(node)
    if node.attributes.get("type", "").strip().lower() == "xhtml":
        value, children = inner_markup(node), []
    else:
        value, children = repair_c1(node.text), node.children
    if value or attributes:
        yield ExtraField(name, value or None, attributes)
    for child in children:
        if not fields.is_used(child):
            yield from _entries(child, f"{name}/", fields)


def _attributes(node: Node) -> Mapping[str, str]:
    if not node.attributes:
        return _NO_ATTRIBUTES
    return {
        written_attribute_name(name): repair_c1(strip_blanks(value))
        for name, value in node.written.items()
        if strip_blanks(value) and written_attribute_name(name) not in _HIDDEN_ATTRIBUTES
    }


def _left_over(node: Node, fields: ItemFields) -> list[ExtraField]:
    """Return what an element says beyond the known field that was read from it."""
    if fields.is_person(node):
        return _left_of_person(node, fields)
    if not _says_more(node):
        return []
    # A text as long as an article is not kept twice.
    is_short = is_category(node) or node.name == "link"
    return [ExtraField(node.name, (is_short and repair_c1(node.text)) or None, _attributes(node))]


def _left_of_person(node: Node, fields: ItemFields) -> list[ExtraField]:
    parts = [child for child in node.children if _local(child) not in _READ_OF_PEOPLE]
    entries = [entry for part in parts for entry in _entries(part, f"{node.name}/", fields)]
    if not (entries and fields.has_several_people()):
        return entries
    # Whose they are can be seen only from the name beside them.
    return [each for part in node.children for each in _entries(part, f"{node.name}/", fields)]


def _says_more(node: Node) -> bool:
    attributes = node.attributes
    if not attributes:
        return False
    if is_category(node):
        return _category_says_more(node)
    if node.name == "enclosure" or node.attributes.get("rel", "").lower() == "enclosure":
        length = attributes.get("length", "").strip()
        return _has_other(attributes, _READ_OF_FILES) or (
            bool(length) and read_length(length) is None
        )
    if node.name == "link":
        kind = attributes.get("type", "").strip().lower()
        known = _READ_OF_LINKS | {"type"} if kind in _PAGE_TYPES else _READ_OF_LINKS
        return _has_other(attributes, known)
    kind = attributes.get("type", "").strip().lower()
    known = _READ_OF_TEXTS | {"type"} if is_ordinary_type(kind) else _READ_OF_TEXTS
    return _has_other(attributes, known)


def _category_says_more(node: Node) -> bool:
    attributes = node.attributes
    term = attributes.get("term") or node.text
    label = attributes.get("label")
    known = _READ_OF_CATEGORIES | {"label"} if label in (None, term) else _READ_OF_CATEGORIES
    if not term:
        known |= {"label"}
    return _has_other(attributes, known)


def _has_other(attributes: Mapping[str, str], known: frozenset[str]) -> bool:
    for name, value in attributes.items():
        if name not in known and name not in _HIDDEN_ATTRIBUTES and value.strip():
            return True
    return False


def _local(node: Node) -> str:
    return node.name.rpartition(":")[2].lower()


def _identifying_extra(nodes: list[Node]) -> tuple[str, ...]:
    """Return what identifies an item that has neither guid, link, file nor title. Frozen."""
    return tuple(text for node in nodes for text in _identifying(node, ""))


def _identifying(node: Node, path: str) -> Iterator[str]:
    if node.name.lower() in _NEVER_IDENTIFYING:
        return
    if node.name == "link" and written_url(node):
        relation = node.attributes.get("rel", "").strip()
        name = f"link:{relation}" if relation else "link"
        yield f"{path}{name}={repair_c1(written_url(node))}"
        return
    name = path + node.name
    text = repair_c1(node.text)
    if text:
        yield f"{name}={text}"
    for attribute, value in node.attributes.items():
        if value.strip() and attribute not in _HIDDEN_ATTRIBUTES:
            yield f"{name}@{attribute}={repair_c1(value.strip())}"
    for child in node.children:
        yield from _identifying(child, f"{name}/")
