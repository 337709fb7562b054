"""Reading the dashboard's pages as a browser would: texts, links, forms."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from tests.api import Api

_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"})


@dataclass
class Page(HTMLParser):
    """What stands in a page. ``texts`` are those that are seen, ``tags`` all with attributes."""

    html: str
    texts: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._messages_depth = 0
        self.feed(self.html)
        self.close()

    @property
    def text(self) -> str:
        """All that is seen, in one line."""
        return " ".join(" ".join(self.texts).split())

    @property
    def message(self) -> str:
        """What the last action or a mistake in the address left on top."""
        return " ".join(" ".join(self.messages).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Return the attributes of those tags that have these."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}.items()
        return [found for name, found in self.tags if name == tag and wanted <= found.items()]

    def links(self) -> list[str]:
        """Return where the page leads to."""
        return [found["href"] for found in self.all("a")]

    def value(self, name: str) -> str:
        """Return what stands in the form's field of this name."""
        [found] = [each for each in self.all("input", name=name) if each.get("type") != "radio"]
        return found.get("value", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)
        if ("id", "messages") in attrs:
            self._messages_depth = len(self._open)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> stands in the wrong place"
        if len(self._open) < self._messages_depth:
            self._messages_depth = 0

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "title", "style"):
            self.texts.append(data)
            if self._messages_depth:
                self.messages.append(data)


def get_page(api: Api, path: str, status: int = 200, **query: str) -> Page:
    """Open a page."""
    asked = f"{path}?{urlencode(query)}" if query else path
    return Page(api.show_page(asked, status))


def post_form(api: Api, path: str, status: int = 200, **fields: Any) -> Page:
    """Send a form and follow where the answer leads."""
    return Page(api.send_form(path, status, **fields))
