"""OPML: lists of feeds, written so that they come back whole, and what is added of others."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from server.feeds.opml_reading import OWN_PREFIX, InvalidOutline, OpmlDocument, Outline
from server.feeds.service import FeedService
from server.feeds.tags import MAX_TAGS, read_tag
from server.feeds.windows import ENDED, START, FeedWindow, is_template, read_window
from server.fetching.addresses import mask_url
from shared.errors import ConflictError, InvalidRequestError, UnreadableDocument
from shared.models import format_time, parse_time
from shared.store import Feed, FeedLists
from shared.store.reading import Misfit

OPML_TYPE = "text/x-opml"
MAX_SHOWN_URL = 200
MAX_INTERVAL_S = 31_536_000
_PAGE = 500
_NAMESPACE = "https://feedmill.example/opml"
_WINDOW = "window_"


@dataclass(slots=True)
class OpmlReport:
    """What an OPML document brought: feeds added, feeds known already, entries refused."""

    added: int = 0
    skipped: int = 0
    invalid: list[InvalidOutline] = field(default_factory=list)


def import_outlines(
    document: OpmlDocument, feeds: FeedService, default_interval_s: int
) -> OpmlReport:
    """Add the feeds that are missing; those that exist, by URL or by source, are skipped.

    Entries with the same source of ours are one feed with several URLs, added as a whole or not
    at all. A source that a feed with other URLs has is an invalid entry. Safe to repeat.
    """
    report = OpmlReport(invalid=list(document.unreadable))
    for entries in _group_by_feed(document.outlines):
        try:
            _add_feed(entries, feeds, default_interval_s)
            report.added += 1
        except ConflictError:
            report.skipped += 1
        except (InvalidRequestError, UnreadableDocument) as exc:
            report.invalid += _refuse_all(entries, str(exc))
    report.invalid.sort(key=lambda entry: entry.line)
    return report


def write_opml(feeds: FeedLists) -> bytes:
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


def _group_by_feed(outlines: list[Outline]) -> list[list[Outline]]:
    """Return each feed's entries; an editor may have moved entries about."""
    by_feed: dict[str | int, list[Outline]] = {}
    for number, outline in enumerate(outlines):
        by_feed.setdefault(outline.own.get("source") or number, []).append(outline)
    return list(by_feed.values())


def _refuse_all(entries: list[Outline], error: str) -> Iterator[InvalidOutline]:
    """Yield all entries of a feed as invalid, for which of them is at fault is not always known."""
    if len(entries) > 1:
        error = f"one of {len(entries)} entries of source {entries[0].own['source']!r}: {error}"
    for entry in entries:
        yield InvalidOutline(mask_url(entry.url)[:MAX_SHOWN_URL], error, entry.line)


def _add_feed(entries: list[Outline], feeds: FeedService, default_interval_s: int) -> None:
    first, urls = entries[0], list(dict.fromkeys(entry.url for entry in entries))
    if "" in urls:
        title = next(entry.title for entry in entries if not entry.url)
        raise InvalidRequestError(f"entry {title[:MAX_SHOWN_URL]!r} has no xmlUrl")
    source = first.own.get("source")
    if source is not None and feeds.exists(source):
        # Asked first: what an export masked could not be added, and need not be.
        _refuse_other_urls(feeds.get(source), urls)
        raise ConflictError(f"source {source!r} is taken")
    settings = _read_settings(first.own, default_interval_s)
    if settings.get("window") is None and any(is_template(url) for url in urls):
        raise InvalidRequestError(f"the URL has {START} or {ENDED}, but the entry has no window")
    feeds.add(urls, source=source, **settings, **_read_labels(first))


def _refuse_other_urls(known: Feed, urls: list[str]) -> None:
    """Refuse URLs that a feed has not; those of an export are masked."""
    if not {mask_url(url) for url in urls} <= {mask_url(url) for url in known.urls}:
        raise InvalidRequestError(f"source {known.source!r} is taken by a feed with another URL")


def _read_labels(outline: Outline) -> dict[str, Any]:
    """Return the title and the tags of an entry; categories that can be no tags are left out.

    An export of ours without a title has the source in its place.
    """
    title = outline.title if outline.title != outline.own.get("source") else None
    return {"title": title, "tags": _read_categories(outline.category)}


def _read_categories(text: str) -> list[str]:
    """Return the words of OPML's categories, ``/news/tech,python``: each last part is a tag."""
    tags = []
    for path in text.split(","):
        with suppress(InvalidRequestError):
            tags.append(read_tag(path.strip().rstrip("/").rpartition("/")[2]))
    return list(dict.fromkeys(tags))[:MAX_TAGS]


def _read_settings(own: Mapping[str, str], default_interval_s: int) -> dict[str, Any]:
    if "source" not in own:
        return {"interval_s": default_interval_s}
    interval_s, cron, weight = own.get("interval_s"), own.get("cron"), own.get("weight")
    if interval_s is not None and cron is not None:
        raise InvalidRequestError("give interval_s or cron, not both")
    if weight not in (None, "light", "heavy"):
        raise InvalidRequestError(f"weight {weight[:40]!r}: use light or heavy")
    return {
        "enabled": own.get("enabled") != "false",
        "interval_s": _read_interval_s(interval_s) if interval_s is not None else None,
        "cron": cron,
        "weight": weight,
        "window": _read_window(own),
    }


def _read_interval_s(text: str) -> int:
    number = _read_number(text)
    if number is None or not 1 <= number <= MAX_INTERVAL_S:
        raise InvalidRequestError(
            f"interval_s {text[:40]!r}: use whole seconds, 1 to {MAX_INTERVAL_S}"
        )
    return number


def _read_window(own: Mapping[str, str]) -> FeedWindow | None:
    given = {
        name.removeprefix(_WINDOW): text for name, text in own.items() if name.startswith(_WINDOW)
    }
    if not given:
        return None
    try:
        return FeedWindow.read({name: _read_field(name, text) for name, text in given.items()})
    except Misfit as exc:
        raise InvalidRequestError(str(exc)) from exc


def _read_field(name: str, text: str) -> Any:
    """Return the value of a window's field; what it cannot be is left a text, which is refused."""
    if name == "from":
        try:
            return parse_time(text)
        except ValueError as exc:
            raise InvalidRequestError(
                f"window_from {text[:40]!r}: use RFC 3339, as in 2026-11-01T12:00:00Z"
            ) from exc
    number = _read_number(text)
    return text if number is None else number


def _read_number(text: str) -> int | None:
    # Checked as text first: a number may have any number of digits.
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _outline_attributes(feed: Feed, url: str) -> dict[str, str]:
    attributes = {
        "type": "rss",
        "text": feed.shown_title or feed.source,
        "xmlUrl": mask_url(url),
        f"{OWN_PREFIX}source": feed.source,
    }
    if feed.shown_title:
        attributes["title"] = feed.shown_title
    if feed.tags:
        attributes["category"] = ",".join(feed.tags)
    if feed.interval_s is not None:
        attributes[f"{OWN_PREFIX}interval_s"] = str(feed.interval_s)
    if feed.cron is not None:
        attributes[f"{OWN_PREFIX}cron"] = feed.cron
    if feed.weight is not None:
        attributes[f"{OWN_PREFIX}weight"] = feed.weight
    if not feed.enabled:
        attributes[f"{OWN_PREFIX}enabled"] = "false"
    return attributes | _window_attributes(feed)


def _window_attributes(feed: Feed) -> dict[str, str]:
    window = read_window(feed)
    fields = window.to_document() if window is not None else {}
    return {
        f"{OWN_PREFIX}{_WINDOW}{name}": format_time(value) if name == "from" else str(value)
        for name, value in fields.items()
    }


def _iterate(feeds: FeedLists) -> Iterator[Feed]:
    cursor: str | None = None
    while True:
        page = feeds.find_page(limit=_PAGE, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
