"""feedparser, asked for what our own readers cannot make out: a damaged item, or a whole document.

It gets a bounded piece of markup as bytes and no address, neither sanitises nor resolves, and what
it raises costs the piece alone. It is imported when it is first needed.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server.parsing.xml_source import VOID_NAMES, repair_document
from server.parsing.xml_tree import MAX_DEPTH, Node, canonical_name
from shared.errors import ItemError

READER = "feedparser"
MAX_PIECE = 128 * 1024
MAX_DOCUMENT = 1024 * 1024
# What feedparser may be asked in one document: so many pieces, and characters in all.
MAX_PIECES = 100
MAX_CHARACTERS = 2 * 1024 * 1024

_TAG = re.compile(r"<(/?)([A-Za-z_][\w.:-]*)[^<>]*?(/?)>")
_BASE = re.compile(r"\sxml:base\s*=\s*(?:\"[^\"]*\"|'[^']*')")
# Numbers of no character, and names that look like them, end its reading with any of these.
_RAISES = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
_DATES = (("pubdate", "published"), ("updated", "updated"))
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(slots=True)
class Allowance:
    """What feedparser may still be asked for one document."""

    pieces: int = MAX_PIECES
    characters: int = MAX_CHARACTERS

    def take(self, source: str, longest: int) -> None:
        """Allow one more piece.

        Raises:
            ItemError: ``unreadable``, when it is too long or nested too deep, or one too many.
        """
        if len(source) > longest:
            raise ItemError("unreadable", f"it is longer than {longest} characters")
        if _depth(source) > MAX_DEPTH:
            raise ItemError("unreadable", f"its elements are nested deeper than {MAX_DEPTH}")
        self.pieces -= 1
        self.characters -= len(source)
        if self.pieces < 0 or self.characters < 0:
            raise ItemError("unreadable", "too many items of the document are damaged")


def read_item(source: str, sound: Node, *, is_atom: bool, allowance: Allowance) -> Node:
    """Return one damaged item. ``source`` is it in its frame, ``sound`` what ours read of it.

    What ours read stays; feedparser adds the fields that are missing.

    Raises:
        ItemError: ``unreadable``, when feedparser cannot read it, or must not be asked.
    """
    allowance.take(source, MAX_PIECE)
    entries = _parse(repair_document(source)).get("entries") or []
    if not entries:
        raise ItemError("unreadable", "feedparser finds no item in it")
    known = {child.name for child in sound.children}
    for element in _elements(entries[0], is_atom=is_atom, base=sound.base):
        if element.name not in known:
            sound.parts.append(element)
    return sound


def _decoded(value: str) -> str:
    """Return an identity as written: of ill-formed XML feedparser leaves ampersands escaped."""
    return value.replace("&amp;", "&")


def read_all(text: str, allowance: Allowance) -> tuple[Node, list[Node]] | None:
    """Return the frame and the items that feedparser finds in a document, None without any."""
    try:
        allowance.take(text, MAX_DOCUMENT)
        result = _parse(repair_document(text))
        if not result.get("entries"):
            # What is repaired for our reader may be no help to this one.
            result = _parse(text)
    except ItemError:
        return None
    entries = result.get("entries") or []
    if not entries:
        return None
    is_atom = str(result.get("version") or "").startswith("atom")
    root = _element("feed" if is_atom else "rss", "")
    frame = _element("channel", "")
    frame.parts = list(_elements(result.get("feed") or {}, is_atom=is_atom, base=None))
    root.parts = list(frame.parts) if is_atom else [frame]
    items = []
    for entry in entries:
        item = _element("entry" if is_atom else "item", "")
        item.parts = list(_elements(entry, is_atom=is_atom, base=None))
        items.append(item)
    return root, items


def _parse(source: str) -> Mapping[str, Any]:
    import feedparser

    body = _BASE.sub("", source).encode("utf-8", "ignore")
    headers = {"content-type": "application/xml; charset=utf-8"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: Mapping[str, Any] = feedparser.parse(
                io.BytesIO(body),
                response_headers=headers,
                sanitize_html=False,
                resolve_relative_uris=False,
            )
    except _RAISES as exc:
        raise ItemError("unreadable", f"feedparser cannot read it either: {exc}") from exc
    return result


def _elements(entry: Mapping[str, Any], *, is_atom: bool, base: str | None) -> Iterator[Node]:
    """Yield what feedparser read as the elements of an item, or of a feed."""
    for name, key in (("id" if is_atom else "guid", "id"), ("link", "link"), *_DATES):
        # Not get(): that of feedparser makes one date stand for another.
        value = entry[key] if key in entry.keys() else None  # noqa: SIM118
        # It makes a link of a guid; ours does that itself, by its own rule.
        is_made_up = key == "link" and "id" in entry.keys() and entry["id"] == value  # noqa: SIM118
        if isinstance(value, str) and value.strip() and not is_made_up:
            yield _element(name, _decoded(value), base=base)
    yield from _texts(entry, is_atom=is_atom, base=base)
    for author in _names(entry, "authors", "name") or _names(entry, "author_detail", "name"):
        yield _element("dc:creator", author)
    for term in _names(entry, "tags", "term"):
        yield _element("category", term)
    for file in _parts(entry, "enclosures"):
        attributes = {key: str(file[name]) for key, name in _FILE_KEYS if file.get(name)}
        if "url" in attributes:
            yield _element("enclosure", "", attributes, base)


_FILE_KEYS = (("url", "href"), ("type", "type"), ("length", "length"))


def _texts(entry: Mapping[str, Any], *, is_atom: bool, base: str | None) -> Iterator[Node]:
    details = [("title", entry.get("title_detail"))]
    details.append(("summary" if is_atom else "description", entry.get("summary_detail")))
    for name, detail in details:
        if isinstance(detail, Mapping) and detail.get("value"):
            is_html = not is_atom or detail.get("type") in _HTML_TYPES
            kind = {"type": "html" if is_html else "text"}
            yield _element(name, str(detail["value"]), kind if is_atom else {}, base)
    for content in _parts(entry, "content")[:1]:
        yield _element("content:encoded", str(content.get("value") or ""), {}, base)


def _names(entry: Mapping[str, Any], key: str, part: str) -> list[str]:
    return [str(value[part]) for value in _parts(entry, key) if value.get(part)]


def _parts(entry: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = entry.get(key)
    values = value if isinstance(value, list) else [value]
    return [part for part in values if isinstance(part, Mapping)]


def _element(
    name: str, text: str, attributes: dict[str, str] | None = None, base: str | None = None
) -> Node:
    node = Node(name, canonical_name(name), base, attributes or {}, attributes or {})
    node.parts = [text] if text else []
    return node


def _depth(source: str) -> int:
    deepest = depth = 0
    for tag in _TAG.finditer(source):
        if tag[1]:
            depth -= 1
        elif not tag[3] and tag[2].lower() not in VOID_NAMES:
            depth += 1
            deepest = max(deepest, depth)
    return deepest
