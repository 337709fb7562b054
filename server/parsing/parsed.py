"""What parsing gives: a feed, its entries, and the ones that could not be read; or a refusal."""

from dataclasses import dataclass

from shared.models import FeedItem


@dataclass(frozen=True, slots=True)
class ParsedEntry:
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
        """The item's link, absolute where the document or its address gave a base."""
        return self.item.link


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

    kind: str
    reason: str
    feeds: tuple[NamedFeed, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedFeed:
    """A document that was recognised as a feed.

    ``format`` is ``rss``, ``atom``, ``rdf``, ``cdf`` or ``json_feed``. ``entries`` stand in
    document order. ``is_whole`` is False when the document is damaged and only the entries before
    the damage were taken: it then says nothing about entries that it does not hold. ``ttl_s``,
    ``skip_hours`` (UTC) and ``skip_days`` are the publisher's wishes about polling; ``moved_to``
    and ``next_page`` the addresses that it gives, as written.
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
