"""The text that an element carries: plain, escaped, inline markup or base64, as one string."""

import base64
import binascii
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from server.parsing.decoding import mend_c1
from server.parsing.names import ATOM_03, ATOM_10, SEPARATOR
from server.parsing.tree import Node
from shared.models import HTML, TEXT

_TYPED = frozenset({"title", "summary", "content"})
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "wbr"})
_HTML_TYPES = frozenset({"html", "xhtml", "text/html", "application/xhtml+xml"})
_TEXT_TYPES = frozenset({"text", "plain", "text/plain"})
# Elements that hold HTML wherever they stand.
_HTML_NAMES = frozenset({"content:encoded", "xhtml:body", "body", "fullitem"})
# Elements whose specification makes plain text the default, wherever they stand.
_TYPED_NAMES = frozenset({"media:title", "media:description"})


class MarkedText(NamedTuple):
    """A text as written, whether it is ``text`` or ``html``, and the element it was read from."""

    text: str
    format: str
    node: Node


def read_text(node: Node, default_format: str) -> MarkedText | None:
    """Return an element's text with its format, None when blank.

    Elements inside it are written out as markup. ``default_format`` is that of the document for
    elements that do not say what they hold.
    """
    parts = node.parts
    if not parts:
        return None
    if (len(parts) > 1 or type(parts[0]) is Node) and any(type(part) is Node for part in parts):
        text, is_markup = _inner_markup(node), True
    else:
        text, is_markup = node.text, False
        if node.attributes and _is_base64(node):
            text = _decode_base64(text)
    if not text:
        return None
    return MarkedText(mend_c1(text), HTML if is_markup else _format(node, default_format), node)


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
    """Tell whether a type of a text says no more than whether it is text or HTML."""
    return kind in _HTML_TYPES or kind in _TEXT_TYPES


def inner_markup(node: Node) -> str:
    """Return what is inside an element, its elements written out as markup."""
    return mend_c1(_inner_markup(node))


def _inner_markup(node: Node) -> str:
    children = node.children
    if not children:
        return escape(node.text)
    wrapper = children[0]
    # Atom wraps XHTML in one div that is no part of the content.
    if len(children) == 1 and not node.text and _local(wrapper) == "div":
        return _parts_as_markup(wrapper).strip()
    return _parts_as_markup(node).strip()


def _parts_as_markup(node: Node) -> str:
    return "".join(
        [_as_markup(part) if isinstance(part, Node) else escape(part) for part in node.parts]
    )


def _as_markup(node: Node) -> str:
    name = _local(node)
    attributes = "".join([f" {key}={quoteattr(value)}" for key, value in node.attributes.items()])
    if not node.parts and name in _VOID:
        return f"<{name}{attributes} />"
    return f"<{name}{attributes}>{_parts_as_markup(node)}</{name}>"


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
