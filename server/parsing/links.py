"""URLs in documents: made absolute, and where a document tells that its feed has moved to.

Pure. Nothing here is followed or adopted: moves and further pages are reported to people.
"""

import re
from html import unescape
from urllib.parse import urljoin, urlsplit, urlunsplit

from shared.urls import mask_secrets, without_breaks

MAX_SHOWN_URL = 500
_HEAD_LENGTH = 65536
_WEB = ("http://", "https://")
# The redirect document of Userland: <redirect><newLocation>URL</newLocation></redirect>.
_NEW_LOCATION = re.compile(
    r"<redirect[\s>].{0,2000}?<newlocation(?:\s[^<>]*)?>\s*(?:<!\[CDATA\[)?\s*([^<>\]]{1,4096})",
    re.IGNORECASE | re.DOTALL,
)
_META = re.compile(r"<meta\s([^<>]{1,4096})>", re.IGNORECASE)
_REFRESH = re.compile(r"""http-equiv\s*=\s*["']?\s*refresh\b""", re.IGNORECASE)
_CONTENT = re.compile(r"""content\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*))""", re.IGNORECASE)
_TARGET = re.compile(r"""^\s*[\d.]*\s*[;,\s]\s*(?:url\s*=\s*)?["']?\s*([^"']+)""", re.IGNORECASE)


def join_url(base: str | None, url: str) -> str:
    """Return ``url`` resolved against ``base``; as it is where that cannot be done."""
    if not base:
        return url
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def is_absolute(url: str | None) -> bool:
    """Return whether ``url`` is an absolute http or https URL."""
    if url is None:
        return False
    return url.startswith(_WEB) or url[:8].lower().startswith(_WEB)


def resolve_link(link: str, *, bases: tuple[str | None, ...]) -> str:
    """Return ``link`` resolved against the bases, the nearest first: xml:base, channel, document.

    A base may be relative itself and is then resolved against those after it. Line breaks go, with
    the blanks around them.
    """
    if is_absolute(link) and link.isprintable():
        return link.strip()
    link = without_breaks(link)
    if is_absolute(link) or _has_scheme(link):
        return link
    base: str | None = None
    for candidate in reversed(bases):
        if candidate:
            base = join_url(base, candidate)
    if link[:4].lower() == "www.":
        # A host whose scheme was forgotten, not a path.
        scheme = "https" if base is not None and base.lower().startswith("https:") else "http"
        return f"{scheme}://{link}"
    return join_url(base, link)


def _has_scheme(url: str) -> bool:
    try:
        return bool(urlsplit(url).scheme)
    except ValueError:
        return True


def other_scheme(guid: str) -> str | None:
    """Return a guid that is a URL with ``https`` for ``http``, or the other way round."""
    if guid.startswith("http://"):
        return "https://" + guid.removeprefix("http://")
    if guid.startswith("https://"):
        return "http://" + guid.removeprefix("https://")
    return None


def place_of(url: str) -> str:
    """Return what is equal for URLs of one page: without http or https, and what counts visitors.

    To compare with, not to fetch: a host's case and ``utm_`` parameters lead nowhere else.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.scheme not in ("http", "https"):
        return url
    pairs = (pair for pair in parts.query.split("&") if not pair.lower().startswith("utm_"))
    host = parts.netloc.lower()
    return urlunsplit(("", host, parts.path or "/", "&".join(pairs), parts.fragment))


def find_move(text: str, *, url: str | None) -> str | None:
    """Return where a document that is no feed names as its new place, to be shown."""
    head = text[:_HEAD_LENGTH]
    found = _NEW_LOCATION.search(head)
    written = found[1] if found is not None else _find_refresh(head)
    return None if written is None else show_other(url, unescape(written))


def read_refresh(value: str | None, *, url: str | None) -> str | None:
    """Return where the header ``Refresh`` leads to, to be shown; None where to no other place."""
    found = _TARGET.match(value[:4096]) if value else None
    return None if found is None else show_other(url, found[1])


def show_other(base: str | None, written: str) -> str | None:
    """Return a URL that may be shown; None for what is none, or leads where one is."""
    url = join_url(base, written.strip())
    if not is_absolute(url) or not url.isprintable() or _plain(url) == _plain(base):
        return None
    return mask_secrets(url[:MAX_SHOWN_URL])


def _find_refresh(head: str) -> str | None:
    for found in _META.finditer(head):
        if _REFRESH.search(found[1]):
            content = _CONTENT.search(found[1])
            target = _TARGET.match(unescape(_first(content))) if content is not None else None
            return target[1] if target is not None else None
    return None


def _first(found: re.Match[str]) -> str:
    return next((group for group in found.groups() if group), "")


def _plain(url: str | None) -> str:
    """Return a URL without what makes no other feed of it: scheme, fragment, last slash."""
    return (url or "").partition("#")[0].partition("://")[2].rstrip("/").lower()
