"""The dates of an XML document and its language, for the dates that need the others."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from server.parsing.date_reader import DateReader
from server.parsing.item_fields import PUBLISHED, UPDATED
from server.parsing.tree import Document, Node

_DATES = frozenset({*PUBLISHED, *UPDATED})


def document_dates(document: Document, now: datetime) -> DateReader:
    """Return a reader for the dates of one document, which it reads together."""
    return DateReader(
        now, written=lambda: _written(document.items), language=_language(document.root)
    )


def _written(items: Iterable[Node]) -> Iterator[str]:
    for item in items:
        for child in item.children:
            if child.name in _DATES and child.text:
                yield child.text


def _language(root: Node | None) -> str | None:
    if root is None:
        return None
    frame = next((node for node in root.children if node.name == "channel"), root)
    texts = {node.name: node.text for node in frame.children}
    told = texts.get("language") or texts.get("dc:language")
    return told or frame.attributes.get("xml:lang") or root.attributes.get("xml:lang")
