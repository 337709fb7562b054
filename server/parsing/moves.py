"""What documents say of other addresses: where the feed has moved to, where its next page is. Pure.

Nothing here is followed or adopted: it is told to people.
"""

import re
from collections.abc import Iterator
from html import unescape

from server.parsing.links import is_absolute, join_url
from server.parsing.parsed import ParsedFeed
from server.parsing.tree import Node
from shared.masking import mask_secrets

MAX_SHOWN_URL = 500
_HEAD_LENGTH = 65536
# The redirect document of Userland: <redirect><newLocation>URL</newLocation></redirect>.
_NEW_LOCATION = re.compile(
    r"<redirect[\s>].{0,2000}?<newlocation(?:\s[^<>]*)?>\s*(?:<!\[CDATA\[)?\s*([^<>\]]{1,4096})",
    re.IGNORECASE | re.DOTALL,
)
_META = re.compile(r"<meta\s([^<>]{1,4096})>", re.IGNORECASE)
_REFRESH = re.compile(r"""http-equiv\s*=\s*["']?\s*refresh\b""", re.IGNORECASE)
_CONTENT = re.compile(r"""content\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*))""", re.IGNORECASE)
_TARGET = re.compile(r"""^\s*[\d.]*\s*[;,\s]\s*(?:url\s*=\s*)?["']?\s*([^"']+)""", re.IGNORECASE)
_NEXT_PAGES = ("next", "prev-archive")


def find_move(text: str, *, url: str | None) -> str | None:
    """Return where a document that is no feed says that it has moved to, to be shown."""
    head = text[:_HEAD_LENGTH]
    found = _NEW_LOCATION.search(head)
    written = found[1] if found is not None else _find_refresh(head)
    return None if written is None else _show(url, unescape(written))


def read_refresh(value: str | None, *, url: str | None) -> str | None:
    """Return where the header ``Refresh`` leads to, to be shown; None where to no other place."""
    found = _TARGET.match(value[:4096]) if value else None
    return None if found is None else _show(url, found[1])


def read_new_url(frame: Node) -> str | None:
    """Return where a feed says in its channel that it has moved to, as written."""
    texts = (node.text for node in frame.children if node.name == "itunes:new-feed-url")
    return next((text.strip() for text in texts if text.strip()), None)


def read_next_page(frame: Node) -> str | None:
    """Return the address of a feed's next or archived page (RFC 5005), as written."""
    for relation in _NEXT_PAGES:
        for node in frame.children:
            is_link = node.name.rpartition(":")[2] == "link"
            if is_link and node.attributes.get("rel", "").strip().lower() == relation:
                return node.attributes.get("href") or None
    return None


def moved_to(feed: ParsedFeed, *, url: str | None) -> str | None:
    """Return where a feed says that it has moved to, to be shown; None for its own address."""
    return _show(url, feed.moved_to) if feed.moved_to else None


def say_pages(feed: ParsedFeed, *, url: str | None) -> Iterator[str]:
    """Yield a warning for a document that is one page of several."""
    following = _show(url, feed.next_page) if feed.next_page else None
    if following is not None:
        yield (
            f"the document is page one of several: older items are at {following}, which is not "
            "fetched; give it to the feed as a further URL to have them"
        )


def _find_refresh(head: str) -> str | None:
    for found in _META.finditer(head):
        if _REFRESH.search(found[1]):
            content = _CONTENT.search(found[1])
            target = _TARGET.match(unescape(_first(content))) if content is not None else None
            return target[1] if target is not None else None
    return None


def _first(found: re.Match[str]) -> str:
    return next((group for group in found.groups() if group), "")


def _show(base: str | None, written: str) -> str | None:
    """Return an address that may be shown; None for what is none, or leads where one is."""
    address = join_url(base, written.strip())
    if not is_absolute(address) or not address.isprintable() or _plain(address) == _plain(base):
        return None
    return mask_secrets(address[:MAX_SHOWN_URL])


def _plain(address: str | None) -> str:
    """Return an address without what makes no other feed of it: scheme, fragment, last slash."""
    return (address or "").partition("#")[0].partition("://")[2].rstrip("/").lower()
