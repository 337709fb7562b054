"""RSS, RDF and Atom documents to entries."""

import re
from collections import Counter
from dataclasses import replace
from datetime import datetime

from server.parsing.damaged import Reading, Salvage, read_damaged
from server.parsing.date_reader import DateReader
from server.parsing.detection import cut_leading_markup, is_web_page, refusal
from server.parsing.doctype import remove_prolog
from server.parsing.extra_fields import identifying_extra, read_extra
from server.parsing.guids import choose_guid, hash_guid, identifying_texts
from server.parsing.item_fields import PUBLISHED, ItemFields
from server.parsing.item_texts import ItemTexts
from server.parsing.limits import check_item
from server.parsing.links import is_absolute, resolve_link
from server.parsing.parsed import ParsedEntry, ParsedFeed, RejectedEntry
from server.parsing.repair import repair_document
from server.parsing.salvage import READER, Allowance, read_all
from server.parsing.tree import Document, Node, read_document
from server.parsing.xml_channel import Channel, read_channel
from server.parsing.xml_dates import document_dates
from shared.addresses import is_safe, scheme_of
from shared.errors import ItemError, ParseError
from shared.models import Enclosure, FeedItem

_VERBATIM = re.compile(r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL)
_ITEM_LIKE = re.compile(r"<(?:[\w.-]+:)?(?:item|entry)(?=[\s/>])", re.IGNORECASE)
_MOST_SCHEMES = 5
_LONGEST_SCHEME = 20


def parse_xml(
    text: str, *, url: str | None, now: datetime, salvage: Salvage = "feedparser"
) -> ParsedFeed:
    """Read a document that begins with markup.

    A sound document is read as it is; an ill-formed one is mended and read again; of what cannot be
    mended as a whole each item is read on its own, as far as ``salvage`` allows.

    Raises:
        ParseError: not a feed, ``refused``, or ``damaged`` with no item in it that can be read;
            ``NoItemError`` carries a feed without items that has elements named so.
    """
    found = _recognise(text, salvage)
    if found is None:
        late = cut_leading_markup(text)
        found = _recognise(late, salvage) if late is not None else None
    if found is None:
        raise refusal(remove_prolog(text))
    reading, channel = found
    is_cut_only = reading.cut_item is not None and salvage == "feedparser"
    if not reading.is_whole and not reading.items and not is_cut_only:
        reason = f"the document breaks off before its first item ends: {reading.warnings[0]}"
        raise ParseError("damaged", reason)
    if (
        not reading.items
        and reading.cut_item is None
        and _ITEM_LIKE.search(_VERBATIM.sub("", text))
    ):
        raise NoItemError(_build_feed(reading, channel, url=url, now=now))
    return _build_feed(reading, channel, url=url, now=now)


class NoItemError(ParseError):
    """A feed in which nothing is an item, though its elements are named so."""

    def __init__(self, feed: ParsedFeed) -> None:
        super().__init__("no_items", "the feed has elements named item or entry that are none")
        self.feed = replace(feed, warnings=(*feed.warnings, str(self)))


def parse_leniently(
    text: str, *, url: str | None, now: datetime, error: ParseError
) -> ParsedFeed | None:
    """Return what feedparser reads of a document in which ``parse_xml`` found nothing.

    None where feedparser finds nothing either, or may not be asked: a bomb is refused as one.
    """
    if error.kind not in _LAST_RESORT_KINDS or not _ITEM_LIKE.search(text) or is_web_page(text):
        return None
    found = read_all(text, Allowance())
    channel = read_channel(found[0]) if found is not None else None
    if found is None or channel is None:
        return None
    reading = Reading(found[0], found[1], is_whole=False)
    reading.lenient.update(map(id, found[1]))
    reading.warnings.append(f"{error}; its items were read by feedparser")
    return _build_feed(reading, channel, url=url, now=now)


_LAST_RESORT_KINDS = frozenset({"not_a_feed", "damaged", "html", "no_items"})


def _recognise(text: str, salvage: Salvage) -> tuple[Reading, Channel] | None:
    """Read a document, mended if need be; None when its root element is not a feed's."""
    text = remove_prolog(text)
    document = read_document(_encode(text))
    damage = document.damage
    if damage is not None and not document.is_complete:
        document = read_document(_encode(repair_document(text)))
    reading: Reading | None = None
    if not document.is_complete and salvage != "off":
        reading = read_damaged(text, salvage)
    if reading is None or reading.root is None:
        reading = _before_damage(document)
    if damage is not None:
        reading.warnings.insert(0, f"not well-formed: {damage}")
    channel = read_channel(reading.root) if reading.root is not None else None
    return None if channel is None else (reading, channel)


def _before_damage(document: Document) -> Reading:
    reading = Reading(document.root, document.items, cut_item=document.cut_item)
    if not document.is_complete:
        reading.is_whole = False
        reading.warnings.append(f"damaged, only what stands before is taken: {document.damage}")
    return reading


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "ignore")


def _build_feed(
    reading: Reading, channel: Channel, *, url: str | None, now: datetime
) -> ParsedFeed:
    reader = EntryReader(channel, url=url, dates=document_dates(reading.root, reading.items, now))
    entries: list[ParsedEntry] = []
    rejected: list[RejectedEntry] = []
    for item in reading.items:
        outcome = _read_item(reader, item, reading)
        if isinstance(outcome, ParsedEntry):
            entries.append(outcome)
        else:
            rejected.append(outcome)
    if reading.cut_item is not None:
        rejected.append(reader.reject(reading.cut_item, _CUT, is_cut=True))
    return ParsedFeed(
        format=channel.format,
        version=channel.version,
        title=channel.title,
        entries=tuple(entries),
        rejected=tuple(rejected),
        warnings=(*reading.warnings, *reader.warnings()),
        is_whole=reading.is_whole,
        ttl_s=channel.ttl_s,
        skip_hours=channel.skip_hours,
        skip_days=channel.skip_days,
        moved_to=channel.moved_to,
        next_page=channel.next_page,
    )


_CUT = "the document breaks off inside the entry"


def _read_item(reader: "EntryReader", item: Node, reading: Reading) -> ParsedEntry | RejectedEntry:
    reason = reading.unreadable.get(id(item))
    if reason is not None:
        return reader.reject(item, reason)
    outcome = reader.read(item)
    if id(item) in reading.lenient and isinstance(outcome, ParsedEntry):
        return replace(outcome, item=replace(outcome.item, read_by=READER))
    return outcome


class EntryReader:
    """Reads the items of one document, which share its bases and its clock."""

    def __init__(self, channel: Channel, *, url: str | None, dates: DateReader) -> None:
        self._channel = channel
        self._url = url
        self.dates = dates
        self._unknown_schemes: Counter[str] = Counter()
        own = (url, channel.self_url)
        self._feed_urls = frozenset(address for address in own if address)

    def read(self, item: Node) -> ParsedEntry | RejectedEntry:
        """Return the item as an entry, or rejected: nothing identifies it, or it is a bomb."""
        fields = ItemFields(item, self._channel.default_format)
        link_node, written_link = fields.link()
        written_guid = fields.written_guid()
        written_files = fields.enclosures()
        published, updated = fields.date_text(PUBLISHED), fields.updated_text()
        link = self._resolve(link_node, written_link or _permalink(fields))
        self._note_scheme(link)
        texts, own_author = ItemTexts(fields), fields.author()
        author = own_author or self._inherited_author(fields)
        categories = fields.categories()
        enclosure_url = written_files[0][1].url if written_files else None
        chosen = choose_guid(
            written_guid=written_guid,
            written_link=written_link,
            enclosure_url=enclosure_url,
            fallback=_identifying_texts(texts, own_author, categories, published or updated),
            feed_urls=self._feed_urls,
        )
        if chosen is None:
            return RejectedEntry(hash_guid(("empty",)), "the entry is empty")
        extra = read_extra(fields)
        published_at, updated_at = self.dates.read(published), self.dates.read(updated)
        feed_item = FeedItem(
            guid=chosen[0],
            link=link,
            title=texts.title,
            summary=texts.summary,
            content=texts.content,
            author=author,
            categories=categories,
            enclosures=self._resolve_files([*written_files, *fields.media_files()]),
            published_at=published_at,
            updated_at=updated_at,
            extra=(*extra, *self.dates.unread(published=published, updated=updated)),
            formats=texts.formats(author, categories, extra),
            bases=texts.bases(link, self._find_base, extra=bool(extra)),
        )
        try:
            check_item(feed_item)
        except ItemError as exc:
            return RejectedEntry(chosen[0], str(exc), title=feed_item.title, link=feed_item.link)
        return ParsedEntry(
            feed_item,
            written_guid,
            written_link,
            chosen[1],
            written_enclosure=enclosure_url,
            written_published=published,
            written_updated=updated,
        )

    def warnings(self) -> list[str]:
        """Return what was found about dates and links of all items read."""
        return [
            *self.dates.warnings(),
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

    def reject(self, item: Node, reason: str, *, is_cut: bool = False) -> RejectedEntry:
        """Return an item that cannot be imported, identified as far as it was read."""
        fields = ItemFields(item)
        link_node, written_link = fields.link()
        title = ItemTexts(fields).title
        chosen = choose_guid(
            written_guid=fields.written_guid(),
            written_link=written_link,
            enclosure_url=None,
            fallback=(title,),
            feed_urls=self._feed_urls,
        )
        guid = chosen[0] if chosen is not None else hash_guid(("cut" if is_cut else reason,))
        return RejectedEntry(
            guid,
            reason,
            is_cut=is_cut,
            title=title,
            link=self._resolve(link_node, written_link),
        )

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


def _identifying_texts(
    texts: ItemTexts, author: str | None, categories: tuple[str, ...], date: str | None
) -> tuple[str | None, ...]:
    """Return the item's own texts as they identify it, without what comes from its feed."""
    if texts.title:
        return (texts.title, date, author)
    own = FeedItem(
        guid="",
        summary=texts.own_summary,
        content=texts.content,
        author=author,
        categories=categories,
    )
    return (*identifying_texts(own, date), *identifying_extra(texts.unread()))


def _permalink(fields: ItemFields) -> str | None:
    link = fields.permalink()
    return link if is_absolute(link) else None
