"""The feeds that a web page names. Pure; the page is taken for hostile and costs what it is long.

What counts is written in https://html.spec.whatwg.org/multipage/links.html (``alternate``,
``feed``); browsers and feed readers have always called it autodiscovery.
"""

import re
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from urllib.parse import urlsplit, urlunsplit

from server.parsing.links import is_absolute, join_url
from server.parsing.parsed import NamedFeed
from shared.error_kinds import ErrorKind
from shared.errors import ParseError
from shared.urls import mask_secrets

MAX_PAGE_LENGTH = 512 * 1024
MAX_FEEDS = 20
MAX_URL_LENGTH = 4096
MAX_TITLE_LENGTH = 200
# The kinds of refusal that a page with links in it may get. Shields put their script, and with it
# their words, into ordinary pages too; but what keeps visitors out names no feeds.
PAGE_KINDS = (ErrorKind.HTML, ErrorKind.WAF_CHALLENGE)

# Types that say nothing else than that it is a feed; of the others some are search indexes.
CERTAIN_TYPES = frozenset(
    {
        "application/rss+xml", "application/atom+xml", "application/rdf+xml",
        "application/feed+json",
    }
)  # fmt: skip
_FEED_TYPES = frozenset(
    {
        "application/rss+xml", "application/atom+xml", "application/rdf+xml", "application/xml",
        "text/xml", "application/feed+json", "application/json",
    }
)  # fmt: skip
# Every page of WordPress names its own record in the site's API as alternate JSON.
_API_RECORD = re.compile(r"/wp-json/|[?&]rest_route=")
# One of thousands of digits makes the library raise; no character has more than seven.
_LONG_REFERENCE = re.compile(r"&#[0-9]{8,};?")
_MAX_LINKS = 1000
# Where links in a page's text lead to, as far as they look like feeds.
_FEED_PATH = re.compile(
    r"(?:^|[/._?=-])(?:rss|atom|feeds?|rdf)(?:/|2|2\.0)?(?:\.(?:xml|json|php|rdf|rss|atom))?$"
    r"|\.(?:rss|atom|rdf)$|(?:^|/)(?:index|news|blog)\.xml$",
    re.IGNORECASE,
)
_LINK_HEADER = re.compile(
    r"<([^<>]{1,4096})>((?:\s*;\s*[\w*-]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s;,]+))?)*)"
)
_PARAMETER = re.compile(r";\s*([\w*-]+)\s*=\s*(?:\"([^\"]*)\"|([^\s;,]+))")
_MAX_RESUMES = 50
_SHOWN_URL_LENGTH = 200


class WebPageError(ParseError):
    """A web page where a feed was to be; ``feeds`` are those that it names, at least one."""

    def __init__(self, feeds: tuple[NamedFeed, ...]) -> None:
        first = mask_secrets(feeds[0].url[:_SHOWN_URL_LENGTH])
        others = f" (and {len(feeds) - 1} more)" if len(feeds) > 1 else ""
        super().__init__(
            ErrorKind.HTML, f"a web page instead of a feed; it links to: {first}{others}"
        )
        self.feeds = feeds


def find_feeds(page: str, *, url: str | None) -> tuple[NamedFeed, ...]:
    """Return the feeds that a page names in ``link`` elements, in order, each once, at most 20.

    Where it names none so, those of the links in its text that look like feeds.
    Only the first 512 Ki characters are read. ``url`` is the page's own URL; its ``base``
    element, if there is one, goes before it. Only absolute http and https URLs are named,
    without the user names and passwords that a page may have put there.
    """
    reader = _LinkReader()
    reader.read(_LONG_REFERENCE.sub("", page[:MAX_PAGE_LENGTH]))
    base = _choose_base(url, reader.base)
    return _resolve_all(base, reader.links or reader.anchors)


def read_link_header(value: str | None, *, url: str | None) -> tuple[NamedFeed, ...]:
    """Return the feeds that the header ``Link`` of a page names."""
    links: list[NamedFeed] = []
    for href, parameters in _LINK_HEADER.findall((value or "")[:MAX_URL_LENGTH]):
        named = {
            name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(parameters)
        }
        link = _named_feed([*named.items(), ("href", href)])
        if link is not None:
            links.append(link)
    return _resolve_all(url, links)


def _resolve_all(base: str | None, links: Iterable[NamedFeed]) -> tuple[NamedFeed, ...]:
    found: dict[str, NamedFeed] = {}
    for link in links:
        address = _resolve(base, link.url)
        if address is not None and len(found) < MAX_FEEDS:
            found.setdefault(address, NamedFeed(address, link.title, link.type))
    return tuple(found.values())


class _LinkReader(HTMLParser):
    """Collects the links to feeds, their URLs as written, and the page's base."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[NamedFeed] = []
        self.anchors: list[NamedFeed] = []
        self.base: str | None = None

    def read(self, page: str) -> None:
        """Read a page; go on behind a tag that never ends, but not for ever."""
        self.feed(page)
        for _ in range(_MAX_RESUMES):
            unfinished = self.rawdata
            is_swallowed = self.cdata_elem is not None or unfinished.startswith("<!--")
            end = unfinished.find(">", 1)
            if is_swallowed or end < 0:
                return
            self.reset()
            # Not the library's close(): that looks to the end of the page for each such tag.
            self.feed(unfinished[end + 1 :])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of ``link`` and of the first ``base``."""
        if tag == "base" and self.base is None:
            self.base = next((value for key, value in attrs if key == "href"), None)
        elif tag == "link" and len(self.links) < _MAX_LINKS:
            link = _named_feed(attrs)
            if link is not None:
                self.links.append(link)
        elif tag == "a" and len(self.anchors) < _MAX_LINKS:
            self._add_anchor(attrs)

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Skip ``<![…>`` as a comment, as HTML has it; the library raises for unknown ones."""
        return self.parse_bogus_comment(i, report)

    def _add_anchor(self, attrs: list[tuple[str, str | None]]) -> None:
        href = _first(attrs, "href").strip()[:MAX_URL_LENGTH]
        media_type = _first(attrs, "type").partition(";")[0].strip().lower()
        path = href.partition("#")[0].removeprefix("feed:").rstrip("/")
        if media_type in CERTAIN_TYPES or _FEED_PATH.search(path):
            self.anchors.append(NamedFeed(href, _title(attrs), media_type or None))


def _named_feed(attrs: Sequence[tuple[str, str | None]]) -> NamedFeed | None:
    """Return the feed that the attributes of a link name, its URL as written."""
    relations = _first(attrs, "rel").lower().split()
    media_type = _first(attrs, "type").partition(";")[0].strip().lower()
    is_alternate = "alternate" in relations and media_type in _FEED_TYPES
    href = _first(attrs, "href").strip()
    if not href or not (is_alternate or "feed" in relations):
        return None
    return NamedFeed(href, _title(attrs), media_type or None)


def _title(attrs: Sequence[tuple[str, str | None]]) -> str | None:
    return " ".join(_first(attrs, "title").split())[:MAX_TITLE_LENGTH] or None


def _first(attrs: Sequence[tuple[str, str | None]], name: str) -> str:
    return next((value or "" for key, value in attrs if key == name), "")


def _choose_base(url: str | None, written: str | None) -> str | None:
    """Return what links are relative to; a ``base`` that is no URL counts for nothing."""
    base = join_url(url, (written or "").strip())
    return base if is_absolute(base) and _has_host(base) else url


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _resolve(base: str | None, href: str) -> str | None:
    """Return a URL that can be fetched, None where there is none."""
    joined = join_url(base, href)
    if not is_absolute(joined) or not _has_host(joined) or _API_RECORD.search(joined):
        return None
    parts = urlsplit(joined)
    host = parts.netloc.rpartition("@")[2]
    address = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    address = re.sub(r"\s", "%20", address)
    return address if len(address) <= MAX_URL_LENGTH and address.isprintable() else None
