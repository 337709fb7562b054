"""What an item carries beyond the known fields: every element, repeated ones kept, in order."""

from collections.abc import Iterator

from server.parsing.decoding import mend_c1
from server.parsing.item_fields import written_address
from server.parsing.tree import Node
from shared.models import ExtraField

# Counters that change while the item does not. In the hash they would make every poll an update.
VOLATILE = frozenset(
    {
        "slash:comments", "slash:hit_parade", "thr:total", "media:community",
        "media:statistics", "media:starrating",
    }
)  # fmt: skip
_HIDDEN_ATTRIBUTES = frozenset({"xml:base", "xml:lang", "xml:space"})


def read_extra(nodes: list[Node]) -> tuple[ExtraField, ...]:
    """Return the elements as fields in document order.

    An element gives its text under its name (``job_listing:company``), an attribute under
    ``name@attribute``, a child under ``parent/child``; Atom links are named by relation
    (``link:via``). Blank ones are left out.
    """
    return tuple(field for node in nodes for field in _fields(node, ""))


def _fields(node: Node, path: str) -> Iterator[ExtraField]:
    if node.name.lower() in VOLATILE:
        return
    if node.name == "link" and written_address(node):
        yield ExtraField(f"{path}{_link_name(node)}", mend_c1(written_address(node)))
        return
    name = path + node.name
    text = mend_c1(node.text)
    if text:
        yield ExtraField(name, text)
    for attribute, value in node.attributes.items():
        if value.strip() and attribute not in _HIDDEN_ATTRIBUTES:
            yield ExtraField(f"{name}@{attribute}", mend_c1(value.strip()))
    for child in node.children:
        yield from _fields(child, f"{name}/")


def _link_name(node: Node) -> str:
    relation = node.attributes.get("rel", "").strip()
    return f"link:{relation}" if relation else "link"
