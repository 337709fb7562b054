"""Sort fetched items: what is stored already, what is dead, and what has to be brought home."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from server.importing.moved_guids import MovedGuids, OnRecord
from shared.models import HASH_VERSION, counters_hash, split_item_id
from shared.store import (
    DeadLetter,
    Import,
    ImportState,
    JournalEntry,
    StoredVersion,
    Stores,
    get_reader,
)
from shared.store.dead_letter_documents import LetterKind

# As many are compared, and held, at a time.
COMPARE_ITEMS = 500


@dataclass(frozen=True, slots=True)
class Candidate:
    """One fetched item: its id, the hash of its content, and its job's data."""

    item_id: str
    content_hash: str
    data: dict[str, Any]

    @property
    def is_lenient(self) -> bool:
        """Tell whether a lenient reader made it."""
        return get_reader(self.data) is not None


@dataclass(slots=True)
class Compared:
    """The items to journal, and the counts that are final."""

    entries: list[JournalEntry] = field(default_factory=list)
    unchanged: int = 0
    dead: int = 0
    removed: int = 0
    # By item id: the letters of removals whose hash is of an earlier version, and today's hash.
    renewed: dict[str, tuple[DeadLetter, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rivals:
    """What other open imports of the source may still do to its items."""

    journaled_ids: frozenset[str]
    is_any_uncommitted: bool

    def may_touch(self, item_id: str) -> bool:
        """Tell whether what is stored of an item may be about to change."""
        return self.is_any_uncommitted or item_id in self.journaled_ids


def compare(
    stores: Stores,
    importing: Import,
    revision: int,
    candidates: Sequence[Candidate],
    moved: MovedGuids | None = None,
) -> Compared:
    """Compare fetched items with the record; those that moved, under the ids they are known by.

    Reads, in this order, the other open imports of the source and their journals, the dead
    letters, the documents: read the other way round, something could come home in between and
    pass for what the publisher shows now. Two round trips a hundred items, two more in all.
    """
    compared = Compared()
    if importing.force:
        if moved is not None:
            candidates = _rename(candidates, moved.look_up(one.item_id for one in candidates))
        compared.entries = [_entry(candidate, revision) for candidate in candidates]
        return compared
    rivals = read_rivals(stores, importing, revision)
    for some in _in_parts(candidates):
        item_ids = [candidate.item_id for candidate in some]
        letters = stores.dead_letters.read_many(item_ids)
        stored = stores.items.read_versions(item_ids)
        if moved is not None:
            on_record = OnRecord(letters, stored, rivals.journaled_ids)
            some = _rename(some, moved.follow(item_ids, on_record))
        for candidate in some:
            _sort(candidate, revision, rivals, letters, stored, compared)
    stores.dead_letters.renew_hashes(compared.renewed.values())
    return compared


def read_rivals(stores: Stores, importing: Import, revision: int) -> Rivals:
    """Read the other open imports of a source, and the ids that their journals hold.

    Another one that is fetching counts as uncommitted while its revision is lower or not drawn
    yet: it may have seen older content than this import and still bring it home.
    """
    others = [
        other
        for other in stores.imports.find_open(importing.source)
        if other.import_id != importing.import_id
    ]
    journaled_ids = (
        stores.journal.read_item_ids(other.import_id for other in others) if others else set()
    )
    return Rivals(
        journaled_ids=frozenset(journaled_ids),
        is_any_uncommitted=any(
            other.state is ImportState.FETCHING
            and (other.revision is None or other.revision < revision)
            for other in others
        ),
    )


def _sort(
    candidate: Candidate,
    revision: int,
    rivals: Rivals,
    letters: dict[str, DeadLetter],
    stored: dict[str, StoredVersion],
    compared: Compared,
) -> None:
    letter = letters.get(candidate.item_id)
    version = stored.get(candidate.item_id)
    if letter is not None and version is not None and letter.rank <= version.rank:
        letter = None
    if rivals.may_touch(candidate.item_id):
        compared.entries.append(_entry(candidate, revision))
    elif letter is not None and _is_removal_of_earlier_version(letter):
        compared.removed += 1
        if candidate.is_lenient <= (letter.read_by is not None):
            compared.renewed[candidate.item_id] = letter, candidate.content_hash
    elif version is not None and candidate.is_lenient and not version.is_lenient:
        # Whatever it holds: it may not be written over a strict reading.
        compared.unchanged += 1
    elif letter is not None and letter.content_hash == candidate.content_hash:
        if letter.kind is LetterKind.REMOVED:
            compared.removed += 1
        else:
            compared.dead += 1
    elif version is not None and _is_stored(candidate, version, letter):
        compared.unchanged += 1
    else:
        compared.entries.append(_entry(candidate, revision))


def _rename(candidates: Sequence[Candidate], new_ids: Mapping[str, str]) -> list[Candidate]:
    renamed = []
    for candidate in candidates:
        item_id = new_ids.get(candidate.item_id, candidate.item_id)
        if item_id != candidate.item_id:
            data = {**candidate.data, "guid": split_item_id(item_id)[1]}
            candidate = replace(candidate, item_id=item_id, data=data)
        renamed.append(candidate)
    return renamed


def _is_removal_of_earlier_version(letter: DeadLetter) -> bool:
    """Tell whether an operator removed content whose hash cannot be compared with today's.

    What comes first after the upgrade is taken for it, else every removed item would come back.
    """
    version, _, _ = letter.content_hash.partition(":")
    is_earlier = version.isdecimal() and version != str(HASH_VERSION)
    return is_earlier and letter.kind is LetterKind.REMOVED


def _is_stored(candidate: Candidate, version: StoredVersion, letter: DeadLetter | None) -> bool:
    """Tell whether storing a candidate would change nothing.

    It would also clear a letter, but for that of a strict reading, which no lenient one clears.
    """
    stays = letter is None or (letter.rank.is_strict and candidate.is_lenient)
    return (
        stays
        and version.content_hash == candidate.content_hash
        and version.is_lenient == candidate.is_lenient
        and version.counters_hash == counters_hash(candidate.data)
    )


def _entry(candidate: Candidate, revision: int) -> JournalEntry:
    return JournalEntry(candidate.item_id, revision, candidate.content_hash, candidate.data)


def _in_parts(candidates: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
    for start in range(0, len(candidates), COMPARE_ITEMS):
        yield candidates[start : start + COMPARE_ITEMS]
