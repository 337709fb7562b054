"""What the items of an import are called, with regard to what their source has shown before."""

import html
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from server.importing.identity import Identified, identify
from server.importing.values import Fetched, Merged
from server.parsing import ParsedEntry
from server.parsing.links import other_scheme
from shared.models import FeedItem, content_hash, format_time, job_data, make_item_id, split_item_id
from shared.store import (
    DeadLetter,
    Import,
    JournalEntry,
    KnownGuids,
    StoredVersion,
    Stores,
)
from shared.store.sources import FIRST_REVISION, MAX_ALIASES

_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class _Content:
    """By what an item is recognised; the title may be as published, or as stored."""

    content_hash: str
    title: str | None
    published_at: str | None


def merge(stores: Stores, importing: Import, fetched: Fetched) -> Merged:
    """Merge the entries of all documents of an import by guid; reads nothing without any.

    The entry in which a damaged document breaks off is left out: it may come whole the next time.
    """
    documents = fetched.parsed
    if not any(parsed.entries or parsed.rejected for parsed in documents):
        return Merged()
    identified = identify_known(stores, importing, [parsed.entries for parsed in documents])
    rejected = [
        replace(entry, guid=identified.aliases.get(entry.guid, entry.guid))
        for parsed in documents
        for entry in parsed.rejected
        if not entry.is_cut
    ]
    return Merged(
        items=tuple(identified.items),
        rejected=tuple(rejected),
        duplicates=identified.duplicates,
        aliases=identified.aliases,
    )


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
    """Return whether titles are alike; dates that contradict each other make them different."""
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
        data = orjson.loads(entry.data_json)
        contents[entry.item_id] = _Content(
            entry.content_hash, _plain(data.get("title")), data.get("published_at")
        )
    return contents


def _read_open_journals(
    stores: Stores, importing: Import, item_ids: set[str]
) -> Iterator[JournalEntry]:
    """Yield what other imports of the source have still to store of items, oldest first."""
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


@dataclass(slots=True)
class OnRecord:
    """What is known of some items: their dead letters, their documents, the ids in journals."""

    letters: dict[str, DeadLetter] = field(default_factory=dict)
    stored: dict[str, StoredVersion] = field(default_factory=dict)
    journaled_ids: Collection[str] = frozenset()

    def __contains__(self, item_id: str) -> bool:
        """Return whether anything is known of an item."""
        return item_id in self.stored or item_id in self.letters or item_id in self.journaled_ids


class RecordReader:
    """Reads a source's dead letters, then its documents, as everybody has to who decides by them.

    Without letters no letters are read, and at a source's first import nothing at all: the
    ``revision`` that is imported tells it, and a look at the documents makes sure.
    """

    def __init__(self, stores: Stores, source: str, revision: int) -> None:
        """Look whether there is anything; after the open imports of the source were read."""
        self._stores = stores
        self._has_letters = stores.dead_letters.has_any(source)
        self._has_items = (
            self._has_letters or revision != FIRST_REVISION or stores.items.has_any(source)
        )

    def read(self, item_ids: Collection[str], on_record: OnRecord) -> None:
        """Add to ``on_record`` what is known of items: two reads a hundred of them at most."""
        if self._has_letters:
            on_record.letters.update(self._stores.dead_letters.read_many(item_ids))
        if self._has_items:
            on_record.stored.update(self._stores.items.read_versions(item_ids))


class MovedGuids:
    """Follows the moved guids of one import.

    A guid has moved when nothing is known of it, while the same URL of the other scheme is on
    record and not listed by this import. What was found is to be stored with :meth:`remember`, so
    that it holds also when both are listed one day.
    """

    def __init__(
        self, stores: Stores, source: str, *, listed: Iterable[str], aliases: Mapping[str, str]
    ) -> None:
        """Begin an import that lists the items ``listed``; ``aliases`` are the source's."""
        self._stores = stores
        self._source = source
        self._listed = set(listed)
        self._aliases = aliases
        self._found: dict[str, str] = {}

    def follow(
        self, item_ids: Iterable[str], on_record: OnRecord, reader: RecordReader
    ) -> dict[str, str]:
        """Return, by the ids of moved items, those under which they are known.

        ``on_record`` is what was read of ``item_ids``; what is read of the known ones is added.
        One look-up more a hundred unknown URLs, none where all are known.
        """
        unknown = (item_id for item_id in item_ids if item_id not in on_record)
        wanted = {
            item_id: other for item_id in unknown if (other := self._other_id(item_id)) is not None
        }
        if not wanted:
            return {}
        reader.read(list(wanted.values()), on_record)
        found = {item_id: other for item_id, other in wanted.items() if other in on_record}
        self._listed.update(found.values())
        for item_id, other in found.items():
            self._found[split_item_id(item_id)[1]] = split_item_id(other)[1]
        return found

    def look_up(self, item_ids: Iterable[str], revision: int) -> dict[str, str]:
        """Do as :meth:`follow` for items of which nothing was read yet."""
        urls = [item_id for item_id in item_ids if self._other_id(item_id) is not None]
        if not urls:
            return {}
        on_record, reader = OnRecord(), RecordReader(self._stores, self._source, revision)
        reader.read(urls, on_record)
        return self.follow(urls, on_record, reader)

    def rename_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Return dead letters under the ids that their items are known by."""
        letters = list(letters)
        ids = [letter.item_id for letter in letters]
        new_ids = self.look_up(ids, letters[0].revision) if letters else {}
        return [
            _renamed(letter, new_ids[letter.item_id]) if letter.item_id in new_ids else letter
            for letter in letters
        ]

    def remember(self) -> None:
        """Store with the source what was found, as far as there is room; the rest is found anew."""
        room = max(0, MAX_ALIASES - len(self._aliases))
        aliases = dict(sorted(self._found.items())[:room])
        if aliases:
            self._stores.sources.add_aliases(self._source, aliases)

    def _other_id(self, item_id: str) -> str | None:
        """Return the id of the other scheme's item, if this import does not list that."""
        guid = other_scheme(split_item_id(item_id)[1])
        if guid is None:
            return None
        other = make_item_id(self._source, self._aliases.get(guid, guid))
        return other if other not in self._listed else None


def _renamed(letter: DeadLetter, item_id: str) -> DeadLetter:
    return replace(letter, item_id=item_id, guid=split_item_id(item_id)[1])
