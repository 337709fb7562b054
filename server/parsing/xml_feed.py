"""RSS, RDF and Atom documents to entries."""

import re
from collections import Counter
from dataclasses import replace
from datetime import datetime

from server.parsing.detection import cut_leading_markup, is_web_page, refusal
from server.parsing.lenient import Lenience, Reading, read_damaged
from server.parsing.lenient_feedparser import READER, Allowance, read_all
from server.parsing.parsed import ParsedEntry, ParsedFeed, RejectedEntry
from server.parsing.xml_channel import Channel, read_channel, read_language
from server.parsing.xml_entries import EntryReader, date_reader
from server.parsing.xml_source import PREDEFINED, repair_document
from server.parsing.xml_tree import Document, Node, read_document
from shared.error_kinds import ErrorKind
from shared.errors import ParseError

MAX_ENTITIES = 100
MAX_ENTITY_LENGTH = 1000
MAX_EXPANSION = 64 * 1024
MAX_SUBSET = 64 * 1024

_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*", re.IGNORECASE)
_IGNORED = re.compile(r"\s+|<!--.*?-->|<\?.*?\?>", re.DOTALL)
_SUBSET_PART = re.compile(
    r"\s+|<!--.*?-->|<\?.*?\?>|%[\w.:-]+;|<!(?P<kind>\w+)(?P<body>(?:[^>\"']|\"[^\"]*\"|'[^']*')*)>",
    re.DOTALL,
)
_ENTITY = re.compile(r"\s+(?P<name>[\w.:-]+)\s+(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)')\s*")
# What stands for one character of text, and no bomb.
_CHARACTER = re.compile(rf"&(?:#\d+|#[xX][0-9a-fA-F]+|{'|'.join(sorted(PREDEFINED))});")
# A reference whose own ampersand is written as one: as XML itself declares `<` and `&`.
_HIDDEN_CHARACTER = re.compile(r"&#(?:38|[xX]26);(?=#(?:\d+|[xX][0-9a-fA-F]+);)")
_MARKUP_OF_DTD = re.compile("[&%<]")
_PARAMETER = re.compile(r"\s+%\s")
_VERBATIM = re.compile(r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL)
_ITEM_LIKE = re.compile(r"<(?:[\w.-]+:)?(?:item|entry)(?=[\s/>])", re.IGNORECASE)


def parse_xml(
    text: str, *, url: str | None, now: datetime, lenience: Lenience = "feedparser"
) -> ParsedFeed:
    """Read a document that begins with markup.

    A sound document is read as it is; an ill-formed one is repaired and read again; of what cannot
    be repaired as a whole each item is read on its own, as far as ``lenience`` allows.

    Raises:
        ParseError: not a feed, ``refused``, or ``damaged`` with no item in it that can be read;
            ``NoItemError`` carries a feed without items that has elements named so.
    """
    found = _recognise(text, lenience)
    if found is None:
        late = cut_leading_markup(text)
        found = _recognise(late, lenience) if late is not None else None
    if found is None:
        raise refusal(remove_prolog(text))
    reading, channel = found
    is_cut_only = reading.cut_item is not None and lenience == "feedparser"
    if not reading.is_whole and not reading.items and not is_cut_only:
        reason = f"the document breaks off before its first item ends: {reading.warnings[0]}"
        raise ParseError(ErrorKind.DAMAGED, reason)
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
        reason = "the feed has elements named item or entry that are none"
        super().__init__(ErrorKind.NOT_A_FEED, reason)
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


_LAST_RESORT_KINDS = frozenset({ErrorKind.NOT_A_FEED, ErrorKind.DAMAGED, ErrorKind.HTML})


def _recognise(text: str, lenience: Lenience) -> tuple[Reading, Channel] | None:
    """Read a document, repaired if need be; None when its root element is not a feed's.

    Raises:
        ParseError: ``refused``, for a bomb of nested elements; ``limits``.
    """
    text = remove_prolog(text)
    document = read_document(_encode(text))
    damage = document.damage
    # Nothing that is repaired there makes it less deep.
    if damage is not None and not document.is_complete and not document.is_too_deep:
        document = read_document(_encode(repair_document(text)))
    reading: Reading | None = None
    if not document.is_complete and lenience != "off":
        reading = read_damaged(text, lenience)
    if reading is None or reading.root is None:
        reading = _before_damage(document)
    if damage is not None:
        reading.warnings.insert(0, f"not well-formed: {damage}")
    channel = read_channel(reading.root) if reading.root is not None else None
    if document.is_too_deep and _is_bomb(text, reading, channel):
        raise ParseError(ErrorKind.REFUSED, str(document.damage))
    return None if channel is None else (reading, channel)


def _is_bomb(text: str, reading: Reading, channel: Channel | None) -> bool:
    """Return whether a document that is too deep is no page, and no item of it can be read."""
    if channel is None:
        return refusal(text).kind is ErrorKind.NOT_A_FEED
    return len(reading.items) == len(reading.unreadable)


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
    dates = date_reader(reading.items, read_language(reading.root), now)
    reader = EntryReader(channel, url=url, dates=dates)
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
    unreadable = reading.unreadable.get(id(item))
    if unreadable is not None:
        return reader.reject(item, unreadable.reason, text=unreadable.text)
    outcome = reader.read(item)
    if id(item) in reading.lenient and isinstance(outcome, ParsedEntry):
        return outcome._replace(item=outcome.item._replace(read_by=READER))
    return outcome


def remove_prolog(text: str) -> str:
    """Return the document from its root element on, short plain entities filled in.

    Declarations, comments and instructions before the root give way to as many line breaks as they
    held, so that lines keep their numbers.

    Raises:
        ParseError: ``refused``, for entities that name other entities, files or addresses, are many
            or long, or swell the document.
    """
    entities: dict[str, str] = {}
    position = 0
    while True:
        if skipped := _IGNORED.match(text, position):
            position = skipped.end()
        elif doctype := _DOCTYPE.match(text, position):
            position = _skip_doctype(text, doctype.end(), entities)
        else:
            break
    line_breaks = "\n" * text.count("\n", 0, position)
    return line_breaks + _fill_in(text[position:], entities)


def _skip_doctype(text: str, position: int, entities: dict[str, str]) -> int:
    if text[position : position + 1] == "[":
        position = _read_subset(text, position + 1, entities)
    return text.find(">", position) + 1 or len(text)


def _read_subset(text: str, start: int, entities: dict[str, str]) -> int:
    position, limit = start, start + MAX_SUBSET
    while (part := _SUBSET_PART.match(text, position, limit)) is not None:
        if (part["kind"] or "").upper() == "ENTITY":
            _read_entity(part["body"], entities)
        position = part.end()
    if text[position : position + 1] != "]":
        raise ParseError(
            ErrorKind.REFUSED, "the document type declaration is too long or cannot be read"
        )
    return position + 1


def _read_entity(body: str, entities: dict[str, str]) -> None:
    # Parameter entities only pull in other files; without them their references are blanks.
    if _PARAMETER.match(body):
        return
    entity = _ENTITY.fullmatch(body)
    if entity is None:
        raise ParseError(ErrorKind.REFUSED, "the document declares an external entity")
    value = entity["double"] if entity["double"] is not None else entity["single"]
    if _MARKUP_OF_DTD.search(_CHARACTER.sub("", value)):
        raise ParseError(ErrorKind.REFUSED, "the document declares entities made of entities")
    if len(value) > MAX_ENTITY_LENGTH or len(entities) >= MAX_ENTITIES:
        raise ParseError(ErrorKind.REFUSED, "the document declares too many or too long entities")
    if entity["name"] not in PREDEFINED:
        entities.setdefault(entity["name"], _HIDDEN_CHARACTER.sub("&", value))


def _fill_in(text: str, entities: dict[str, str]) -> str:
    """Return the text with its references to some entities filled in, none in what they gave."""
    if not entities:
        return text
    lengths: Counter[str] = Counter()

    def fill(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return found[0]
        lengths[name] += len(entities[name])
        if lengths[name] > MAX_EXPANSION:
            raise ParseError(ErrorKind.REFUSED, f"entity {name!r} would swell the document")
        return entities[name]

    names = "|".join(map(re.escape, entities))
    return re.sub(rf"{_VERBATIM.pattern}|&(?P<name>{names});", fill, text, flags=re.DOTALL)
