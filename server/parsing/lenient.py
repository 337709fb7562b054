"""Read a damaged document item by item, so that a fault costs one item.

Each item is read on its own inside the start tags of its feed: strictly, then repaired where that
can mean one thing only, at last by feedparser. The first two give the ids and hashes of the sound
document.
"""

from dataclasses import dataclass, field
from typing import Literal

from server.parsing.lenient_feedparser import Allowance, read_item
from server.parsing.lenient_identity import find_identity
from server.parsing.lenient_repair import Repaired, Steps, repair_children
from server.parsing.lenient_split import Fragment, Split, split_document
from server.parsing.parsed import check_parts
from server.parsing.xml_source import START_TAG, repair_document, write_start_tag
from server.parsing.xml_tree import Document, Node, read_document
from shared.errors import ItemError

# How far items of damaged documents are read: FEED_SALVAGE
Lenience = Literal["feedparser", "strict", "off"]

MAX_WARNINGS = 20
_IDENTITIES = frozenset({"guid", "id", "link"})


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why an item cannot be read, and its own text without regard to blanks."""

    reason: str
    text: str


@dataclass(slots=True)
class Reading:
    """A damaged document as far as it could be read.

    ``items`` stand in document order; ``lenient`` holds the ids of those nodes that feedparser had
    to read, ``unreadable`` what is known of those that nothing could. ``cut_item`` is the one in
    which the document ends. ``is_whole`` is True when the publisher's own correction would give
    the same items.
    """

    root: Node | None
    items: list[Node] = field(default_factory=list)
    lenient: set[int] = field(default_factory=set)
    unreadable: dict[int, Unreadable] = field(default_factory=dict)
    cut_item: Node | None = None
    warnings: list[str] = field(default_factory=list)
    is_whole: bool = True


def read_damaged(text: str, lenience: Lenience) -> Reading | None:
    """Return what can be read of a damaged document; None where its root is not a feed's.

    With ``strict`` only the undamaged items are read.

    Raises:
        ParseError: ``refused`` or ``limits``, as of a sound document.
    """
    split = split_document(text)
    if split is None:
        return None
    reader = _ItemReader(lenience)
    reading = Reading(reader.read_frame(split), is_whole=split.is_ended)
    for fragment in split.fragments:
        reader.read(fragment, reading)
    if len(reading.warnings) > MAX_WARNINGS:
        more = len(reading.warnings) - MAX_WARNINGS
        reading.warnings[MAX_WARNINGS:] = [f"{more} more items are damaged"]
    if not split.is_ended:
        reading.warnings.append("the document breaks off: its end is missing")
    reading.warnings = [f"damaged: {warning}" for warning in reading.warnings]
    return reading


class _ItemReader:
    """Reads the items of one document, which share its limits."""

    def __init__(self, lenience: Lenience) -> None:
        self._lenience = lenience
        self._steps = Steps()
        self._allowance = Allowance()
        self._parts = 0

    def read_frame(self, split: Split) -> Node | None:
        """Return the root element with what stands around the items, as far as it is sound."""
        if not split.frame:
            return self._read_root(split.fragments)
        root = self._read_root_of(split.frame + split.rest)
        if root is None:
            root = self._read_root_of(split.frame + self._repaired_rest(split) + split.frame_end)
        return root or self._read_root_of(split.frame + split.frame_end)

    def _read_root_of(self, source: str) -> Node | None:
        document = self._read_source(source)
        return document.root if document.is_complete else None

    def _repaired_rest(self, split: Split) -> str:
        try:
            return repair_children(split.rest, self._steps).source
        except ItemError:
            return ""

    def _read_root(self, fragments: tuple[Fragment, ...]) -> Node | None:
        """Return the made-up frame of a document that is one item."""
        tag = START_TAG.match(fragments[0].text) if fragments else None
        if tag is None:
            return None
        return self._read_source(f"{write_start_tag(tag)}</{tag['name']}>").root

    def read(self, fragment: Fragment, reading: Reading) -> None:
        """Read one item into ``reading``."""
        source = self._source(fragment, fragment.text + (fragment.end_tag or ""))
        strict = self._read_source(source)
        is_closed = fragment.end_tag is None
        if (node := _only_item(strict)) is not None and is_closed:
            reading.items.append(node)
            return
        if fragment.is_cut:
            self._read_cut(fragment, reading)
            return
        fault, line = strict.fault, fragment.line + max(strict.fault_line - 1, 0)
        if self._lenience == "strict":
            self._reject(reading, fragment, strict, line)
        elif node is not None:
            reading.items.append(node)
            reading.warnings.append(f"line {line}: </{_name(fragment)}> is missing")
        else:
            self._read_damaged(fragment, reading, f"{fault} in line {line}")

    def _read_damaged(self, fragment: Fragment, reading: Reading, fault: str) -> None:
        node: Node | None = None
        try:
            repaired, first_line = self._repair(fragment)
        except ItemError as exc:
            fault = f"{fault}: {exc}"
        else:
            if repaired.first_fault is not None:
                what, position = repaired.first_fault
                fault = f"{what} in line {first_line + fragment.text.count(chr(10), 0, position)}"
            node = _only_item(self._read_source(self._source(fragment, repaired.source)))
            if node is not None and not repaired.unclear:
                reading.items.append(node)
                reading.warnings.append(f"{fault}: the item was repaired")
                return
        try:
            node = self._ask_feedparser(fragment, node)
        except ItemError as exc:
            self._give_up(reading, fragment, node, f"damaged, {fault}: {exc}")
            return
        reading.items.append(node)
        reading.lenient.add(id(node))
        reading.is_whole = False
        reading.warnings.append(f"{fault}: the item was read by feedparser")

    def _repair(self, fragment: Fragment) -> tuple[Repaired, int]:
        """Return the item repaired, as source with its own tags, and the line of its content."""
        tag = START_TAG.match(fragment.text)
        start = tag.end() if tag is not None else fragment.text.find(">") + 1
        last = fragment.text.rfind("</") if fragment.end_tag is None else len(fragment.text)
        repaired = repair_children(fragment.text[start : max(last, start)], self._steps)
        opening = write_start_tag(tag) if tag is not None else f"<{_name(fragment)}>"
        repaired.pieces = [opening, *repaired.pieces, f"</{_name(fragment)}>"]
        return repaired, fragment.line + fragment.text.count("\n", 0, start)

    def _ask_feedparser(self, fragment: Fragment, sound: Node | None) -> Node:
        if sound is None:
            empty = self._source(fragment, f"<{_name(fragment)}></{_name(fragment)}>")
            sound = _only_item(self._read_source(empty))
        if sound is None:
            raise ItemError("unreadable", "the frame around it cannot be read")
        source = self._source(fragment, fragment.text + (fragment.end_tag or ""))
        is_atom = _name(fragment).lower().endswith("entry")
        return read_item(source, sound, is_atom=is_atom, allowance=self._allowance)

    def _read_cut(self, fragment: Fragment, reading: Reading) -> None:
        """Note the item in which the document ends; it is read only where nothing else was.

        Of its elements only those count whose end was seen, so that half an identity is none.
        """
        reading.is_whole = False
        cut = self._read_source(fragment.frame + fragment.text).cut_item
        reading.cut_item = cut
        reading.warnings.append(f"line {fragment.line}: the document breaks off inside an item")
        if reading.items or self._lenience != "feedparser" or cut is None:
            return
        if not any(child.name in _IDENTITIES and child.text for child in cut.children):
            return
        seen = fragment.text[: fragment.text.rfind(">") + 1]
        source = self._source(fragment, seen + (fragment.end_tag or ""))
        try:
            node = read_item(source, cut, is_atom=cut.name == "entry", allowance=self._allowance)
        except ItemError:
            return
        reading.cut_item = None
        reading.items.append(node)
        reading.lenient.add(id(node))
        reading.warnings[-1] += ", its only one: it was read by feedparser"

    def _reject(self, reading: Reading, fragment: Fragment, strict: Document, line: int) -> None:
        fault = strict.fault or "its end tag is missing"
        node = strict.cut_item or _only_item(strict)
        self._add_unreadable(
            reading, fragment, node, f"the item is damaged: {fault} in line {line}"
        )
        reading.warnings.append(f"line {line}: an item is damaged: {fault}")

    def _give_up(
        self, reading: Reading, fragment: Fragment, node: Node | None, reason: str
    ) -> None:
        self._add_unreadable(reading, fragment, node, reason)
        reading.warnings.append(f"line {fragment.line}: an item cannot be read: {reason}")

    def _add_unreadable(
        self, reading: Reading, fragment: Fragment, node: Node | None, reason: str
    ) -> None:
        """Note an item that cannot be read, with what identifies it beside what was read of it."""
        node = node or Node("item", "item")
        source = self._source(fragment, find_identity(fragment.text))
        identity = _only_item(self._read_source(source))
        if identity is not None:
            known = {child.name for child in node.children}
            node.parts += [child for child in identity.children if child.name not in known]
            node.attributes = node.attributes or identity.attributes
        reading.items.append(node)
        reading.unreadable[id(node)] = Unreadable(reason, " ".join(fragment.text.split()))
        reading.is_whole = False

    def _source(self, fragment: Fragment, item: str) -> str:
        return fragment.frame + item + fragment.frame_end

    def _read_source(self, source: str) -> Document:
        """Read one piece as a document of its own, its references repaired if need be."""
        document = self._read_strictly(source)
        if document.is_complete or document.is_too_deep:
            return document
        repaired = repair_document(source)
        return document if repaired == source else self._read_strictly(repaired)

    def _read_strictly(self, source: str) -> Document:
        document = read_document(source.encode("utf-8", "ignore"))
        if document.is_complete:
            self._parts += document.parts
            check_parts(self._parts)
        return document


def _only_item(document: Document) -> Node | None:
    if not document.is_complete or document.damage is not None or len(document.items) != 1:
        return None
    return document.items[0]


def _name(fragment: Fragment) -> str:
    tag = START_TAG.match(fragment.text)
    return tag["name"] if tag is not None else fragment.text[1:].split(maxsplit=1)[0].rstrip("/>")
