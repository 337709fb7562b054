"""Which entries of an import are the same item, and which only claim to be. Pure.

Identity is decided over all documents of one import together and never by position: the order of
entries may decide which of two equal ones counts, not what anything is called.
"""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import orjson

from server.parsing.links import other_scheme, place_of
from server.parsing.parsed import ParsedEntry
from shared.models import FeedItem, make_guid

_SUFFIX_LENGTH = 12
_NO_ALIASES: Mapping[str, str] = MappingProxyType({})
# An entry, with the number of the document that lists it.
_Listed = tuple[int, ParsedEntry]


@dataclass(frozen=True, slots=True)
class Identified:
    """The items of an import, each guid once, in order of URLs and documents.

    ``duplicates`` counts the entries left out because they are the same item as another one.
    ``colliding`` are all guids known to be shared by different items: those given and those found;
    it has to be stored with the source, so that a suffix once given stays. ``claims`` holds, by
    each guid that was found to be shared just now, the items that it stood for until now.
    ``aliases`` are those that were given.
    """

    items: list[FeedItem]
    duplicates: int
    colliding: frozenset[str]
    claims: dict[str, list[FeedItem]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


def identify(
    entries_by_url: Sequence[Sequence[ParsedEntry]],
    *,
    colliding: Collection[str],
    aliases: Mapping[str, str] = _NO_ALIASES,
) -> Identified:
    """Merge the entries of an import's documents by guid; the first document that lists one wins.

    Of one document's versions of an item the newest counts, else the first. A guid that different
    items share, or shared before (``colliding``), names none of them alone: every one of them gets
    ``~<hash of what tells it apart>`` behind it, see :func:`_names`. None keeps the plain guid by
    its place, because in a feed with the newest first that would be another item after each post.
    ``aliases`` holds what items are stored under that would get another guid today.
    """
    listed = [(number, entry) for number, some in enumerate(entries_by_url) for entry in some]
    shared = _with_both_schemes(colliding)
    # A link that was misread out of damage must not change anybody's id for good.
    strict = [(number, entry) for number, entry in listed if entry.item.read_by is None]
    while found := _find_colliding(strict, shared):
        shared |= _with_both_schemes(found)
    chosen = _choose(listed, shared, aliases)
    avoided = {name for _, entry in listed for name in _avoided(entry, shared)}
    return Identified(
        items=[_named(entry.item, guid) for guid, (_, entry) in chosen.items()],
        duplicates=len(listed) - len(chosen),
        colliding=frozenset(colliding) | avoided,
        claims=_find_claims(chosen, avoided - frozenset(colliding), shared, aliases),
        aliases=aliases,
    )


def suffixed_guid(guid: str, discriminator: str) -> str:
    """Return the guid of one of several items that share ``guid``. Frozen, like the hash rules."""
    digest = hashlib.sha256(discriminator.encode("utf-8", "surrogatepass")).hexdigest()
    return make_guid(f"{guid}~{digest[:_SUFFIX_LENGTH]}")


def _named(item: FeedItem, guid: str) -> FeedItem:
    return item if item.guid == guid else item._replace(guid=guid)


def _choose(
    listed: Iterable[_Listed], shared: Collection[str], aliases: Mapping[str, str]
) -> dict[str, _Listed]:
    """Return the one entry that counts of each guid."""
    chosen: dict[str, _Listed] = {}
    for number, entry in listed:
        name = _name(entry, shared)
        guid = aliases.get(name, name)
        before = chosen.get(guid)
        if before is None or _wins(number, entry, before):
            chosen[guid] = number, entry
    return chosen


def _wins(number: int, entry: ParsedEntry, before: _Listed) -> bool:
    """Return whether an entry counts instead of an earlier one: newer, or the first strict one."""
    is_first_strict = before[1].item.read_by is not None and entry.item.read_by is None
    return is_first_strict or (before[0] == number and _is_newer(entry, before[1]))


def _find_claims(
    chosen: Mapping[str, _Listed],
    new: Collection[str],
    shared: Collection[str],
    aliases: Mapping[str, str],
) -> dict[str, list[FeedItem]]:
    claims: dict[str, list[FeedItem]] = defaultdict(list)
    for _, entry in chosen.values() if new else ():
        name = _name(entry, shared)
        for avoided in _avoided(entry, shared) if name not in aliases else ():
            if avoided in new:
                claims[avoided].append(entry.item._replace(guid=name))
    return dict(claims)


def _name(entry: ParsedEntry, shared: Collection[str]) -> str:
    """Return the first of an entry's names that is not shared by different items, else the last."""
    name = entry.item.guid
    if name in shared:
        for name in _names(entry):
            if name not in shared:
                return name
    return name


def _avoided(entry: ParsedEntry, shared: Collection[str]) -> Iterator[str]:
    """Yield the names that stand before an entry's, which different items share."""
    if entry.item.guid in shared:
        yield from itertools.takewhile(_name(entry, shared).__ne__, _names(entry))


def _names(entry: ParsedEntry) -> Iterator[str]:
    """Yield what an entry may be called, from the plain guid to what depends on most of it.

    The guid alone; with its link, or title where there is none; with its first enclosure; with its
    title and date. Frozen, like the hash rules.
    """
    guid = entry.item.guid
    yield guid
    yield suffixed_guid(guid, _link_or_title(entry))
    if entry.written_enclosure:
        yield suffixed_guid(guid, entry.written_enclosure)
    yield _last_name(entry)


def _last_name(entry: ParsedEntry) -> str:
    item = entry.item
    texts = (item.title,) if item.title else (item.summary, item.content)
    written = [text or "" for text in (*texts, entry.written_published)]
    return suffixed_guid(item.guid, orjson.dumps(written).decode())


def _find_colliding(listed: Iterable[_Listed], shared: Collection[str]) -> set[str]:
    """Return the names that different items have at present."""
    by_name: dict[str, list[_Listed]] = defaultdict(list)
    for one in listed:
        by_name[_name(one[1], shared)].append(one)
    return {
        name
        for name, some in by_name.items()
        if len(some) > 1 and name not in shared and _are_different(name, some)
    }


def _are_different(name: str, listed: Sequence[_Listed]) -> bool:
    """Return whether entries that share a name are different items.

    So they are with links that differ as written and lead to different pages: a relative one is the
    same on all mirrors, and what only counts visitors leads nowhere else. With one page, a guid
    that says more than the link stands for one item, unless two of title, date and enclosure differ
    in one document. A link, and a guid that only repeats it, is easily shared: in one document one
    difference suffices then.
    """
    entries = [entry for _, entry in listed]
    if all(len({tell(one) for one in entries}) > 1 for tell in (_link_or_title, _page_or_title)):
        return True
    if all(_last_name(entry) == name for entry in entries):
        return False
    documents: dict[int, list[ParsedEntry]] = defaultdict(list)
    for number, entry in listed:
        documents[number].append(entry)
    if not _is_named_by_link(entries[0]):
        return any(_count_differences(some) > 1 for some in documents.values())
    return _count_differences(entries) > 1 or any(
        _count_differences(some) > 0 and not _are_versions(some) for some in documents.values()
    )


def _count_differences(entries: Sequence[ParsedEntry]) -> int:
    """Return in how many of title, date and enclosure entries differ; what lacks differs not."""
    titles = {entry.item.title or entry.item.summary or entry.item.content for entry in entries}
    dates = {entry.written_published for entry in entries}
    files = {entry.written_enclosure for entry in entries}
    return sum(len(texts - {None}) > 1 for texts in (titles, dates, files))


def _are_versions(entries: Sequence[ParsedEntry]) -> bool:
    """Return whether entries of one guid are one entry at different times, as Atom allows."""
    dates = {entry.written_published for entry in entries}
    changes = {entry.written_updated for entry in entries}
    is_guid = all(entry.guid_rung == "guid" for entry in entries)
    return is_guid and len(dates) == 1 and None not in changes and len(changes) > 1


def _is_named_by_link(entry: ParsedEntry) -> bool:
    return entry.guid_rung == "link" or entry.written_guid == entry.written_link


def _is_newer(entry: ParsedEntry, other: ParsedEntry) -> bool:
    """Return whether an entry counts before another version of it: a strict reading, a newer."""
    if (entry.item.read_by is None) != (other.item.read_by is None):
        return entry.item.read_by is None
    date, other_date = _last_change(entry), _last_change(other)
    return date is not None and (other_date is None or date > other_date)


def _last_change(entry: ParsedEntry) -> datetime | None:
    return entry.item.updated_at or entry.item.published_at


def _link_or_title(entry: ParsedEntry) -> str:
    """Return what tells items of one guid apart: the link as written, else the title."""
    return entry.written_link or entry.item.title or ""


def _page_or_title(entry: ParsedEntry) -> str:
    """Return where an entry leads to, however its link is written, else the title."""
    link = entry.item.link or entry.written_link
    return place_of(link) if link else entry.item.title or ""


def _with_both_schemes(guids: Iterable[str]) -> set[str]:
    """Return guids, and those that differ from them in http or https only.

    A link that moves is also the link that stands in the suffix of its second name.
    """
    known = set(guids)
    others = {guid: other for guid in known if (other := other_scheme(guid)) is not None}
    suffixes = {
        suffixed_guid(other, other)
        for guid, other in others.items()
        if suffixed_guid(guid, guid) in known
    }
    return known | set(others.values()) | suffixes
