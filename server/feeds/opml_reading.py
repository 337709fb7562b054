"""OPML documents of anybody, read with suspicion into the entries that are feeds."""

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from xml.parsers import expat

from shared.errors import InvalidRequestError

MAX_DEPTH = 20
MAX_OUTLINES = 50_000
# Attributes of our own, which other readers leave alone.
OWN_PREFIX = "feedmill:"
# What an entry's ``type`` says when it is a feed and no folder.
_FEED_TYPES = frozenset({"rss", "atom", "rdf", "feed"})
_FEED_SCHEME = re.compile(r"(?:feed|itpc|pcast):(?://)?(?=.)", re.IGNORECASE)
_ENTITIES = "the document declares entities, which is refused"
_TOO_MANY = f"the document has more than {MAX_OUTLINES} outlines"
_DECLARED = re.compile(rb"<\?xml[^<>]*?encoding\s*=\s*[\"']([\w.-]{1,40})[\"']")
_ROOT = re.compile(r"<opml[\s>/]", re.IGNORECASE)
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)", re.DOTALL)
_OUTLINE = re.compile(r"<outline(?=[\s/>])", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\s+([\w:.-]+)\s*=\s*(?:"([^"<]*)"|'([^'<]*)'|([^\s"'<>]+))""")
# With its semicolon only: "&copy=1" is a parameter of a URL.
_REFERENCE = re.compile(r"&#?\w{1,40};")
_TAG_END = re.compile(r"\s*/?>")
# What stands between a tag and its end is shown to nobody, so long ones are not looked through.
_LONGEST_TAG = 20_000


@dataclass(frozen=True, slots=True)
class Outline:
    """One entry that is a feed; ``own`` are our own attributes, without their prefix.

    ``url`` is empty in an entry that says it is a feed and names no URL; ``line`` is where it
    stands in the document.
    """

    url: str
    line: int
    title: str = ""
    category: str = ""
    own: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InvalidOutline:
    """An entry of an OPML document that could not be added, why, and its line there."""

    url: str
    error: str
    line: int


@dataclass(frozen=True, slots=True)
class OpmlDocument:
    """What an OPML document lists: entries that are feeds, and those that cannot be read."""

    outlines: list[Outline]
    unreadable: list[InvalidOutline] = field(default_factory=list)


def read_opml(document: bytes) -> OpmlDocument:
    """Return the entries that are feeds, in order, out of whatever folders.

    In a document that is no XML each entry is read on its own, so that a fault costs that one.

    Raises:
        InvalidRequestError: not OPML; or it declares entities, is nested deeper than 20, or has
            more than 50 000 outlines.
    """
    reader = _OutlineReader()
    try:
        reader.parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as exc:
        return _read_damaged(document, exc)
    if reader.root != "opml":
        raise InvalidRequestError(f"the body is not OPML: its root is {str(reader.root)[:40]!r}")
    return OpmlDocument(reader.outlines)


def _read_damaged(document: bytes, error: Exception) -> OpmlDocument:
    found = _find_outlines(document)
    if found is None:
        raise InvalidRequestError(f"the body is not readable XML: {error}") from error
    if b"<!ENTITY" in document.replace(b"\0", b""):
        raise InvalidRequestError(_ENTITIES)
    read = OpmlDocument([])
    for number, raw in enumerate(found, start=1):
        if number > MAX_OUTLINES:
            raise InvalidRequestError(_TOO_MANY)
        if raw.attributes is None:
            reason = f"line {raw.line}: the entry cannot be read; correct its quotes and brackets"
            read.unreadable.append(InvalidOutline("", reason, raw.line))
        elif (outline := _to_outline(raw.attributes, raw.line)) is not None:
            read.outlines.append(outline)
    if not read.outlines:
        raise InvalidRequestError(f"the body is not readable XML: {error}") from error
    return read


class _OutlineReader:
    """Collects outlines while the document is parsed; builds no tree, expands no entity."""

    def __init__(self) -> None:
        self.outlines: list[Outline] = []
        self.root: str | None = None
        self._depth = 0
        self._seen = 0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.EntityDeclHandler = self._refuse_entity

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self.root is None:
            self.root = name
        if self._depth > MAX_DEPTH:
            raise InvalidRequestError(f"the document is nested deeper than {MAX_DEPTH}")
        if name == "outline":
            self._add(attributes)

    def _add(self, attributes: Mapping[str, str]) -> None:
        self._seen += 1
        if self._seen > MAX_OUTLINES:
            raise InvalidRequestError(_TOO_MANY)
        outline = _to_outline(attributes, self.parser.CurrentLineNumber)
        if outline is not None:
            self.outlines.append(outline)

    def _end(self, _name: str) -> None:
        self._depth -= 1

    def _refuse_entity(self, *_declaration: object) -> None:
        raise InvalidRequestError(_ENTITIES)


def _to_outline(attributes: Mapping[str, str], line: int) -> Outline | None:
    """Return an entry that is a feed, None for a folder or a link to something else."""
    by_name = {name.lower(): value for name, value in attributes.items()}
    url = _http_url(by_name.get("xmlurl", "").strip())
    if not url and by_name.get("type", "").strip().lower() not in _FEED_TYPES:
        return None
    own = {
        name.removeprefix(OWN_PREFIX): value
        for name, value in by_name.items()
        if name.startswith(OWN_PREFIX)
    }
    title = by_name.get("text") or by_name.get("title") or ""
    return Outline(url, line, title, by_name.get("category", ""), own)


def _http_url(url: str) -> str:
    """Return the http URL that ``feed:`` and its like stand for, as browsers once had them."""
    found = _FEED_SCHEME.match(url)
    if found is None:
        return url
    rest = url[found.end() :]
    return rest if rest[:8].lower().startswith(("http://", "https://")) else f"http://{rest}"


@dataclass(frozen=True, slots=True)
class _RawOutline:
    """An outline by its line; ``attributes`` is None where they cannot be told apart."""

    line: int
    attributes: Mapping[str, str] | None


def _find_outlines(document: bytes) -> Iterator[_RawOutline] | None:
    """Return the outlines of a damaged document, in order; None where it is no OPML at all.

    Entities that it declares are not looked at: whoever calls refuses such a document before.
    """
    text = _decode(document)
    if text is None or not _ROOT.search(text[:_LONGEST_TAG]):
        return None
    return _scan(_HIDDEN.sub(lambda found: "\n" * found[0].count("\n"), text))


def _scan(text: str) -> Iterator[_RawOutline]:
    line, counted_to = 1, 0
    for found in _OUTLINE.finditer(text):
        line += text.count("\n", counted_to, found.start())
        counted_to = found.start()
        yield _RawOutline(line, _read_attributes(text[found.end() : found.end() + _LONGEST_TAG]))


def _read_attributes(text: str) -> dict[str, str] | None:
    attributes: dict[str, str] = {}
    at = 0
    while (found := _ATTRIBUTE.match(text, at)) is not None:
        value = next((group for group in found.groups()[1:] if group is not None), "")
        # The first of two with one name counts, as in HTML; a bare "&" stays what it is.
        attributes.setdefault(found[1], _REFERENCE.sub(lambda each: unescape(each[0]), value))
        at = found.end()
    return attributes if _TAG_END.match(text, at) else None


def _decode(document: bytes) -> str | None:
    """Return a document's text; None for an encoding that nobody knows."""
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if document.startswith(mark):
            return document.decode(name, "replace")
    declared = _DECLARED.search(document[:200])
    try:
        return document.decode("utf-8-sig")
    except UnicodeDecodeError:
        name = declared[1].decode("ascii") if declared is not None else "windows-1252"
    try:
        return document.decode(name, "replace")
    except LookupError:
        return None
