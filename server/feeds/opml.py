"""OPML: lists of feeds, read with suspicion and written so that they come back whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from server.feeds.service import FeedService
from server.fetching.addresses import mask_url
from shared.errors import ConflictError, InvalidRequestError
from shared.store import Feed, FeedStore

OPML_TYPE = "text/x-opml"
MAX_DEPTH = 20
MAX_OUTLINES = 50_000
MAX_SHOWN_URL = 200
_PAGE = 500
# Attributes of our own, which other readers leave alone.
_NAMESPACE = "https://feedmill.example/opml"
_PREFIX = "feedmill:"


@dataclass(frozen=True, slots=True)
class Outline:
    """One entry that names a feed; ``own`` are our own attributes, without their prefix."""

    url: str
    own: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InvalidOutline:
    """An entry of an OPML document that could not be added, and why."""

    url: str
    error: str


@dataclass(slots=True)
class OpmlReport:
    """What an OPML document brought: feeds added, feeds known already, entries refused."""

    added: int = 0
    skipped: int = 0
    invalid: list[InvalidOutline] = field(default_factory=list)


def read_opml(document: bytes) -> list[Outline]:
    """Return the entries that name a feed, in order, out of whatever folders.

    Raises:
        InvalidRequestError: not OPML; or it declares entities, is nested deeper than 20, or has
            more than 50 000 outlines.
    """
    reader = _OutlineReader()
    try:
        reader.parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as exc:
        raise InvalidRequestError(f"the body is not readable XML: {exc}") from exc
    if reader.root != "opml":
        raise InvalidRequestError(f"the body is not OPML: its root is {str(reader.root)[:40]!r}")
    return reader.outlines


def import_outlines(
    outlines: list[Outline], feeds: FeedService, default_interval_s: int
) -> OpmlReport:
    """Add the feeds that are missing; those that exist, by URL or by source, are skipped.

    Safe to repeat: a feed is added as a whole or not at all.
    """
    report = OpmlReport()
    for urls, own in _group_by_feed(outlines):
        try:
            feeds.add(urls, **_read_settings(own, default_interval_s))
            report.added += 1
        except ConflictError:
            report.skipped += 1
        except InvalidRequestError as exc:
            shown = mask_url(urls[0])[:MAX_SHOWN_URL]
            report.invalid.append(InvalidOutline(url=shown, error=str(exc)))
    return report


def write_opml(feeds: FeedStore) -> bytes:
    """Return all feeds that have a URL, with what is needed to add them elsewhere."""
    root = ElementTree.Element("opml", {"version": "2.0", "xmlns:feedmill": _NAMESPACE})
    head = ElementTree.SubElement(root, "head")
    ElementTree.SubElement(head, "title").text = "Feedmill"
    body = ElementTree.SubElement(root, "body")
    for feed in _iterate(feeds):
        for url in feed.urls:
            ElementTree.SubElement(body, "outline", _outline_attributes(feed, url))
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


class _OutlineReader:
    """Collects outlines while the document is parsed; builds no tree, expands no entity."""

    def __init__(self) -> None:
        self.outlines: list[Outline] = []
        self.root: str | None = None
        self._depth = 0
        self._seen = 0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.EntityDeclHandler = self._refuse_entity

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self.root is None:
            self.root = name
        if self._depth > MAX_DEPTH:
            raise InvalidRequestError(f"the document is nested deeper than {MAX_DEPTH}")
        if name == "outline":
            self._add(attributes)

    def _add(self, attributes: Mapping[str, str]) -> None:
        self._seen += 1
        if self._seen > MAX_OUTLINES:
            raise InvalidRequestError(f"the document has more than {MAX_OUTLINES} outlines")
        by_name = {name.lower(): value for name, value in attributes.items()}
        url = by_name.get("xmlurl", "").strip()
        if url:
            own = {
                name.removeprefix(_PREFIX): value
                for name, value in by_name.items()
                if name.startswith(_PREFIX)
            }
            self.outlines.append(Outline(url, own))

    def _end(self, _name: str) -> None:
        self._depth -= 1

    def _refuse_entity(self, *_declaration: object) -> None:
        raise InvalidRequestError("the document declares entities, which is refused")


def _group_by_feed(outlines: list[Outline]) -> Iterator[tuple[list[str], Mapping[str, str]]]:
    """Yield URLs and attributes of each feed: neighbours of one source are one feed."""
    numbered = enumerate(outlines)
    by_feed = groupby(numbered, key=lambda pair: pair[1].own.get("source") or pair[0])
    for _, group in by_feed:
        members = [outline for _, outline in group]
        yield list(dict.fromkeys(outline.url for outline in members)), members[0].own


def _read_settings(own: Mapping[str, str], default_interval_s: int) -> dict[str, Any]:
    if "source" not in own:
        return {"interval_s": default_interval_s}
    interval = own.get("interval_s", "")
    return {
        "source": own["source"],
        "enabled": own.get("enabled") != "false",
        "interval_s": max(1, int(interval)) if interval.isdecimal() else None,
        "cron": own.get("cron"),
    }


def _outline_attributes(feed: Feed, url: str) -> dict[str, str]:
    attributes = {
        "type": "rss",
        "text": feed.source,
        "xmlUrl": mask_url(url),
        f"{_PREFIX}source": feed.source,
    }
    if feed.interval_s is not None:
        attributes[f"{_PREFIX}interval_s"] = str(feed.interval_s)
    if feed.cron is not None:
        attributes[f"{_PREFIX}cron"] = feed.cron
    if not feed.enabled:
        attributes[f"{_PREFIX}enabled"] = "false"
    return attributes


def _iterate(feeds: FeedStore) -> Iterator[Feed]:
    cursor: str | None = None
    while True:
        page = feeds.find_page(limit=_PAGE, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
