"""The known fields of one item of RSS, RDF or Atom, each from the elements that may carry it."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from operator import attrgetter

from server.parsing.detection import repair_c1, strip_blanks
from server.parsing.item_texts import ItemTexts, MarkedText, read_text
from server.parsing.links import is_absolute
from server.parsing.xml_tree import Node
from shared.models import HTML, Enclosure

MAX_LENGTH_BYTES = 2**63 - 1

CATEGORIES = frozenset(
    {
        "category", "dc:subject", "keywords", "tags", "itunes:category", "itunes:keywords",
        "media:category", "media:keywords",
    }
)  # fmt: skip
PUBLISHED = ("pubdate", "published", "issued", "dcterms:issued", "dc:date", "created",
             "dcterms:created")  # fmt: skip
UPDATED = ("updated", "modified", "dcterms:modified", "lastbuilddate", "dc:date")
_NAME = attrgetter("name")
_AUTHORS = ("author", "dc:creator", "dc:author", "itunes:author")
# What each field may be read from, the best first.
_SOURCES = {
    "title": ("title", "dc:title", "media:title"),
    "summary": ("description", "summary", "abstract", "dc:description", "itunes:summary"),
    "content": ("content:encoded", "content", "fullitem", "xhtml:body", "body"),
    "guid": ("guid", "id"),
    "link": ("link",),
    "author": _AUTHORS,
    "published": PUBLISHED,
    "updated": UPDATED,
    "media:group": ("media:group",),
    "source": ("source",),
}
# What fields of several entries are read from, in document order.
_LISTED = {
    "categories": CATEGORIES,
    "enclosures": frozenset({"enclosure", "link"}),
    "media": frozenset({"media:content", "media:group"}),
}
# Items with more children are rare, and not worth remembering.
_MOST_CHILDREN = 64
_PAGE_TYPES = frozenset({"text/html", "html", "xhtml", "application/xhtml+xml"})
_COMMA_SEPARATED = frozenset({"itunes:keywords", "media:keywords", "tags"})
_MEDIA = frozenset({"audio", "video", "image"})
_PARTS_OF_PEOPLE = frozenset({"name", "email", "uri", "url", "homepage"})


def _find_places(names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return which children, by number, each field is read from, given the names of all."""
    numbered: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        numbered.setdefault(name, []).append(number)
    ranked = {
        field: tuple(number for name in sources for number in numbered.get(name, ()))
        for field, sources in _SOURCES.items()
    }
    listed = {
        field: tuple(number for number, name in enumerate(names) if name in sources)
        for field, sources in _LISTED.items()
    }
    return ranked | listed


# The items of a feed are alike: nearly all have children of the same names in the same order.
_remember_places = lru_cache(maxsize=256)(_find_places)


class ItemFields:
    """The known fields of one item; it remembers which children they were read from."""

    __slots__ = ("_people", "_places", "children", "default_format", "item", "used")

    def __init__(self, item: Node, default_format: str = HTML) -> None:
        self.item = item
        self.default_format = default_format
        self.children = item.children
        names = tuple([child.name for child in self.children])
        find = _remember_places if len(names) <= _MOST_CHILDREN else _find_places
        self._places = find(names)
        self.used: set[int] = set()
        self._people: set[int] = set()

    def is_used(self, node: Node) -> bool:
        """Return whether a field was read from this child, or from one inside it."""
        return id(node) in self.used

    def texts(self) -> ItemTexts:
        """Return title, summary and content."""
        title, summary = self.first_text("title"), self.first_text("summary")
        content = self.first_text("content")
        if summary is not None:
            return ItemTexts(title, summary, content)
        summary = self._media_description()
        return ItemTexts(title, summary, content, summary is not None)

    def first_text(self, field: str) -> MarkedText | None:
        """Return the first text that is not blank for title, summary or content."""
        for number in self._places[field]:
            node = self.children[number]
            text = read_text(node, self.default_format)
            # An empty content element may point at content elsewhere: that is kept as extra.
            if text is not None or "src" not in node.attributes:
                self.used.add(id(node))
            if text is not None:
                return text
        return None

    def published_text(self) -> str | None:
        """Return the date of publication as written."""
        return self._date_text("published")

    def updated_text(self) -> str | None:
        """Return the date of the last change as written."""
        return self._date_text("updated") or self.item.attributes.get("lastmod") or None

    def written_guid(self) -> str | None:
        """Return guid, id or rdf:about as written; an empty one is as good as none."""
        for node in self._sources("guid"):
            self.used.add(id(node))
            text = node.full_text.strip()
            if text:
                return text
        return self.item.attributes.get("rdf:about") or None

    def permalink(self) -> str | None:
        """Return the guid or id as a URL: of RSS unless it is marked to be none."""
        for node in self._sources("guid"):
            if node.attributes.get("ispermalink", "true").strip().lower() != "false":
                return node.full_text.strip() or None
        return self.item.attributes.get("rdf:about") or None

    def link(self) -> tuple[Node, str] | tuple[None, None]:
        """Return the element of the item's own URL and what it gives, unresolved."""
        alternates = filter(_is_alternate, self._sources("link"))
        links = [(node, url) for node in alternates if (url := written_url(node))]
        if links:
            chosen, url = links[0] if len(links) == 1 else _best_link(links)
            self.used.add(id(chosen))
            return chosen, url
        # CDF has no link elements; items and channels carry their URL themselves.
        url = self.item.attributes.get("href", "").strip()
        return (self.item, url) if url else (None, None)

    def author(self) -> str | None:
        """Return the authors of the first kind of element that names any, joined by commas."""
        if not self._places["author"]:
            return None
        for _, group in groupby(self._sources("author"), _NAME):
            nodes = list(group)
            names = [author for node in nodes if (author := _author_text(node))]
            if names:
                self._people.update(map(id, nodes))
                self.used |= self._people
                return ", ".join(dict.fromkeys(names))
        return None

    def source_author(self) -> str | None:
        """Return the authors of the feed that an entry was taken from."""
        for source in self._sources("source"):
            author = ItemFields(source).author()
            if author:
                return author
        return None

    def is_person(self, node: Node) -> bool:
        """Return whether the authors were read from this child, among others."""
        return id(node) in self._people

    def has_several_people(self) -> bool:
        """Return whether the authors were read from more than one child."""
        return len(self._people) > 1

    def categories(self) -> tuple[str, ...]:
        """Return the categories, each once, in document order."""
        terms: list[str] = []
        for number in self._places["categories"]:
            child = self.children[number]
            self.used.add(id(child))
            terms += _terms(child)
        return tuple(dict.fromkeys(terms)) if len(terms) > 1 else tuple(terms)

    def enclosures(self) -> list[tuple[Node, Enclosure]]:
        """Return the enclosed files as written, in document order; without a URL is none."""
        enclosures = []
        for child in self._sources("enclosures"):
            if child.name == "enclosure" or _relation(child) == "enclosure":
                self.used.add(id(child))
                enclosure = _enclosure(child)
                if enclosure is not None:
                    enclosures.append((child, enclosure))
        return enclosures

    def media_files(self) -> list[tuple[Node, Enclosure]]:
        """Return the sounds, films and pictures of Media RSS as written, in document order."""
        files = []
        for child in self._sources("media"):
            for node in child.children if child.name == "media:group" else (child,):
                file = _media_file(node) if node.name == "media:content" else None
                if file is not None:
                    files.append((node, file))
        return files

    def _sources(self, field: str) -> Iterator[Node]:
        return map(self.children.__getitem__, self._places[field])

    def _date_text(self, field: str) -> str | None:
        """Return the first date that is not blank as written. All date elements are used."""
        written = None
        for number in self._places[field]:
            node = self.children[number]
            self.used.add(id(node))
            written = written or node.text or None
        return written

    def _media_description(self) -> MarkedText | None:
        """Return what Media RSS says of the item as a whole; where it stands is used then."""
        groups = [self.item, *self._sources("media:group")]
        for node in (child for group in groups for child in group.children):
            text = (
                read_text(node, self.default_format) if node.name == "media:description" else None
            )
            if text is not None:
                self.used.add(id(node))
                return text
        return None


def written_url(link: Node) -> str:
    """Return what a link element gives, unresolved: its attribute, unless only its text is one."""
    href = _href(link)
    if href is None:
        return link.text.strip()
    text = "" if is_absolute(href.strip()) else link.text.strip()
    return text if is_absolute(text) else href.strip()


def is_category(node: Node) -> bool:
    """Return whether an element names a category."""
    return node.name in CATEGORIES


def _is_alternate(link: Node) -> bool:
    """Return whether a link element leads to the page itself."""
    return not link.attributes or _relation(link) == "alternate"


def _href(node: Node) -> str | None:
    attributes = node.attributes
    if not attributes:
        return None
    return attributes.get("href") or attributes.get("url") or attributes.get("uri") or None


def _relation(node: Node) -> str:
    if not node.attributes:
        return "alternate"
    relation = node.attributes.get("rel", "alternate").strip().lower()
    return relation.removeprefix("http://www.iana.org/assignments/relation/")


def _best_link(links: list[tuple[Node, str]]) -> tuple[Node, str]:
    """Return the link of RSS, whose text is the URL; else the first to a page, or to anything."""
    for link in links:
        if not _href(link[0]):
            return link
    for link in links:
        if link[0].attributes.get("type", "text/html").lower() in _PAGE_TYPES:
            return link
    return links[0]


def _author_text(node: Node) -> str | None:
    leaf_text = node.leaf_text
    if leaf_text is not None:
        return repair_c1(leaf_text) or None
    parts = {child.name.rpartition(":")[2].lower(): child.text for child in node.children}
    name, email = parts.get("name"), parts.get("email")
    if name and email:
        return repair_c1(f"{name} ({email})")
    # Anything but the parts of a person is markup around a name.
    text = node.text if parts.keys() & _PARTS_OF_PEOPLE else node.full_text
    return repair_c1(name or email or text) or None


def _terms(node: Node) -> list[str]:
    attributes, leaf_text = node.attributes, node.leaf_text
    text = node.text if leaf_text is None else leaf_text
    if attributes:
        text = (
            attributes.get("term") or text or attributes.get("label") or attributes.get("text", "")
        )
    terms = text.split(",") if node.name in _COMMA_SEPARATED else [text]
    found = [repair_c1(stripped) for term in terms if (stripped := strip_blanks(term))]
    if leaf_text is None:
        nested = (child for child in node.children if child.name in CATEGORIES)
        found.extend(term for child in nested for term in _terms(child))
    return found


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
