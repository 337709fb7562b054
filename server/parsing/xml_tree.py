"""Read XML once, into small trees: the feed around its items, and one tree for each item.

Expat does the reading. Nothing is fetched, no entity but XML's own five is known, and nesting is
limited while reading, so that a hostile document costs no more than its length.

Elements have one spelling each, whatever prefix or namespace version a feed uses: core elements of
RSS, RDF and Atom are written in lower case without a prefix, those of well-known modules with their
usual prefix; all others keep prefix and name as the document writes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from xml.parsers import expat

from server.parsing.parsed import check_items, check_parts
from server.parsing.urls import join_url
from shared.errors import ErrorKind, ParseError

# Between the parts of a name as expat gives it: a character that no XML document can hold, since
# a blank may stand in the address of a namespace.
SEPARATOR = "\x1f"
CORE = ""
ATOM_10 = "http://www.w3.org/2005/atom"
ATOM_03 = "http://purl.org/atom/ns#"
RSS_10 = "http://purl.org/rss/1.0/"
RSS_090 = "http://my.netscape.com/rdf/simple/0.9/"

# Keys are lower case: publishers differ in the case of these addresses.
NAMESPACES = {
    ATOM_10: CORE,
    ATOM_03: CORE,
    RSS_10: CORE,
    RSS_090: CORE,
    "http://blogs.law.harvard.edu/tech/rss": CORE,
    "http://cyber.law.harvard.edu/rss/rss.html": CORE,
    "http://purl.org/rss/1.0/modules/rss091#": CORE,
    "http://purl.org/rss/2.0/": CORE,
    "http://purl.org/net/rss1.1#": CORE,
    "http://purl.org/net/rss1.1": CORE,
    "http://example.com/newformat#": CORE,
    "http://example.com/necho": CORE,
    "http://purl.org/echo/": CORE,
    "http://purl.org/pie/": CORE,
    "uri/of/echo/namespace#": CORE,
    "http://purl.org/dc/elements/1.0/": "dc",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://purl.org/rss/1.0/modules/content/": "content",
    "http://purl.org/rss/1.0/modules/syndication/": "sy",
    "http://purl.org/rss/1.0/modules/slash/": "slash",
    "http://purl.org/syndication/thread/1.0": "thr",
    "http://purl.org/syndication/history/1.0": "fh",
    "http://search.yahoo.com/mrss": "media",
    "http://search.yahoo.com/mrss/": "media",
    "http://www.itunes.com/dtds/podcast-1.0.dtd": "itunes",
    "http://example.com/dtds/podcast-1.0.dtd": "itunes",
    "http://wellformedweb.org/commentapi/": "wfw",
    "http://rssnamespace.org/feedburner/ext/1.0": "feedburner",
    "http://www.georss.org/georss": "georss",
    "http://www.w3.org/2003/01/geo/wgs84_pos#": "geo",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#": "rdf",
    "http://www.w3.org/1999/xhtml": "xhtml",
    "http://www.w3.org/xml/1998/namespace": "xml",
}
# What an undeclared prefix is taken to mean; feeds forget the declaration, not the convention.
USUAL_ADDRESSES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "sy": "http://purl.org/rss/1.0/modules/syndication/",
    "slash": "http://purl.org/rss/1.0/modules/slash/",
    "thr": "http://purl.org/syndication/thread/1.0",
    "media": "http://search.yahoo.com/mrss/",
    "itunes": "http://www.itunes.com/dtds/podcast-1.0.dtd",
    "wfw": "http://wellformedweb.org/CommentAPI/",
    "atom": "http://www.w3.org/2005/Atom",
    "feedburner": "http://rssnamespace.org/feedburner/ext/1.0",
    "georss": "http://www.georss.org/georss",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}


# What these are is told by where they stand: the root, inside it, and what lists the items.
ROOT_NAMES = frozenset({"rss", "feed", "rdf", "channel"})
_STRUCTURE = ROOT_NAMES | {"item", "entry"}
# The elements of RSS and Atom that a feed or an item holds, in lower case.
CORE_NAMES = _STRUCTURE | {
    "author", "category", "cloud", "comments", "content", "contributor", "copyright", "created",
    "description", "docs", "enclosure", "generator", "guid", "icon", "id", "image", "issued",
    "items", "language", "lastbuilddate", "link", "logo", "managingeditor", "modified", "pubdate",
    "published", "rating", "rights", "skipdays", "skiphours", "source", "subtitle", "summary",
    "tagline", "textinput", "title", "ttl", "updated", "webmaster",
}  # fmt: skip
MAX_DEPTH = 150
_ITEM_NAMES: Final = frozenset({"item", "entry"})
_NO_ATTRIBUTES: Final[dict[str, str]] = {}


def name_by_place(expat_name: str, parent: tuple[str, str] | None) -> str:
    """Return the spelling of an element's name, decided by its place where its namespace misleads.

    ``parent`` is the parent's own spelling and its name as expat gives it, None for the root. Some
    publishers take a module's address for the namespace of the whole feed: what then stands where
    RSS or Atom has an element of that name is that element.
    """
    name = canonical_name(expat_name)
    if ":" not in name:
        return name
    parts = expat_name.split(SEPARATOR)
    local = parts[1].lower()
    if parent is None:
        return local if local in ROOT_NAMES else name
    parent_name, parent_tag = parent
    if parent_name not in _STRUCTURE:
        return name
    is_plain = len(parts) == 2
    if is_plain and local in _STRUCTURE:
        return local
    is_inherited = parts[0].lower() == namespace_of(parent_tag)
    return local if is_inherited and local in CORE_NAMES else name


@lru_cache(maxsize=4096)
def canonical_name(expat_name: str) -> str:
    """Return the one spelling of an element's name as expat gives it: address, local, prefix."""
    parts = expat_name.split(SEPARATOR)
    if len(parts) == 1:
        return expat_name.lower()
    address, local = parts[0], parts[1]
    known = _known_prefix(address)
    if known == CORE:
        return local.lower()
    if known is not None:
        return f"{known}:{local}"
    # An unknown default namespace: publishers of odd dialects mean the plain elements.
    return f"{parts[2]}:{local}" if len(parts) > 2 else local.lower()


@lru_cache(maxsize=4096)
def attribute_name(expat_name: str) -> str:
    """Return the one spelling of an attribute's name: lower case, known prefixes kept."""
    parts = expat_name.split(SEPARATOR)
    if len(parts) == 1:
        return expat_name.lower()
    known = _known_prefix(parts[0])
    if known == CORE:
        return parts[1].lower()
    prefix = known if known is not None else parts[-1]
    return f"{prefix}:{parts[1]}".lower()


@lru_cache(maxsize=4096)
def written_attribute_name(expat_name: str) -> str:
    """Return an attribute's name as written, with the usual prefix of a known namespace."""
    parts = expat_name.split(SEPARATOR)
    if len(parts) == 1:
        return expat_name
    known = _known_prefix(parts[0])
    if known == CORE:
        return parts[1]
    prefix = known if known is not None else parts[-1]
    return f"{prefix}:{parts[1]}"


@lru_cache(maxsize=4096)
def namespace_of(expat_name: str) -> str:
    """Return the namespace of a name as expat gives it, in lower case; empty without one."""
    return expat_name.split(SEPARATOR)[0].lower() if SEPARATOR in expat_name else ""


def is_core(address: str) -> bool:
    """Tell whether a namespace's address is one of RSS, RDF or Atom themselves."""
    return _known_prefix(address) == CORE


def _known_prefix(address: str) -> str | None:
    # Blanks and line breaks in an address are slips.
    lowered = "".join(address.split()).lower()
    # Userland's address exists with many endings; all of them mean plain RSS.
    if "backend.userland.com/rss" in lowered:
        return CORE
    return NAMESPACES.get(lowered)


class Node:
    """One element: ``parts`` are its texts and child nodes in document order.

    ``attributes`` have lower-case names, to be looked up; ``written`` has them as expat gave them.
    """

    __slots__ = ("attributes", "base", "name", "parts", "tag", "written")

    def __init__(
        self, tag: str, attributes: dict[str, str], base: str | None, written: dict[str, str]
    ) -> None:
        self.tag = tag
        self.name = canonical_name(tag)
        self.attributes = attributes
        self.written = written
        self.base = base
        self.parts: list[str | Node] = []

    @property
    def children(self) -> list["Node"]:
        return [part for part in self.parts if type(part) is Node]

    @property
    def text(self) -> str:
        """The text directly inside, without that of children, stripped."""
        parts = self.parts
        if len(parts) == 1 and type(parts[0]) is str:
            return parts[0].strip()
        return "".join([part for part in parts if type(part) is str]).strip()

    @property
    def full_text(self) -> str:
        """The text inside, with that of children, stripped."""
        return "".join(_texts(self)).strip()

    @property
    def namespace(self) -> str:
        return namespace_of(self.tag)


def _texts(node: Node) -> Iterator[str]:
    for part in node.parts:
        if isinstance(part, Node):
            yield from _texts(part)
        else:
            yield part


@dataclass(slots=True)
class Document:
    """An XML document as far as it could be read.

    ``items`` are those whose end tag was seen. ``damage`` says what is wrong and where, if reading
    had to stop; ``cut_item`` is then the item it stopped in, with only the children that were
    closed. ``is_complete`` is True once the root element was closed: damage after it costs nothing.
    ``parts`` counts elements and attributes; ``fault`` and ``fault_line`` are ``damage`` in parts.
    """

    root: Node | None = None
    items: list[Node] = field(default_factory=list)
    damage: str | None = None
    fault: str = ""
    fault_line: int = 0
    cut_item: Node | None = None
    is_complete: bool = False
    parts: int = 0


def read_document(source: bytes) -> Document:
    """Read UTF-8 bytes. Never fails for damage: that is noted, and what came before it is kept.

    Raises:
        ParseError: ``refused``, when elements are nested deeper than ``MAX_DEPTH``; ``limits``.
    """
    builder = _Builder()
    parser = expat.ParserCreate("utf-8", SEPARATOR)
    parser.namespace_prefixes = True
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(source, True)
    except expat.ExpatError as exc:
        builder.note_damage(exc)
    builder.document.parts = builder.parts
    return builder.document


def _refuse_doctype(*_: object) -> None:
    # Those before the root were taken out; one that is left is hidden or misplaced.
    raise ParseError(ErrorKind.REFUSED, "a document type declaration inside the document")


class _Builder:
    """Expat's callbacks. Items are taken out of the frame's tree when they end."""

    def __init__(self) -> None:
        self.document = Document()
        self._open: list[Node] = []
        self._item: Node | None = None
        self.parts = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.parts += 1 + len(attributes)
        check_parts(self.parts)
        open_nodes = self._open
        parent = open_nodes[-1] if open_nodes else None
        base = parent.base if parent is not None else None
        written = attributes
        if attributes:
            attributes = {attribute_name(name): value for name, value in attributes.items()}
            base = _deeper_base(base, attributes)
        node = Node(tag, attributes or _NO_ATTRIBUTES, base, written or _NO_ATTRIBUTES)
        if ":" in node.name:
            place = (parent.name, parent.tag) if parent is not None else None
            node.name = name_by_place(tag, place)
        if parent is None:
            self._start_root(node)
        elif self._item is None and node.name in _ITEM_NAMES:
            self._item = node
        elif self._item is not None or len(open_nodes) < 4:
            parent.parts.append(node)
        if len(open_nodes) >= MAX_DEPTH:
            raise ParseError(ErrorKind.REFUSED, f"elements are nested deeper than {MAX_DEPTH}")
        open_nodes.append(node)

    def _start_root(self, node: Node) -> None:
        if node.name not in _ITEM_NAMES:
            self.document.root = node
            return
        # A document that is one item: the feed around it is made up.
        self._item = node
        frame = "feed" if node.name == "entry" else "rss"
        tag = SEPARATOR.join([node.namespace, frame]) if node.namespace else frame
        self.document.root = Node(tag, _NO_ATTRIBUTES, node.base, _NO_ATTRIBUTES)
        self.document.root.name = frame

    def end(self, _tag: str) -> None:
        node = self._open.pop()
        if node is self._item:
            self.document.items.append(node)
            check_items(len(self.document.items))
            self._item = None
        if not self._open:
            self.document.is_complete = True

    def text(self, text: str) -> None:
        self._open[-1].parts.append(text)

    def note_damage(self, error: expat.ExpatError) -> None:
        self.document.fault = expat.ErrorString(error.code)
        self.document.fault_line = error.lineno
        self.document.damage = f"{self.document.fault} in line {error.lineno}"
        if self._item is not None:
            unclosed = set(map(id, self._open))
            self._item.parts = [part for part in self._item.parts if id(part) not in unclosed]
            self.document.cut_item = self._item


def _deeper_base(base: str | None, attributes: dict[str, str]) -> str | None:
    own = attributes.get("xml:base")
    if not own:
        return base
    return join_url(base, own)
