"""The guids of an import's items, with regard to what their source has shown and stored before."""

import html
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.importing.identity import Identified, identify
from server.parsing import ParsedEntry
from server.parsing.urls import other_scheme
from shared.models import FeedItem, content_hash, format_time, job_data, make_item_id, split_item_id
from shared.store import Import, JournalEntry, KnownGuids, Stores

_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class _Content:
    """By what an item is recognised; the title may be as published, or as stored."""

    content_hash: str
    title: str | None
    published_at: str | None


def identify_known(
    stores: Stores, importing: Import, entries_by_url: Sequence[Sequence[ParsedEntry]]
) -> Identified:
    """Merge an import's entries by guid, and remember with the source what that showed.

    When different items share a guid for the first time, the one whose content is stored under it
    already keeps it. Costs one read of the source, and more only then.
    """
    known = stores.sources.read_known_guids(importing.source)
    identified = _identify(entries_by_url, known)
    if identified.colliding <= known.colliding:
        return identified
    for shared, guid, stored in _find_keepers(stores, importing, identified, known):
        stores.sources.keep_guid(importing.source, shared, guid, stored)
    stores.sources.add_colliding_guids(importing.source, identified.colliding - known.colliding)
    # Another run may have decided meanwhile who keeps what.
    return _identify(entries_by_url, stores.sources.read_known_guids(importing.source))


def _identify(entries_by_url: Sequence[Sequence[ParsedEntry]], known: KnownGuids) -> Identified:
    return identify(entries_by_url, colliding=known.colliding, aliases=known.aliases)


def _find_keepers(
    stores: Stores, importing: Import, identified: Identified, known: KnownGuids
) -> Iterator[tuple[str, str, str]]:
    """Yield each guid found shared, the guid of its keeper, and what that is stored as."""
    source, claims = importing.source, identified.claims
    places = {shared: _places(shared, claims.keys(), known) for shared in claims}
    guids = {guid for some in places.values() for guid in some}
    contents = _read_contents(stores, importing, {make_item_id(source, guid) for guid in guids})
    by_guid = {split_item_id(item_id)[1]: content for item_id, content in contents.items()}
    for shared, items in claims.items():
        stored = next((guid for guid in places[shared] if guid in by_guid), None)
        keeper = _find_same(by_guid[stored], source, items) if stored is not None else None
        if stored is not None and keeper is not None:
            yield shared, keeper.guid, stored


def _places(shared: str, claimed: Collection[str], known: KnownGuids) -> list[str]:
    """Return under which guids the item that had a guid may be stored: also with its old scheme."""
    other = other_scheme(shared)
    moved_from = [other] if other is not None and other not in claimed else []
    return [known.aliases.get(shared, shared), *moved_from]


def _find_same(stored: _Content, source: str, items: Iterable[FeedItem]) -> FeedItem | None:
    """Return the one item that is the stored one by its content, else by its title and date."""
    contents = [(item, _content_of(job_data(source, item))) for item in items]
    tests = (_has_same_hash, _has_same_title_and_date, _has_same_title)
    for is_same in tests:
        found = [item for item, content in contents if is_same(content, stored)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _has_same_hash(content: _Content, stored: _Content) -> bool:
    return content.content_hash == stored.content_hash


def _has_same_title_and_date(content: _Content, stored: _Content) -> bool:
    return _has_same_title(content, stored) and content.published_at == stored.published_at


def _has_same_title(content: _Content, stored: _Content) -> bool:
    """Tell whether titles are alike; dates that contradict each other make them different."""
    dates = {content.published_at, stored.published_at} - {None}
    return bool(content.title) and content.title == stored.title and len(dates) < 2


def _read_contents(stores: Stores, importing: Import, item_ids: set[str]) -> Mapping[str, _Content]:
    """Return by id what items were last seen to hold: stored, dead, or still to be stored."""
    contents: dict[str, _Content] = {}
    for item_id, letter in stores.dead_letters.read_many(item_ids).items():
        contents[item_id] = _Content(letter.content_hash, None, None)
    for item_id, document in stores.items.read_contents(item_ids).items():
        contents[item_id] = _content_of(document)
    for entry in _read_open_journals(stores, importing, item_ids):
        contents[entry.item_id] = _Content(
            entry.content_hash, _plain(entry.data.get("title")), entry.data.get("published_at")
        )
    return contents


def _read_open_journals(
    stores: Stores, importing: Import, item_ids: set[str]
) -> Iterator[JournalEntry]:
    """Yield what other imports of the source have still to bring home of items, oldest first."""
    others = [
        other
        for other in stores.imports.find_open(importing.source)
        if other.import_id != importing.import_id and other.revision is not None
    ]
    for other in sorted(others, key=lambda other: other.revision or 0):
        for chunk in stores.journal.chunks(other.import_id, other.revision or 0):
            if not item_ids.isdisjoint(chunk.item_ids):
                entries = stores.journal.read_entries(chunk)
                yield from (entry for entry in entries if entry.item_id in item_ids)


def _content_of(fields: Mapping[str, Any]) -> _Content:
    """Return by what an item is recognised, from its document or its job's data."""
    digest = fields.get("content_hash") or content_hash(fields)
    published = fields.get("published_at")
    if isinstance(published, datetime):
        published = format_time(published)
    return _Content(str(digest), _plain(fields.get("title")), published)


def _plain(title: object) -> str | None:
    """Return a title in a form that is the same for its HTML and its plain text."""
    if not isinstance(title, str):
        return None
    text = html.unescape(_TAG.sub("", html.unescape(title)))
    return " ".join(_TAG.sub("", text).split()) or None
