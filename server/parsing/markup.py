"""The text that an element carries: plain, escaped, inline markup or base64, as one string."""

import base64
import binascii
from xml.sax.saxutils import escape, quoteattr

from server.parsing.decoding import mend_c1
from server.parsing.tree import Node

_TYPED = frozenset({"title", "summary", "content"})
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "wbr"})


def text_of(node: Node) -> str | None:
    """Return an element's text, None when blank; elements inside it are written out as markup."""
    if any(type(part) is Node for part in node.parts):
        text = _inner_markup(node)
    else:
        text = node.text
        if _is_base64(node):
            text = _decode_base64(text)
    return mend_c1(text) or None


def _inner_markup(node: Node) -> str:
    children = node.children
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
