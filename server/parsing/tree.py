"""Read XML once, into small trees: the feed's frame, and one tree for each item.

Expat does the reading. Nothing is fetched, no entity but XML's own five is known, and nesting is
limited while reading, so that a hostile document costs no more than its length.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from server.parsing.limits import check_items, check_parts
from server.parsing.links import join_url
from server.parsing.names import attribute_name, canonical_name, namespace_of
from shared.errors import ParseError

MAX_DEPTH = 150
_ITEM_NAMES: Final = frozenset({"item", "entry"})
_NO_ATTRIBUTES: Final[dict[str, str]] = {}


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
    """

    root: Node | None = None
    items: list[Node] = field(default_factory=list)
    damage: str | None = None
    cut_item: Node | None = None
    is_complete: bool = False


def read_document(source: bytes) -> Document:
    """Read UTF-8 bytes. Never fails for damage: that is noted, and what came before it is kept.

    Raises:
        ParseError: ``refused``, when elements are nested deeper than ``MAX_DEPTH``; ``limits``.
    """
    builder = _Builder()
    parser = expat.ParserCreate("utf-8", " ")
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
    return builder.document


def _refuse_doctype(*_: object) -> None:
    # Those before the root were taken out; one that is left is hidden or misplaced.
    raise ParseError("refused", "a document type declaration inside the document")


class _Builder:
    """Expat's callbacks. Items are taken out of the frame's tree when they end."""

    def __init__(self) -> None:
        self.document = Document()
        self._open: list[Node] = []
        self._item: Node | None = None
        self._parts = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._parts += 1 + len(attributes)
        check_parts(self._parts)
        open_nodes = self._open
        parent = open_nodes[-1] if open_nodes else None
        base = parent.base if parent is not None else None
        written = attributes
        if attributes:
            attributes = {attribute_name(name): value for name, value in attributes.items()}
            base = _deeper_base(base, attributes)
        node = Node(tag, attributes or _NO_ATTRIBUTES, base, written or _NO_ATTRIBUTES)
        if parent is None:
            self.document.root = node
        elif self._item is None and node.name in _ITEM_NAMES:
            self._item = node
        elif self._item is not None or len(open_nodes) < 4:
            parent.parts.append(node)
        if len(open_nodes) >= MAX_DEPTH:
            raise ParseError("refused", f"elements are nested deeper than {MAX_DEPTH}")
        open_nodes.append(node)

    def end(self, _tag: str) -> None:
        node = self._open.pop()
        if node is self._item:
            self.document.items.append(node)
            check_items(len(self.document.items))
            self._item = None
        elif not self._open:
            self.document.is_complete = True

    def text(self, text: str) -> None:
        self._open[-1].parts.append(text)

    def note_damage(self, error: expat.ExpatError) -> None:
        self.document.damage = f"{expat.ErrorString(error.code)} in line {error.lineno}"
        if self._item is not None:
            unclosed = set(map(id, self._open))
            self._item.parts = [part for part in self._item.parts if id(part) not in unclosed]
            self.document.cut_item = self._item


def _deeper_base(base: str | None, attributes: dict[str, str]) -> str | None:
    own = attributes.get("xml:base")
    if not own:
        return base
    return join_url(base, own)
