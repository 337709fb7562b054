"""The known fields of one item of RSS, RDF or Atom, each from the elements that may carry it."""

from collections.abc import Iterable

from server.parsing.detection import repair_c1
from server.parsing.item_texts import ItemTexts, MarkedText, read_text
from server.parsing.urls import is_absolute
from server.parsing.xml_tree import Node
from shared.models import HTML, Enclosure

MAX_LENGTH_BYTES = 2**63 - 1

AUTHORS = ("author", "dc:creator", "dc:author", "itunes:author")
CATEGORIES = frozenset(
    {
        "category", "dc:subject", "keywords", "tags", "itunes:category", "itunes:keywords",
        "media:category", "media:keywords",
    }
)  # fmt: skip
_PAGE_TYPES = frozenset({"text/html", "html", "xhtml", "application/xhtml+xml"})
_COMMA_SEPARATED = frozenset({"itunes:keywords", "media:keywords", "tags"})
_MEDIA = frozenset({"audio", "video", "image"})
_PARTS_OF_PEOPLE = frozenset({"name", "email", "uri", "url", "homepage"})
TITLES = ("title", "dc:title", "media:title")
SUMMARIES = ("description", "summary", "abstract", "dc:description", "itunes:summary")
CONTENTS = ("content:encoded", "content", "fullitem", "xhtml:body", "body")
PUBLISHED = ("pubdate", "published", "issued", "dcterms:issued", "dc:date", "created",
             "dcterms:created")  # fmt: skip
UPDATED = ("updated", "modified", "dcterms:modified", "lastbuilddate", "dc:date")


class ItemFields:
    """One item's children, looked up by name.

    ``used`` holds the ids of the nodes that became known fields.
    """

    def __init__(self, item: Node, default_format: str = HTML) -> None:
        self.item = item
        self.default_format = default_format
        self.children = item.children
        self._by_name: dict[str, list[Node]] = {}
        # Whether the item, or an element right inside it, says what addresses refer to.
        self.has_base = item.base is not None
        for child in self.children:
            self._by_name.setdefault(child.name, []).append(child)
            if child.base is not None:
                self.has_base = True
        self.used: set[int] = set()
        self._people: set[int] = set()

    def is_used(self, node: Node) -> bool:
        """Tell whether a field was read from this child, or from one inside it."""
        return id(node) in self.used

    def first_text(self, names: Iterable[str]) -> MarkedText | None:
        """Return the first non-blank text among the named elements, the first name winning."""
        for name in names:
            for node in self._by_name.get(name, ()):
                text = read_text(node, self.default_format)
                # An empty content element may point at content elsewhere: that is kept as extra.
                if text is not None or "src" not in node.attributes:
                    self.used.add(id(node))
                if text is not None:
                    return text
        return None

    def texts(self) -> ItemTexts:
        """Return title, summary and content."""
        title, summary = self.first_text(TITLES), self.first_text(SUMMARIES)
        content = self.first_text(CONTENTS)
        if summary is not None:
            return ItemTexts(title, summary, content)
        summary = self._media_description()
        return ItemTexts(title, summary, content, is_of_media=summary is not None)

    def _media_description(self) -> MarkedText | None:
        """Return what Media RSS says of the item as a whole; where it stands is used then."""
        groups = [self.item, *self._by_name.get("media:group", ())]
        for node in (child for group in groups for child in group.children):
            text = (
                read_text(node, self.default_format) if node.name == "media:description" else None
            )
            if text is not None:
                self.used.add(id(node))
                return text
        return None

    def date_text(self, names: Iterable[str]) -> str | None:
        """Return the first non-blank date as written. All date elements count as used."""
        written = None
        for name in names:
            for node in self._by_name.get(name, ()):
                self.used.add(id(node))
                written = written or node.text or None
        return written

    def written_guid(self) -> str | None:
        """Return guid, id or rdf:about as written; an empty one is as good as none."""
        for name in ("guid", "id"):
            for node in self._by_name.get(name, ()):
                self.used.add(id(node))
                text = node.full_text
                if text:
                    return text
        return self.item.attributes.get("rdf:about") or None

    def permalink(self) -> str | None:
        """Return the guid or id as an address: of RSS unless it is marked to be none."""
        for name in ("guid", "id"):
            for node in self._by_name.get(name, ()):
                if node.attributes.get("ispermalink", "true").strip().lower() != "false":
                    return node.full_text or None
        return self.item.attributes.get("rdf:about") or None

    def link(self) -> tuple[Node, str] | tuple[None, None]:
        """Return the element of the item's own address and what it says, unresolved."""
        links = [node for node in self._by_name.get("link", ()) if is_alternate(node)]
        chosen = next((node for node in links if not _href(node)), None) or _best_page(links)
        if chosen is not None:
            self.used.add(id(chosen))
            return chosen, written_url(chosen)
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
                self.used.update(map(id, nodes))
                self._people = set(map(id, nodes))
                return ", ".join(dict.fromkeys(names))
        return None

    def source_author(self) -> str | None:
        """Return the authors of the feed that an entry was taken from."""
        for source in self._by_name.get("source", ()):
            author = ItemFields(source).author()
            if author:
                return author
        return None

    def is_person(self, node: Node) -> bool:
        """Tell whether the authors were read from this child, among others."""
        return id(node) in self._people

    def has_several_people(self) -> bool:
        """Tell whether the authors were read from more than one child."""
        return len(self._people) > 1

    def categories(self) -> tuple[str, ...]:
        """Return the categories, each once, in document order."""
        terms: list[str] = []
        for child in self.children:
            if child.name in CATEGORIES:
                self.used.add(id(child))
                terms.extend(_terms(child))
        return tuple(dict.fromkeys(terms))

    def enclosures(self) -> list[tuple[Node, Enclosure]]:
        """Return the enclosed files as written, in document order; without an address is none."""
        enclosures = []
        for child in self.children:
            is_link = child.name == "link" and _relation(child) == "enclosure"
            if child.name == "enclosure" or is_link:
                self.used.add(id(child))
                enclosure = _enclosure(child)
                if enclosure is not None:
                    enclosures.append((child, enclosure))
        return enclosures

    def media_files(self) -> list[tuple[Node, Enclosure]]:
        """Return the sounds, films and pictures of Media RSS as written, in document order."""
        files: list[tuple[Node, Enclosure]] = []
        if self._by_name.keys().isdisjoint(("media:content", "media:group")):
            return files
        for child in self.children:
            for node in child.children if child.name == "media:group" else (child,):
                file = _media_file(node) if node.name == "media:content" else None
                if file is not None:
                    files.append((node, file))
        return files


def written_url(link: Node) -> str:
    """Return what a link element says, unresolved: its attribute, unless only its text is one."""
    href = _href(link)
    if href is None:
        return link.text
    text = "" if is_absolute(href.strip()) else link.text
    return text if is_absolute(text) else href.strip()


def is_category(node: Node) -> bool:
    """Tell whether an element names a category."""
    return node.name in CATEGORIES


def is_alternate(link: Node) -> bool:
    """Tell whether a link element leads to the page itself, and says where."""
    return _relation(link) == "alternate" and bool(written_url(link))


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
        return repair_c1(f"{name} ({email})")
    # Anything but the parts of a person is markup around a name.
    text = node.text if parts.keys() & _PARTS_OF_PEOPLE else node.full_text
    return repair_c1(name or email or text) or None


def _terms(node: Node) -> list[str]:
    attributes = node.attributes
    text = attributes.get("term") or node.text or attributes.get("label") or attributes.get("text")
    terms = (text or "").split(",") if node.name in _COMMA_SEPARATED else [text or ""]
    nested = [term for child in node.children if child.name in CATEGORIES for term in _terms(child)]
    return [repair_c1(term.strip()) for term in terms if term.strip()] + nested


def _enclosure(node: Node) -> Enclosure | None:
    url = written_url(node)
    if not url:
        return None
    kind = node.attributes.get("type", "").strip() or None
    return Enclosure(url=url, type=kind, length=read_length(node.attributes.get("length", "")))


def _media_file(node: Node) -> Enclosure | None:
    attributes = node.attributes
    url, kind = attributes.get("url", "").strip(), attributes.get("type", "").strip()
    medium = attributes.get("medium", "").strip().lower()
    if not url or not (medium in _MEDIA or kind.lower().partition("/")[0] in _MEDIA):
        return None
    return Enclosure(url, kind or None, read_length(attributes.get("filesize", "")))


def read_length(written: str) -> int | None:
    """Return a size in bytes as a number; None where it is none."""
    digits = written.strip()
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        return None
    return min(int(digits), MAX_LENGTH_BYTES)
