"""The known fields of one item of RSS, RDF or Atom, each from the elements that may carry it."""

from collections.abc import Iterable

from server.parsing.decoding import mend_c1
from server.parsing.markup import text_of
from server.parsing.tree import Node
from shared.models import Enclosure

MAX_LENGTH_BYTES = 2**63 - 1

TITLES = ("title", "dc:title", "media:title")
SUMMARIES = ("description", "summary", "abstract", "dc:description", "itunes:summary")
CONTENTS = ("content:encoded", "content", "fullitem", "xhtml:body", "body")
AUTHORS = ("author", "dc:creator", "dc:author", "itunes:author")
CATEGORIES = frozenset(
    {
        "category", "dc:subject", "keywords", "tags", "itunes:category", "itunes:keywords",
        "media:category", "media:keywords",
    }
)  # fmt: skip
_PAGE_TYPES = frozenset({"text/html", "html", "xhtml", "application/xhtml+xml"})
_COMMA_SEPARATED = frozenset({"itunes:keywords", "media:keywords", "tags"})
PUBLISHED = ("pubdate", "published", "issued", "dcterms:issued", "dc:date", "created",
             "dcterms:created")  # fmt: skip
UPDATED = ("updated", "modified", "dcterms:modified", "lastbuilddate", "dc:date")


class ItemFields:
    """One item's children, looked up by name; remembers which of them became known fields."""

    def __init__(self, item: Node) -> None:
        self.item = item
        self.children = item.children
        self._by_name: dict[str, list[Node]] = {}
        for child in self.children:
            self._by_name.setdefault(child.name, []).append(child)
        self._used: set[int] = set()

    def unused(self) -> list[Node]:
        """Return the children that no field was read from, in document order."""
        return [child for child in self.children if id(child) not in self._used]

    def first_text(self, names: Iterable[str]) -> str | None:
        """Return the first non-blank text among the named elements, the first name winning."""
        for name in names:
            for node in self._by_name.get(name, ()):
                text = text_of(node)
                # An empty content element may point at content elsewhere: that is kept as extra.
                if text is not None or "src" not in node.attributes:
                    self._used.add(id(node))
                if text is not None:
                    return text
        return None

    def date_text(self, names: Iterable[str]) -> str | None:
        """Return the first non-blank date as written. All date elements count as used."""
        written = None
        for name in names:
            for node in self._by_name.get(name, ()):
                self._used.add(id(node))
                written = written or node.text or None
        return written

    def written_guid(self) -> str | None:
        """Return guid, id or rdf:about as written; an empty one is as good as none."""
        for name in ("guid", "id"):
            for node in self._by_name.get(name, ()):
                self._used.add(id(node))
                if node.text:
                    return node.text
        return self.item.attributes.get("rdf:about") or None

    def permalink(self) -> str | None:
        """Return the guid or id as an address: of RSS unless it is marked to be none."""
        for name in ("guid", "id"):
            for node in self._by_name.get(name, ()):
                if node.attributes.get("ispermalink", "true").strip().lower() != "false":
                    return node.text or None
        return self.item.attributes.get("rdf:about") or None

    def link(self) -> tuple[Node, str] | tuple[None, None]:
        """Return the element of the item's own address and what it says, unresolved."""
        links = [node for node in self._by_name.get("link", ()) if is_alternate(node)]
        chosen = next((node for node in links if not _href(node)), None) or _best_page(links)
        if chosen is not None:
            self._used.add(id(chosen))
            return chosen, written_address(chosen)
        # CDF has no link elements; items and channels carry their address themselves.
        address = self.item.attributes.get("href", "").strip()
        return (self.item, address) if address else (None, None)

    def updated_text(self) -> str | None:
        """Return the date of the last change as written."""
        return self.date_text(UPDATED) or self.item.attributes.get("lastmod") or None

    def author(self) -> str | None:
        """Return the authors of the first kind of element that names any, joined by commas."""
        for name in AUTHORS:
            nodes = self._by_name.get(name, ())
            names = [author for node in nodes if (author := _author_text(node))]
            if names:
                self._used.update(map(id, nodes))
                return ", ".join(dict.fromkeys(names))
        return None

    def categories(self) -> tuple[str, ...]:
        """Return the categories, each once, in document order."""
        terms: list[str] = []
        for child in self.children:
            if child.name in CATEGORIES:
                self._used.add(id(child))
                terms.extend(_terms(child))
        return tuple(dict.fromkeys(terms))

    def enclosures(self) -> list[tuple[Node, Enclosure]]:
        """Return the enclosed files as written, in document order; without an address is none."""
        enclosures = []
        for child in self.children:
            is_link = child.name == "link" and _relation(child) == "enclosure"
            if child.name == "enclosure" or is_link:
                self._used.add(id(child))
                enclosure = _enclosure(child)
                if enclosure is not None:
                    enclosures.append((child, enclosure))
        return enclosures


def written_address(link: Node) -> str:
    """Return what a link element says, unresolved."""
    return (_href(link) or link.text).strip()


def is_alternate(link: Node) -> bool:
    """Tell whether a link element leads to the page itself, and says where."""
    return _relation(link) == "alternate" and bool(written_address(link))


def _href(node: Node) -> str | None:
    attributes = node.attributes
    return attributes.get("href") or attributes.get("url") or attributes.get("uri") or None


def _relation(node: Node) -> str:
    relation = node.attributes.get("rel", "alternate").strip().lower()
    return relation.removeprefix("http://www.iana.org/assignments/relation/")


def _best_page(links: list[Node]) -> Node | None:
    for node in links:
        if node.attributes.get("type", "text/html").lower() in _PAGE_TYPES:
            return node
    return links[0] if links else None


def _author_text(node: Node) -> str | None:
    parts = {child.name.rpartition(":")[2].lower(): child.text for child in node.children}
    name, email = parts.get("name"), parts.get("email")
    if name and email:
        return mend_c1(f"{name} ({email})")
    return mend_c1(name or email or node.text) or None


def _terms(node: Node) -> list[str]:
    attributes = node.attributes
    text = attributes.get("term") or node.text or attributes.get("label") or attributes.get("text")
    terms = (text or "").split(",") if node.name in _COMMA_SEPARATED else [text or ""]
    nested = [term for child in node.children if child.name in CATEGORIES for term in _terms(child)]
    return [mend_c1(term.strip()) for term in terms if term.strip()] + nested


def _enclosure(node: Node) -> Enclosure | None:
    url = written_address(node)
    if not url:
        return None
    kind = node.attributes.get("type", "").strip() or None
    return Enclosure(url=url, type=kind, length=_length(node.attributes.get("length", "")))


def _length(written: str) -> int | None:
    digits = written.strip()
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        return None
    return min(int(digits), MAX_LENGTH_BYTES)
