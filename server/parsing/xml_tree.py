"""Read XML once, into small trees: the feed around its items, and one tree for each item.

Expat does the reading. Nothing is fetched, no entity but XML's own five is known, and nesting is
limited while reading, so that a hostile document costs no more than its length.

Elements have one spelling each, whatever prefix or namespace version a feed uses: core elements of
RSS, RDF and Atom are written in lower case without a prefix, those of well-known modules with their
usual prefix; all others keep prefix and name as the document writes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from xml.parsers import expat

from server.parsing.detection import strip_blanks
from server.parsing.links import join_url
from server.parsing.parsed import check_items, check_parts
from shared.error_kinds import ErrorKind
from shared.errors import ParseError

# Between the parts of a name as expat gives it: a character that no XML document can hold, since
# a blank may stand in the URL of a namespace.
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


# What these are depends on where they stand: the root, inside it, and what lists the items.
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
TOO_DEEP = f"elements are nested deeper than {MAX_DEPTH}"
# What lies deeper is nothing that a feed tells of itself.
_CHANNEL_DEPTH = 4
_ITEM_NAMES: Final = frozenset({"item", "entry"})
_NO_ATTRIBUTES: Final[dict[str, str]] = {}


@lru_cache(maxsize=4096)
def _name_by_place(expat_name: str, parent_name: str, parent_tag: str) -> str:
    """Return the spelling of an element's name, decided by its place where its namespace misleads.

    ``parent_name`` is the parent's own spelling, ``parent_tag`` its name as expat gives it; both
    are empty for the root. Some publishers take a module's URL for the namespace of the whole feed:
    what then stands where RSS or Atom has an element of that name is that element.
    """
    name = canonical_name(expat_name)
    if ":" not in name:
        return name
    parts = expat_name.split(SEPARATOR)
    local = parts[1].lower()
    if not parent_name:
        return local if local in ROOT_NAMES else name
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
    """Return whether a namespace's address is one of RSS, RDF or Atom themselves."""
    return _known_prefix(address) == CORE


def _known_prefix(address: str) -> str | None:
    # Blanks and line breaks in an address are slips.
    lowered = "".join(address.split()).lower()
    # Userland's address exists in many spellings; all of them mean plain RSS.
    if "backend.userland.com/rss" in lowered:
        return CORE
    return NAMESPACES.get(lowered)


class Node:
    """One element: ``parts`` are its texts and child nodes in document order.

    ``attributes`` have lower-case names, to be looked up; ``written`` has them as expat gave them.
    ``base`` is what URLs inside refer to, as far as ``xml:base`` tells.
    """

    __slots__ = ("attributes", "base", "name", "parts", "tag", "written")

    def __init__(
        self,
        tag: str,
        name: str,
        base: str | None = None,
        attributes: dict[str, str] = _NO_ATTRIBUTES,
        written: dict[str, str] = _NO_ATTRIBUTES,
    ) -> None:
        self.tag = tag
        self.name = name
        self.base = base
        self.attributes = attributes
        self.written = written
        self.parts: list[str | Node] = []

    @property
    def leaf_text(self) -> str | None:
        """The text inside, stripped, of an element that holds nothing else; None of all others."""
        parts = self.parts
        if not parts:
            return ""
        first = parts[0]
        return strip_blanks(first) if len(parts) == 1 and type(first) is str else None

    @property
    def children(self) -> list["Node"]:
        return [part for part in self.parts if type(part) is Node]

    @property
    def text(self) -> str:
        """The text directly inside, without that of children, stripped."""
        text = self.leaf_text
        if text is not None:
            return text
        return strip_blanks("".join([part for part in self.parts if type(part) is str]))

    @property
    def full_text(self) -> str:
        """The text inside, with that of children, stripped."""
        text = self.leaf_text
        return text if text is not None else strip_blanks("".join(_texts(self)))

    @property
    def namespace(self) -> str:
        return namespace_of(self.tag)


def _texts(node: Node) -> Iterator[str]:
    for part in node.parts:
        if isinstance(part, Node):
            yield from _texts(part)
        else:
            yield part


@dataclass(frozen=True, slots=True)
class Document:
    """An XML document as far as it could be read.

    ``items`` are those whose end tag was seen. ``fault`` is what made reading stop, in line
    ``fault_line``, None where nothing did; ``cut_item`` is then the item it stopped in, with only
    the children that were closed. ``is_complete`` is True once the root element was closed: damage
    after it costs nothing. ``parts`` counts elements and attributes. ``is_too_deep`` tells that the
    fault is an element nested deeper than ``MAX_DEPTH``: many were left open, or it is a bomb.
    """

    root: Node | None
    items: list[Node]
    is_complete: bool
    parts: int
    cut_item: Node | None = None
    fault: str | None = None
    fault_line: int = 0
    is_too_deep: bool = False

    @property
    def damage(self) -> str | None:
        """What is wrong and where, for people."""
        return None if self.fault is None else f"{self.fault} in line {self.fault_line}"


def read_document(source: bytes) -> Document:
    """Read UTF-8 bytes. Never fails for damage: that is noted, and what came before it is kept.

    Elements nested deeper than ``MAX_DEPTH`` are damage too: reading stops at the first.

    Raises:
        ParseError: ``refused``, for a misplaced document type declaration; ``limits``.
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
        return builder.finish(expat.ErrorString(exc.code), exc.lineno)
    except _TooDeepError:
        return builder.finish(TOO_DEEP, parser.CurrentLineNumber, is_too_deep=True)
    return builder.finish()


def _refuse_doctype(*_: object) -> None:
    # Those before the root were taken out; one that is left is hidden or misplaced.
    raise ParseError(ErrorKind.REFUSED, "a document type declaration inside the document")


class _TooDeepError(Exception):
    """Ends expat's reading: one more element would be nested too deep."""


class _Builder:
    """Expat's callbacks, called a dozen times for an item: what is seldom needed stands apart.

    Items are taken out of the tree around them.
    """

    def __init__(self) -> None:
        self._root: Node | None = None
        self._items: list[Node] = []
        # At the bottom what holds the root element.
        self._open = [Node("", "")]
        self._item: Node | None = None
        self._parts = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        open_nodes = self._open
        if len(open_nodes) > MAX_DEPTH:
            raise _TooDeepError
        parent = open_nodes[-1]
        name = canonical_name(tag)
        if ":" in name:
            name = _name_by_place(tag, parent.name, parent.tag)
        node = Node(tag, name, parent.base)
        self._parts += 1
        if attributes:
            self._set_attributes(node, attributes)
        check_parts(self._parts)
        if self._item is not None:
            parent.parts.append(node)
        else:
            self._start_outside(node)
        open_nodes.append(node)

    def end(self, _tag: str) -> None:
        node = self._open.pop()
        if node is self._item:
            self._items.append(node)
            check_items(len(self._items))
            self._item = None

    def text(self, text: str) -> None:
        self._open[-1].parts.append(text)

    def finish(
        self, fault: str | None = None, fault_line: int = 0, *, is_too_deep: bool = False
    ) -> Document:
        """Return what was read until the end, or until a fault."""
        if self._item is not None:
            unclosed = set(map(id, self._open))
            self._item.parts = [part for part in self._item.parts if id(part) not in unclosed]
        is_complete = self._root is not None and len(self._open) == 1
        faults = (self._item, fault, fault_line, is_too_deep)
        return Document(self._root, self._items, is_complete, self._parts, *faults)

    def _set_attributes(self, node: Node, written: dict[str, str]) -> None:
        self._parts += len(written)
        node.written = written
        node.attributes = {attribute_name(name): value for name, value in written.items()}
        own_base = node.attributes.get("xml:base")
        if own_base:
            node.base = join_url(node.base, own_base)

    def _start_outside(self, node: Node) -> None:
        """Take in an element that is in no item: the root, an item, or one about the feed."""
        is_item = node.name in _ITEM_NAMES
        if is_item:
            self._item = node
        if self._root is None:
            self._root = _root_around(node) if is_item else node
        elif not is_item and len(self._open) <= _CHANNEL_DEPTH:
            self._open[-1].parts.append(node)


def _root_around(item: Node) -> Node:
    """Return a root element for a document that is one item."""
    name = "feed" if item.name == "entry" else "rss"
    tag = SEPARATOR.join([item.namespace, name]) if item.namespace else name
    return Node(tag, name, item.base)
