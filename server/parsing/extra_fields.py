"""What an item carries beyond the known fields: every element, repeated ones kept, in order."""

from collections.abc import Iterator, Mapping

from server.parsing.decoding import mend_c1
from server.parsing.item_fields import ItemFields, is_category, read_length, written_address
from server.parsing.markup import inner_markup, is_ordinary_type
from server.parsing.names import written_attribute_name
from server.parsing.tree import Node
from shared.models import ExtraField

_HIDDEN_ATTRIBUTES = frozenset({"xml:base", "xml:lang", "xml:space"})
# Attributes that became part of a known field, by the kind of element.
_READ_OF_LINKS = frozenset({"href", "url", "uri", "rel", "rdf:about"})
_READ_OF_FILES = _READ_OF_LINKS | {"type", "length"}
_READ_OF_CATEGORIES = frozenset({"term", "text"})
_READ_OF_TEXTS = frozenset({"mode", "ispermalink"})
# One for all: most elements have none.
_NO_ATTRIBUTES: Mapping[str, str] = {}
_PAGE_TYPES = frozenset({"text/html", "html", "xhtml", "application/xhtml+xml"})
_READ_OF_PEOPLE = frozenset({"name", "email"})


def read_extra(fields: ItemFields) -> tuple[ExtraField, ...]:
    """Return what no known field holds, an entry an element, in document order.

    An element gives its text and its attributes under its name (``job_listing:company``), a child
    under ``parent/child``. An element that says nothing is left out. One that a known field was
    read from stands here as well when it says more than that field can hold: a link's title, a
    category's scheme, an author's address.
    """
    entries: list[ExtraField] = []
    used = fields.used
    for node in fields.children:
        is_used = id(node) in used
        parts = node.parts
        if node.attributes or len(parts) > 1 or (parts and type(parts[0]) is Node):
            entries.extend(_left_over(node, fields) if is_used else _entries(node, "", fields))
        elif not is_used and parts and (value := mend_c1(node.text)):
            entries.append(ExtraField(node.name, value, _NO_ATTRIBUTES))
    return tuple(entries)


def _entries(node: Node, path: str, fields: ItemFields) -> Iterator[ExtraField]:
    name = path + node.name
    attributes = _attributes(node)
    if node.attributes.get("type", "").strip().lower() == "xhtml":
        value, children = inner_markup(node), []
    else:
        value, children = mend_c1(node.text), node.children
    if value or attributes:
        yield ExtraField(name, value or None, attributes)
    for child in children:
        if not fields.is_used(child):
            yield from _entries(child, f"{name}/", fields)


def _attributes(node: Node) -> Mapping[str, str]:
    if not node.attributes:
        return _NO_ATTRIBUTES
    return {
        written_attribute_name(name): mend_c1(value.strip())
        for name, value in node.written.items()
        if value.strip() and written_attribute_name(name) not in _HIDDEN_ATTRIBUTES
    }


def _left_over(node: Node, fields: ItemFields) -> Iterator[ExtraField]:
    """Return what an element says beyond the known field that was read from it."""
    if fields.is_person(node):
        yield from _left_of_person(node, fields)
    elif _says_more(node):
        # A text as long as an article is not kept twice.
        is_short = is_category(node) or node.name == "link"
        yield ExtraField(node.name, (is_short and mend_c1(node.text)) or None, _attributes(node))


def _left_of_person(node: Node, fields: ItemFields) -> Iterator[ExtraField]:
    parts = [child for child in node.children if _local(child) not in _READ_OF_PEOPLE]
    entries = [entry for part in parts for entry in _entries(part, f"{node.name}/", fields)]
    if entries and fields.has_several_people():
        # Whose they are can be seen only from the name beside them.
        for child in node.children:
            yield from _entries(child, f"{node.name}/", fields)
    else:
        yield from entries


def _says_more(node: Node) -> bool:
    attributes = node.attributes
    if not attributes:
        return False
    if is_category(node):
        return _category_says_more(node)
    if node.name == "enclosure" or node.attributes.get("rel", "").lower() == "enclosure":
        length = attributes.get("length", "").strip()
        return _has_other(attributes, _READ_OF_FILES) or (
            bool(length) and read_length(length) is None
        )
    if node.name == "link":
        kind = attributes.get("type", "").strip().lower()
        known = _READ_OF_LINKS | {"type"} if kind in _PAGE_TYPES else _READ_OF_LINKS
        return _has_other(attributes, known)
    kind = attributes.get("type", "").strip().lower()
    known = _READ_OF_TEXTS | {"type"} if is_ordinary_type(kind) else _READ_OF_TEXTS
    return _has_other(attributes, known)


def _category_says_more(node: Node) -> bool:
    attributes = node.attributes
    term = attributes.get("term") or node.text
    label = attributes.get("label")
    known = _READ_OF_CATEGORIES | {"label"} if label in (None, term) else _READ_OF_CATEGORIES
    if not term:
        known |= {"label"}
    return _has_other(attributes, known)


def _has_other(attributes: Mapping[str, str], known: frozenset[str]) -> bool:
    return any(
        value.strip() and name not in known and name not in _HIDDEN_ATTRIBUTES
        for name, value in attributes.items()
    )


def _local(node: Node) -> str:
    return node.name.rpartition(":")[2].lower()


def identifying_extra(nodes: list[Node]) -> tuple[str, ...]:
    """Return what identifies an item that has neither guid, link, file nor title. Frozen."""
    return tuple(text for node in nodes for text in _identifying(node, ""))


def _identifying(node: Node, path: str) -> Iterator[str]:
    if node.name.lower() in _NEVER_IDENTIFYING:
        return
    if node.name == "link" and written_address(node):
        relation = node.attributes.get("rel", "").strip()
        name = f"link:{relation}" if relation else "link"
        yield f"{path}{name}={mend_c1(written_address(node))}"
        return
    name = path + node.name
    text = mend_c1(node.text)
    if text:
        yield f"{name}={text}"
    for attribute, value in node.attributes.items():
        if value.strip() and attribute not in _HIDDEN_ATTRIBUTES:
            yield f"{name}@{attribute}={mend_c1(value.strip())}"
    for child in node.children:
        yield from _identifying(child, f"{name}/")


_NEVER_IDENTIFYING = frozenset(
    {
        "slash:comments", "slash:hit_parade", "thr:total", "media:community",
        "media:statistics", "media:starrating",
    }
)  # fmt: skip
