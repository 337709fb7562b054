"""RSS, RDF and Atom documents to entries."""

from collections import Counter
from dataclasses import replace
from datetime import datetime

from server.parsing.date_reader import DateReader
from server.parsing.detection import cut_leading_markup, refusal
from server.parsing.doctype import remove_prolog
from server.parsing.extra_fields import identifying_extra, read_extra
from server.parsing.guids import choose_guid, hash_guid, identifying_texts
from server.parsing.item_fields import PUBLISHED, ItemFields
from server.parsing.item_texts import ItemTexts
from server.parsing.limits import check_item
from server.parsing.links import is_absolute, resolve_link
from server.parsing.parsed import ParsedEntry, ParsedFeed, RejectedEntry
from server.parsing.repair import repair_document
from server.parsing.tree import Document, Node, read_document
from server.parsing.xml_channel import Channel, read_channel
from shared.addresses import is_safe, scheme_of
from shared.errors import ItemError, ParseError
from shared.models import Enclosure, FeedItem

_MOST_SCHEMES = 5
_LONGEST_SCHEME = 20


def parse_xml(text: str, *, url: str | None, now: datetime) -> ParsedFeed:
    """Read a document that begins with markup.

    A sound document is read as it is; an ill-formed one is mended and read again; what cannot be
    mended is salvaged: the items that were closed before the damage.

    Raises:
        ParseError: not a feed, ``refused``, or ``damaged`` with no whole item in it.
    """
    found = _recognise(text)
    if found is None:
        late = cut_leading_markup(text)
        found = _recognise(late) if late is not None else None
    if found is None:
        raise refusal(remove_prolog(text))
    document, channel, warnings = found
    if not document.is_complete:
        warnings.append(f"damaged, only what stands before is taken: {document.damage}")
        if not document.items:
            reason = f"the document breaks off before its first item ends: {document.damage}"
            raise ParseError("damaged", reason)
    return _build_feed(document, channel, warnings, url=url, now=now)


def _recognise(text: str) -> tuple[Document, Channel, list[str]] | None:
    """Read a document, mended if need be; None when its root element is not a feed's."""
    text = remove_prolog(text)
    document = read_document(_encode(text))
    warnings: list[str] = []
    if document.damage is not None:
        warnings.append(f"not well-formed: {document.damage}")
        if not document.is_complete:
            document = read_document(_encode(repair_document(text)))
    channel = read_channel(document.root) if document.root is not None else None
    return None if channel is None else (document, channel, warnings)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "ignore")


def _build_feed(
    document: Document, channel: Channel, warnings: list[str], *, url: str | None, now: datetime
) -> ParsedFeed:
    reader = EntryReader(channel, url=url, dates=DateReader(now))
    entries: list[ParsedEntry] = []
    rejected: list[RejectedEntry] = []
    for item in document.items:
        outcome = reader.read(item)
        if isinstance(outcome, ParsedEntry):
            entries.append(outcome)
        else:
            rejected.append(outcome)
    if document.cut_item is not None:
        rejected.append(reader.reject_cut(document.cut_item))
    return ParsedFeed(
        format=channel.format,
        version=channel.version,
        title=channel.title,
        entries=tuple(entries),
        rejected=tuple(rejected),
        warnings=(*warnings, *reader.warnings()),
        is_whole=document.is_complete,
        ttl_s=channel.ttl_s,
        skip_hours=channel.skip_hours,
        skip_days=channel.skip_days,
        moved_to=channel.moved_to,
        next_page=channel.next_page,
    )


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
        chosen = choose_guid(
            written_guid=written_guid,
            written_link=written_link,
            enclosure_url=written_files[0][1].url if written_files else None,
            fallback=_identifying_texts(texts, own_author, categories, published or updated),
            feed_urls=self._feed_urls,
        )
        if chosen is None:
            return RejectedEntry(hash_guid(("empty",)), "the entry is empty")
        extra = read_extra(fields)
        feed_item = FeedItem(
            guid=chosen[0],
            link=link,
            title=texts.title,
            summary=texts.summary,
            content=texts.content,
            author=author,
            categories=categories,
            enclosures=self._resolve_files([*written_files, *fields.media_files()]),
            published_at=self.dates.read(published),
            updated_at=self.dates.read(updated),
            extra=extra,
            formats=texts.formats(author, categories, extra),
            bases=texts.bases(link, self._find_base, extra=bool(extra)),
        )
        try:
            check_item(feed_item)
        except ItemError as exc:
            return RejectedEntry(chosen[0], str(exc), title=feed_item.title, link=feed_item.link)
        return ParsedEntry(feed_item, written_guid, written_link, chosen[1])

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

    def reject_cut(self, item: Node) -> RejectedEntry:
        """Return the item in which the document breaks off, identified as far as it was read."""
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
        guid = chosen[0] if chosen is not None else hash_guid(("cut",))
        return RejectedEntry(
            guid,
            "the document breaks off inside the entry",
            is_cut=True,
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
