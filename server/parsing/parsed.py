"""What parsing gives: a feed, its entries, those that cannot be read; or a refusal.

With what holds for the entries of all formats: what identifies one (never its position, a date
alone or a base), and how many a document may have, and how large, so that they cost the server no
more than its bytes did. Feeds of the size that may be fetched stay far below all limits.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from shared.error_kinds import ErrorKind
from shared.errors import ItemError, ParseError
from shared.models import FeedItem, make_guid

MAX_ITEMS = 100_000
# Elements and attributes, or entries of lists.
MAX_PARTS = 2_000_000
# Each of them becomes a dead letter. A feed with more is unreadable as a whole.
MAX_REJECTED = 10_000
# What an item of the largest size that may be set could hold, if each part said something.
MAX_ITEM_PARTS = 50_000
# What systems write where they have no guid.
PLACEHOLDERS = frozenset(
    {"", "0", "-", "#", "n/a", "na", "none", "null", "nil", "undefined", "nan", "guid", "unknown"}
)


class ParsedEntry(NamedTuple):
    """One entry that can be imported.

    The ``written_`` texts are as they stand in the document, resolved against nothing and read as
    nothing, because identity must not depend on where a document was fetched from.
    ``guid_rung`` names what ``item.guid`` was made of: ``guid``, ``link``, ``enclosure``, ``hash``.
    """

    item: FeedItem
    written_guid: str | None
    written_link: str | None
    guid_rung: str
    written_enclosure: str | None = None
    written_published: str | None = None
    written_updated: str | None = None

    @property
    def link(self) -> str | None:
        """The item's link, absolute where the document or its URL gave a base."""
        return self.item.link

    def __reduce__(self) -> tuple[type["ParsedEntry"], tuple[Any, ...]]:
        """Pickle as plain arguments: faster than what a named tuple does by itself."""
        return ParsedEntry, tuple(self)


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """One entry that cannot be imported, with the reason for people.

    ``guid`` never depends on the entry's position: the written one, a fallback, or a hash of what
    could be read of it. ``is_cut`` marks the entry in which a damaged document breaks off.
    """

    guid: str
    reason: str
    is_cut: bool = False
    title: str | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class NamedFeed:
    """A feed that a web page names; ``type`` is the media type that the page gives it."""

    url: str
    title: str | None
    type: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a document is not a feed that can be read, and the feeds that it names instead."""

    kind: ErrorKind
    reason: str
    feeds: tuple[NamedFeed, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedFeed:
    """A document that was recognised as a feed.

    ``format`` is ``rss``, ``atom``, ``rdf``, ``cdf`` or ``json_feed``. ``entries`` stand in
    document order. ``is_whole`` is False when the document is damaged and only the entries before
    the damage were taken: it then proves nothing about entries that it does not hold. ``ttl_s``,
    ``skip_hours`` (UTC) and ``skip_days`` are the publisher's rules of polling; ``moved_to``
    and ``next_page`` the URLs that it gives, as written.
    """

    format: str
    version: str
    title: str | None
    entries: tuple[ParsedEntry, ...]
    rejected: tuple[RejectedEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    is_whole: bool = True
    ttl_s: int | None = None
    skip_hours: frozenset[int] = frozenset()
    skip_days: frozenset[str] = frozenset()
    moved_to: str | None = None
    next_page: str | None = None


def choose_guid(
    *,
    written_guid: str | None,
    written_link: str | None,
    enclosure_url: str | None,
    fallback: tuple[str | None, ...],
    feed_urls: frozenset[str],
) -> tuple[str, str] | None:
    """Return an entry's guid and the rung it came from; None where nothing identifies the entry.

    The rungs, from the top: the guid as written, the link as written, the first enclosure's URL,
    a hash of ``fallback``. Blanks, known placeholders and the feed's own URLs count as
    missing.
    """
    rungs = (("guid", written_guid), ("link", written_link), ("enclosure", enclosure_url))
    for rung, text in rungs:
        identity = (text or "").strip()
        if identity.lower() not in PLACEHOLDERS and identity not in feed_urls:
            return make_guid(identity), rung
    if any(fallback):
        return hash_guid(fallback), "hash"
    return None


def identifying_texts(item: FeedItem, written_date: str | None) -> tuple[str | None, ...]:
    """Return what identifies an item that has no guid, link or enclosure.

    Title, date as written and author; without a title all the item's other texts too, for many
    untitled items may share a date.
    """
    if item.title:
        return (item.title, written_date, item.author)
    extra = tuple(f"{field.name}={field.value}" for field in item.extra)
    return (written_date, item.author, item.summary, item.content, *item.categories, *extra)


def hash_guid(texts: tuple[str | None, ...]) -> str:
    """Return the guid of an entry that has none but in the sum of its texts."""
    encoded = orjson.dumps([text or "" for text in texts])
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def check_items(count: int) -> None:
    """Refuse a document of too many items.

    Raises:
        ParseError: ``limits``.
    """
    if count > MAX_ITEMS:
        raise ParseError(ErrorKind.LIMITS, f"the document has more than {MAX_ITEMS} items")


def check_parts(count: int) -> None:
    """Refuse a document of too many parts, in all its items together.

    Raises:
        ParseError: ``limits``.
    """
    if count > MAX_PARTS:
        raise ParseError(ErrorKind.LIMITS, f"the document has more than {MAX_PARTS} parts")


def check_rejected(reasons: Sequence[str]) -> None:
    """Refuse a document of too many items that cannot be read, naming what is wrong with the first.

    Raises:
        ParseError: ``limits``.
    """
    if len(reasons) > MAX_REJECTED:
        what = f"{len(reasons)} items cannot be read, more than {MAX_REJECTED}"
        raise ParseError(ErrorKind.LIMITS, f"{what}; the first: {reasons[0]}")


def check_item(item: FeedItem) -> None:
    """Refuse an item of too many parts; the others of its document are read.

    Raises:
        ItemError: ``unreadable``.
    """
    count = len(item.extra) + len(item.categories) + len(item.enclosures)
    if count > MAX_ITEM_PARTS:
        raise ItemError("unreadable", f"the item has {count} parts, more than {MAX_ITEM_PARTS}")
