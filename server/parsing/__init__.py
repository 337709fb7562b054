"""Turn feed bytes into entries. Pure: no network, no clock, no queue.

``parse_feed`` is the only door; ``isolation`` runs it in a process of its own.
"""

import dataclasses
from datetime import datetime

from server.parsing.detection import cut_leading_noise, decode_document, is_json
from server.parsing.json_feed import parse_json_feed
from server.parsing.lenient import Lenience
from server.parsing.links import find_move
from server.parsing.page_feeds import PAGE_KINDS, WebPageError, find_feeds
from server.parsing.parsed import ParsedEntry, ParsedFeed, RejectedEntry, check_rejected
from server.parsing.xml_feed import NoItemError, parse_leniently, parse_xml
from shared.errors import ParseError

__all__ = ["ParsedEntry", "ParsedFeed", "RejectedEntry", "parse_feed"]


def parse_feed(
    body: bytes,
    *,
    content_type: str | None,
    url: str | None,
    now: datetime,
    lenience: Lenience = "feedparser",
) -> ParsedFeed:
    """Return the entries of an RSS, RDF, Atom or JSON Feed document, in document order.

    Pure: equal arguments give equal feeds. ``content_type`` is the HTTP header, ``url`` the address
    that relative links are resolved against last, ``now`` the time that dates are judged by.
    Damage costs the entries that it touches (``rejected``, ``is_whole``); ``lenience`` is how far
    those are read: ``feedparser`` reads what ours cannot, ``strict`` leaves damaged ones out,
    ``off`` takes only what stands before the damage.

    Raises:
        ParseError: the document is not a feed, or is refused; ``kind`` names which. Of a web page
            that names feeds it is a ``WebPageError``.
    """
    text, warning = decode_document(body, content_type)
    try:
        feed = _parse_text(text, url=url, now=now, lenience=lenience)
    except ParseError as exc:
        if (explained := _explain(exc, text, url)) is not None:
            raise explained from exc
        raise
    check_rejected([entry.reason for entry in feed.rejected])
    warnings = feed.warnings if warning is None else (warning, *feed.warnings)
    return dataclasses.replace(feed, warnings=warnings)


def _explain(error: ParseError, text: str, url: str | None) -> ParseError | None:
    """Return the refusal of a document with what it names instead: feeds, or a new place."""
    if error.kind in PAGE_KINDS and (feeds := find_feeds(text, url=url)):
        return WebPageError(feeds)
    target = find_move(text, url=url)
    if target is None:
        return None
    return ParseError(error.kind, f"{error}; it says that it has moved to {target}")


def _parse_text(text: str, *, url: str | None, now: datetime, lenience: Lenience) -> ParsedFeed:
    if is_json(text):
        return parse_json_feed(text, url=url, now=now)
    try:
        return parse_xml(cut_leading_noise(text), url=url, now=now, lenience=lenience)
    except ParseError as exc:
        feed = None
        if lenience == "feedparser":
            feed = parse_leniently(text, url=url, now=now, error=exc)
        if feed is not None:
            return feed
        if isinstance(exc, NoItemError):
            return exc.feed
        raise
