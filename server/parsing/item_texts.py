"""An item's title, summary and content, with what is known of their formats and bases."""

import re
from collections.abc import Callable, Iterable

from server.parsing.item_fields import ItemFields
from server.parsing.links import is_absolute
from server.parsing.markup import MarkedText
from server.parsing.tree import Node
from shared.models import DEFAULT_FORMATS, HTML, TEXT, ExtraField

TITLES = ("title", "dc:title", "media:title")
SUMMARIES = ("description", "summary", "abstract", "dc:description", "itunes:summary")
CONTENTS = ("content:encoded", "content", "fullitem", "xhtml:body", "body")

# What reads otherwise as HTML than as text: a tag, a reference, white space.
_MARKED = re.compile(r"[<&\n\r\t]|  ")


class ItemTexts:
    """The texts of one item as written, each from the first element that has any."""

    def __init__(self, fields: ItemFields) -> None:
        self._texts = {
            "title": fields.first_text(TITLES),
            "summary": fields.first_text(SUMMARIES),
            "content": fields.first_text(CONTENTS),
        }
        self._fields = fields
        self._media_description: MarkedText | None = None
        if self._texts["summary"] is None:
            self._media_description = fields.media_description()
            self._texts["summary"] = self._media_description

    @property
    def title(self) -> str | None:
        return self._text("title")

    @property
    def summary(self) -> str | None:
        return self._text("summary")

    @property
    def content(self) -> str | None:
        return self._text("content")

    @property
    def own_summary(self) -> str | None:
        """The summary, unless Media RSS had to give it."""
        return None if self._media_description is not None else self.summary

    def unread(self) -> list[Node]:
        """Return the children that no field was read from, but for that of Media RSS."""
        used = self._media_description.node if self._media_description is not None else None
        return [
            node for node in self._fields.children if node is used or not self._fields.is_used(node)
        ]

    def formats(
        self, author: str | None, categories: Iterable[str], extra: Iterable[ExtraField]
    ) -> dict[str, str]:
        """Return the formats of the item's fields that are not read by default."""
        formats: dict[str, str] = {}
        for name, text in self._texts.items():
            if text is None or text.format == DEFAULT_FORMATS[name]:
                continue
            if text.format == TEXT or _MARKED.search(text.text):
                formats[name] = text.format
        if self._fields.default_format == HTML:
            if author and _MARKED.search(author):
                formats["author"] = HTML
            if any(map(_MARKED.search, categories)):
                formats["categories"] = HTML
            if any(entry.value and _MARKED.search(entry.value) for entry in extra):
                formats["extra"] = HTML
        return formats

    def bases(
        self, link: str | None, find_base: Callable[[str | None, Node], str | None], *, extra: bool
    ) -> dict[str, str]:
        """Return what addresses in summary, content and extra refer to, where not to the link."""
        has_link = is_absolute(link)
        if has_link and not self._fields.has_base:
            return {}
        nodes = {
            name: text.node
            for name, text in self._texts.items()
            if name != "title" and text is not None and text.format == HTML and "<" in text.text
        }
        if extra:
            nodes["extra"] = self._fields.item
        bases = {
            name: find_base(link, node) for name, node in nodes.items() if node.base or not has_link
        }
        return {name: base for name, base in bases.items() if base and base != link}

    def _text(self, name: str) -> str | None:
        text = self._texts[name]
        return text.text if text is not None else None
