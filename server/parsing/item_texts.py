"""An item's texts: plain, escaped, inline markup or base64, each as one string with its format."""

import base64
import binascii
import re
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from server.parsing.detection import repair_c1, strip_blanks
from server.parsing.links import is_absolute, join_url
from server.parsing.xml_tree import ATOM_03, ATOM_10, SEPARATOR, Node
from shared.models import DEFAULT_FORMATS, HTML, TEXT, ExtraField
from shared.urls import scheme_of

_TYPED = frozenset({"title", "summary", "content"})
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "wbr"})
_URL_ATTRIBUTES = frozenset({"href", "src", "cite", "poster"})
# How many characters of resolved URLs one text may hold; an article has a few thousand.
MOST_ADDED = 64 * 1024
_HTML_TYPES = frozenset({"html", "xhtml", "text/html", "application/xhtml+xml"})
_TEXT_TYPES = frozenset({"text", "plain", "text/plain"})
# Elements that hold HTML wherever they stand.
_HTML_NAMES = frozenset({"content:encoded", "xhtml:body", "body", "fullitem"})
# Elements whose specification makes plain text the default, wherever they stand.
_TYPED_NAMES = frozenset({"media:title", "media:description"})
# What reads otherwise as HTML than as text: a tag, a reference, white space.
_MARKED = re.compile(r"[<&\n\r\t]|  ")


class MarkedText(NamedTuple):
    """A text as written, whether it is ``text`` or ``html``, and the element it was read from."""

    text: str
    format: str
    node: Node


class ItemTexts(NamedTuple):
    """The texts of one item as written, each from the first element that has any.

    ``is_of_media`` tells that Media RSS had to give the summary.
    """

    title: MarkedText | None
    summary: MarkedText | None
    content: MarkedText | None
    is_of_media: bool = False


def text_of(marked: MarkedText | None) -> str | None:
    """Return the text alone."""
    return None if marked is None else marked.text


def resolved_text(marked: MarkedText | None) -> str | None:
    """Return the text alone, URLs inside an ``xml:base`` of its own resolved against that.

    The base of the whole text is not looked at. What identifies an item is not resolved.
    """
    if marked is None or "xml:base=" not in marked.text or not marked.node.children:
        return text_of(marked)
    markup = _Markup(MOST_ADDED).write_inner(_holder(marked.node))
    return repair_c1(strip_blanks(markup))


def read_text(node: Node, default_format: str) -> MarkedText | None:
    """Return an element's text with its format, None when blank.

    Elements inside it are written out as markup. ``default_format`` is that of the document for
    elements that do not name one.
    """
    text, is_markup = node.leaf_text, False
    if text is None:
        is_markup = any(type(part) is Node for part in node.parts)
        text = _inner_markup(node) if is_markup else node.text
    if node.attributes and not is_markup and _is_base64(node):
        text = _decode_base64(text)
    if not text:
        return None
    return MarkedText(repair_c1(text), HTML if is_markup else _format(node, default_format), node)


def other_formats(
    texts: ItemTexts,
    default_format: str,
    author: str | None,
    categories: Iterable[str],
    extra: Collection[ExtraField],
) -> dict[str, str]:
    """Return the formats of an item's fields that are not read by default."""
    named = (("title", texts.title), ("summary", texts.summary), ("content", texts.content))
    formats = {}
    for name, text in named:
        if text is None or text.format == DEFAULT_FORMATS[name]:
            continue
        if text.format == TEXT or _MARKED.search(text.text):
            formats[name] = text.format
    if default_format == HTML:
        if author and _MARKED.search(author):
            formats["author"] = HTML
        if any(map(_MARKED.search, categories)):
            formats["categories"] = HTML
        if extra and any(_MARKED.search(entry.value) for entry in extra if entry.value):
            formats["extra"] = HTML
    return formats


def other_bases(
    texts: ItemTexts,
    link: str | None,
    find_base: Callable[[str | None, Node], str | None],
    extra: Node | None,
) -> dict[str, str]:
    """Return what URLs in summary, content and extra refer to, where that is not the link.

    ``extra`` is the element that extra fields were read from, None without any.
    """
    has_link = is_absolute(link)
    bases = {}
    for name, text in (("summary", texts.summary), ("content", texts.content)):
        holder = _holder(text.node) if text is not None else None
        if text is not None and holder is not None and (holder.base or not has_link):
            has_links = text.format == HTML and "<" in text.text
            base = find_base(link, holder) if has_links else None
            if base and base != link:
                bases[name] = base
    if extra is not None and (extra.base or not has_link):
        base = find_base(link, extra)
        if base and base != link:
            bases["extra"] = base
    return bases


def _format(node: Node, default: str) -> str:
    # Most elements are in no namespace, and none of the typed ones is.
    if node.name in _HTML_NAMES or (default == HTML and SEPARATOR not in node.tag):
        return HTML
    is_typed = node.name in _TYPED_NAMES or node.namespace in (ATOM_10, ATOM_03)
    if default == HTML and not is_typed:
        return HTML
    kind = node.attributes.get("type", "").strip().lower()
    if kind == "xhtml":
        # Without an element in it, what looks like a tag was escaped and is text.
        return TEXT
    return HTML if kind in _HTML_TYPES else TEXT


def is_ordinary_type(kind: str) -> bool:
    """Return whether a type of a text tells no more than whether it is text or HTML."""
    return kind in _HTML_TYPES or kind in _TEXT_TYPES


def inner_markup(node: Node) -> str:
    """Return what is inside an element, its elements written out as markup."""
    return repair_c1(_inner_markup(node))


def _inner_markup(node: Node) -> str:
    if not node.children:
        return escape(node.text)
    return strip_blanks(_Markup().write_inner(_holder(node)))


def _holder(node: Node) -> Node:
    """Return what holds an element's content: Atom wraps XHTML in one div that is no part of it."""
    children = node.children
    is_wrapped = len(children) == 1 and _local(children[0]) == "div" and not node.text
    return children[0] if is_wrapped else node


class _Markup:
    """Writes elements out as markup.

    URLs inside an element with ``xml:base`` are resolved against it, as long as there is ``room``
    for the characters that this adds: many short URLs and a long base would swell without end.
    """

    def __init__(self, room: int = 0) -> None:
        self._room = room

    def write_inner(self, node: Node, base: str = "") -> str:
        """Return what is inside an element; ``base`` is what elements around it give."""
        return "".join(
            [
                self._write(part, base) if isinstance(part, Node) else escape(part)
                for part in node.parts
            ]
        )

    def _write(self, node: Node, base: str) -> str:
        name, written = _local(node), node.attributes
        if self._room > 0 and written:
            base = join_url(base, written.get("xml:base", ""))
            written = {key: self._resolve(key, value, base) for key, value in written.items()}
        attributes = "".join([f" {key}={quoteattr(value)}" for key, value in written.items()])
        if not node.parts and name in _VOID:
            return f"<{name}{attributes} />"
        return f"<{name}{attributes}>{self.write_inner(node, base)}</{name}>"

    def _resolve(self, name: str, value: str, base: str) -> str:
        if not base or name not in _URL_ATTRIBUTES or scheme_of(value) is not None:
            return value
        url = join_url(base, value.strip())
        self._room -= len(url)
        return url if self._room > 0 else value


def _local(node: Node) -> str:
    return node.name.rpartition(":")[2]


def _is_base64(node: Node) -> bool:
    if node.attributes.get("mode") == "base64":
        return True
    kind = node.attributes.get("type", "").lower()
    # Only Atom's rule: a media type that is neither text nor XML is encoded.
    is_media_type = "/" in kind and node.name in _TYPED
    return is_media_type and not kind.startswith("text/") and not kind.endswith(("/xml", "+xml"))


def _decode_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=False).decode("utf-8")
    except (binascii.Error, ValueError):
        return text
