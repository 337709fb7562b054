"""Which entries of an import are the same item, and which only claim to be. Pure.

Identity is decided over all documents of one import together and never by position: the order of
entries may decide which of two equal ones counts, not what anything is called.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from server.parsing.parsed import ParsedEntry
from shared.models import FeedItem, make_guid

_SUFFIX_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Identified:
    """The items of an import, each guid once, in order of URLs and documents.

    ``duplicates`` counts the entries left out because an earlier one is the same item.
    ``colliding`` are all guids known to be shared by different items: those given and those found;
    it has to be stored with the source, so that a suffix once given stays.
    """

    items: list[FeedItem]
    duplicates: int
    colliding: frozenset[str]


def identify(
    entries_by_url: Sequence[Sequence[ParsedEntry]], *, colliding: Collection[str]
) -> Identified:
    """Merge the entries of an import's documents by guid; the first that lists one wins.

    The same guid with the same link again is a duplicate. A guid that occurs with different links,
    or did so before (``colliding``), names none of its items alone: every one of them gets
    ``~<hash of link or title>`` behind it. None keeps the plain guid, because in a feed with the
    newest first that one would be another item after each post.
    """
    entries = [entry for document in entries_by_url for entry in document]
    shared_guids = frozenset(colliding) | _find_colliding(entries)
    items: dict[str, FeedItem] = {}
    for entry in entries:
        guid = entry.item.guid
        if guid in shared_guids:
            guid = suffixed_guid(guid, _discriminator(entry))
        if guid not in items:
            items[guid] = replace(entry.item, guid=guid)
    return Identified(list(items.values()), len(entries) - len(items), shared_guids)


def suffixed_guid(guid: str, discriminator: str) -> str:
    """Return the guid of one of several items that share ``guid``. Frozen, like the hash rules."""
    digest = hashlib.sha256(discriminator.encode("utf-8", "surrogatepass")).hexdigest()
    return make_guid(f"{guid}~{digest[:_SUFFIX_LENGTH]}")


def _find_colliding(entries: Iterable[ParsedEntry]) -> frozenset[str]:
    first_seen: dict[str, str] = {}
    found = set()
    for entry in entries:
        discriminator = _discriminator(entry)
        if first_seen.setdefault(entry.item.guid, discriminator) != discriminator:
            found.add(entry.item.guid)
    return frozenset(found)


def _discriminator(entry: ParsedEntry) -> str:
    """Return what tells items of one guid apart: the link as written, else the title."""
    return entry.written_link or entry.item.title or ""
