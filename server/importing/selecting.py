"""Select what is to be journaled: what is not stored already, not dead, and can be stored."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import orjson

from server.importing.merging import MovedGuids, OnRecord, RecordReader
from server.importing.values import Candidate, Merged, Prepared, Run, Selected
from shared.errors import ItemError
from shared.models import (
    HASH_VERSION,
    FeedItem,
    encode_json,
    get_reader,
    job_data,
    make_guid,
    make_item_id,
    split_item_id,
    write_json,
)
from shared.store import (
    DeadLetter,
    Import,
    ImportState,
    JournalEntry,
    LetterKind,
    StoredVersion,
    Stores,
)
from shared.store.items import check_encodable

T = TypeVar("T")

# As many are compared, and held, at a time.
COMPARE_ITEMS = 500
# JSON of this size is no larger than MongoDB allows as BSON, whatever it holds.
_SURELY_STORABLE_BYTES = 2 * 1024 * 1024
_MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Rivals:
    """What other open imports of the source may still do to its items."""

    journaled_ids: frozenset[str] = frozenset()
    is_any_uncommitted: bool = False

    def may_touch(self, item_id: str) -> bool:
        """Return whether what is stored of an item may be about to change."""
        return self.is_any_uncommitted or item_id in self.journaled_ids


class Verdict(StrEnum):
    """What becomes of a candidate: it is journaled, or counted at once."""

    JOURNALED = "journaled"
    UNCHANGED = "unchanged"
    DEAD = "dead"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Compared:
    """The items to journal, and how many there are of each verdict."""

    entries: tuple[JournalEntry, ...] = ()
    counts: Mapping[Verdict, int] = field(default_factory=Counter)


def select(
    stores: Stores, run: Run, merged: Merged, *, queue: str, max_item_bytes: int, now: datetime
) -> Selected:
    """Select what is to be journaled. Safe to repeat; reads nothing when there are no items.

    What can never be stored gets a dead letter of ``queue``. What is found of moved guids is
    remembered with the source.
    """
    prepared = prepare(run, merged, queue=queue, max_item_bytes=max_item_bytes, now=now)
    prepared, superseded = _without_superseded(stores, merged, prepared)
    listed = [one.item_id for one in prepared.candidates]
    listed += [one.item_id for one in prepared.dead_letters]
    counts = {"fetched": len(listed) + prepared.duplicates, "duplicate": prepared.duplicates}
    if superseded:
        counts |= {"fetched": counts["fetched"] + superseded, "superseded": superseded}
    if not listed:
        return Selected(counts=counts)
    moved = MovedGuids(stores, run.source, listed=listed, aliases=merged.aliases)
    unstorable = tuple(moved.rename_letters(prepared.dead_letters))
    is_forced = run.importing.force
    dead_letters = unstorable if is_forced else _without_removed(stores, unstorable)
    if dead_letters:
        stores.dead_letters.record_many(dead_letters)
    compared = compare(stores, run.importing, run.revision, prepared.candidates, moved)
    moved.remember()
    counts |= {
        "unchanged": compared.counts[Verdict.UNCHANGED],
        "dead": compared.counts[Verdict.DEAD] + len(dead_letters),
        "removed": compared.counts[Verdict.REMOVED] + len(unstorable) - len(dead_letters),
    }
    return Selected(_with_revision(run, compared.entries), counts, dead_letters)


def _without_removed(stores: Stores, letters: tuple[DeadLetter, ...]) -> tuple[DeadLetter, ...]:
    """Leave out what an operator removed with just this content: it is not to be listed again."""
    if not letters:
        return letters
    removed = stores.dead_letters.select_removed(
        (letter.item_id, letter.content_hash) for letter in letters
    )
    return tuple(one for one in letters if (one.item_id, one.content_hash) not in removed)


def _without_superseded(stores: Stores, merged: Merged, prepared: Prepared) -> tuple[Prepared, int]:
    """Leave out what is stored, or dead, from a later answer than the kept body it is read from.

    No other import is open then, and one that begins now has a higher revision. Returns how many
    were left out, too; reads nothing but in a reparse.
    """
    if not merged.revisions:
        return prepared, 0
    ids = [one.item_id for one in prepared.candidates]
    ids += [one.item_id for one in prepared.dead_letters]
    old: set[str] = set()
    for some in _in_parts(ids):
        # In this order: a replay stores a letter's item before the letter goes.
        letters = stores.dead_letters.read_many(some)
        revisions = [(item_id, letter.revision) for item_id, letter in letters.items()]
        stored = stores.items.read_versions(some)
        revisions += [(item_id, version.revision) for item_id, version in stored.items()]
        for item_id, revision in revisions:
            fetched_at = merged.revisions.get(split_item_id(item_id)[1])
            if fetched_at is not None and fetched_at.is_older_than(revision):
                old.add(item_id)
    kept = Prepared(
        tuple(one for one in prepared.candidates if one.item_id not in old),
        tuple(one for one in prepared.dead_letters if one.item_id not in old),
        prepared.duplicates,
    )
    return kept, len(old)


def _with_revision(run: Run, entries: tuple[JournalEntry, ...]) -> tuple[JournalEntry, ...]:
    """Return entries at the revision that the run's items have, if that is not the run's own."""
    if run.content_revision == run.revision:
        return entries
    return tuple(replace(entry, revision=run.content_revision) for entry in entries)


def prepare(
    run: Run, merged: Merged, *, queue: str, max_item_bytes: int, now: datetime
) -> Prepared:
    """Encode and hash items; what can never be stored is dead at once. Pure.

    An id ends once an import: an unreadable twin of an item is a duplicate of it.
    """
    candidates: list[Candidate] = []
    dead: list[DeadLetter] = []
    for item in merged.items:
        try:
            candidates.append(_candidate(run.source, item, max_item_bytes))
        except ItemError as exc:
            data = job_data(run.source, item)
            dead.append(_dead_letter(run, item.guid, exc, data, queue, now))
    for entry in merged.rejected:
        error = ItemError("unreadable", entry.reason)
        data = {"guid": entry.guid, "title": entry.title, "link": entry.link}
        dead.append(_dead_letter(run, make_guid(entry.guid), error, data, queue, now))
    taken = {candidate.item_id for candidate in candidates}
    # The first of each id.
    unlike = {one.item_id: one for one in reversed(dead) if one.item_id not in taken}
    duplicates = merged.duplicates + len(dead) - len(unlike)
    return Prepared(tuple(candidates), tuple(reversed(unlike.values())), duplicates)


def _candidate(source: str, item: FeedItem, max_item_bytes: int) -> Candidate:
    data = job_data(source, item)
    data_json = encode_json(data)
    if len(data_json) > max_item_bytes:
        raise ItemError(
            "too_large",
            f"the item has {len(data_json)} bytes, JOB_MAX_BYTES allows {max_item_bytes}",
        )
    if not _is_surely_storable(item, data_json):
        check_encodable(data)
    return Candidate.of(make_item_id(source, item.guid), data, data_json)


def _is_surely_storable(item: FeedItem, data_json: bytes) -> bool:
    """Return whether what JSON could hold fits into BSON too, as nearly always; encodes nothing.

    Texts that JSON holds are storable, but for a NUL in a name; numbers only files have.
    """
    return (
        len(data_json) <= _SURELY_STORABLE_BYTES
        and b"\\u0000" not in data_json
        and not any((file.length or 0) > _MAX_INT for file in item.enclosures)
    )


def _dead_letter(
    run: Run, guid: str, error: ItemError, data: Mapping[str, Any], queue: str, now: datetime
) -> DeadLetter:
    written = write_json({"source": run.source, **data})
    return DeadLetter(
        item_id=make_item_id(run.source, guid),
        queue=queue,
        source=run.source,
        guid=guid,
        revision=run.content_revision,
        import_id=run.importing.import_id,
        # Equal to no hash of an item that can be stored: it is looked at anew at each fetch.
        content_hash=f"unstorable:{hashlib.sha256(written.encode()).hexdigest()}",
        kind=LetterKind.DEAD,
        reason=str(error),
        error_type=error.error_type,
        attempts=1,
        failed_at=now,
        data=written,
        read_by=get_reader(data),
    )


def compare(
    stores: Stores,
    importing: Import,
    revision: int,
    candidates: Sequence[Candidate],
    moved: MovedGuids,
) -> Compared:
    """Compare fetched items with the record; those that moved, under the ids they are known by.

    Reads, in this order, the other open imports of the source and their journals, the dead
    letters, the documents: the other way round, something could be stored in between and pass for
    what the publisher shows now. One round trip a hundred items, two if the source has letters,
    none at its first import.
    """
    if not candidates:
        return Compared()
    if importing.force:
        renamed = _rename(candidates, moved.look_up((one.item_id for one in candidates), revision))
        _readmit_removed(stores, importing.source, renamed)
        return Compared(tuple(candidate.entry(revision) for candidate in renamed))
    rivals = read_rivals(stores, importing, revision)
    reader = RecordReader(stores, importing.source, revision)
    judged = tuple(_judge_all(reader, rivals, candidates, moved))
    renewed = (
        (letter, one.content_hash)
        for one, letter, verdict in judged
        if letter is not None and verdict is Verdict.REMOVED and _needs_new_hash(letter, one)
    )
    stores.dead_letters.renew_hashes(renewed)
    return Compared(
        tuple(one.entry(revision) for one, _, verdict in judged if verdict is Verdict.JOURNALED),
        Counter(verdict for _, _, verdict in judged),
    )


def _readmit_removed(stores: Stores, source: str, candidates: Sequence[Candidate]) -> None:
    """Let in what an operator removed: whoever forces an import asks for all of it.

    Before the commit: after a crash in between it is the next import that stores it.
    """
    if not stores.dead_letters.has_any(source):
        return
    for some in _in_parts(candidates):
        contents = ((one.item_id, one.content_hash) for one in some)
        stores.dead_letters.readmit(stores.dead_letters.select_removed(contents))


def _judge_all(
    reader: RecordReader, rivals: Rivals, candidates: Sequence[Candidate], moved: MovedGuids
) -> Iterator[tuple[Candidate, DeadLetter | None, Verdict]]:
    for some in _in_parts(candidates):
        item_ids = [candidate.item_id for candidate in some]
        on_record = OnRecord(journaled_ids=rivals.journaled_ids)
        reader.read(item_ids, on_record)
        for one in _rename(some, moved.follow(item_ids, on_record, reader)):
            letter = on_record.letters.get(one.item_id)
            yield one, letter, judge(one, rivals, letter, on_record.stored.get(one.item_id))


def read_rivals(stores: Stores, importing: Import, revision: int) -> Rivals:
    """Read the other open imports of a source, and the ids that their journals hold.

    Another one that is fetching counts as uncommitted while its revision is lower or not drawn
    yet: it may have seen older content than this import and still store it.
    """
    others = [
        other
        for other in stores.imports.find_open(importing.source)
        if other.import_id != importing.import_id
    ]
    if not others:
        return Rivals()
    return Rivals(
        journaled_ids=frozenset(stores.journal.read_item_ids(other.import_id for other in others)),
        is_any_uncommitted=any(
            other.state is ImportState.FETCHING
            and (other.revision is None or other.revision < revision)
            for other in others
        ),
    )


def judge(
    candidate: Candidate,
    rivals: Rivals,
    letter: DeadLetter | None,
    version: StoredVersion | None,
) -> Verdict:
    """Return what becomes of an item, from its dead letter and its document. Pure."""
    if letter is not None and version is not None and letter.rank <= version.rank:
        letter = None
    if rivals.may_touch(candidate.item_id):
        return Verdict.JOURNALED
    if letter is not None and _is_removal_of_earlier_version(letter):
        return Verdict.REMOVED
    if version is not None and candidate.is_lenient and not version.is_lenient:
        # Whatever it holds: it may not be written over a strict reading.
        return Verdict.UNCHANGED
    if letter is not None and letter.content_hash == candidate.content_hash:
        return Verdict.REMOVED if letter.kind is LetterKind.REMOVED else Verdict.DEAD
    if version is not None and _is_stored(candidate, version, letter):
        return Verdict.UNCHANGED
    return Verdict.JOURNALED


def _rename(candidates: Sequence[Candidate], new_ids: Mapping[str, str]) -> Sequence[Candidate]:
    if not new_ids:
        return candidates
    return [
        _renamed(candidate, new_ids[candidate.item_id])
        if candidate.item_id in new_ids
        else candidate
        for candidate in candidates
    ]


def _renamed(candidate: Candidate, item_id: str) -> Candidate:
    data = orjson.loads(candidate.data_json) | {"guid": split_item_id(item_id)[1]}
    return replace(candidate, item_id=item_id, data_json=encode_json(data))


def _is_removal_of_earlier_version(letter: DeadLetter) -> bool:
    """Return whether an operator removed content whose hash cannot be compared with today's.

    What comes first after the upgrade is taken for it, else every removed item would come back.
    """
    version, _, _ = letter.content_hash.partition(":")
    is_earlier = version.isdecimal() and version != str(HASH_VERSION)
    return is_earlier and letter.kind is LetterKind.REMOVED


def _needs_new_hash(letter: DeadLetter, candidate: Candidate) -> bool:
    """Return whether a letter is to get today's hash; no lenient reading gives a strict one its."""
    is_comparable = candidate.is_lenient <= (letter.read_by is not None)
    return is_comparable and _is_removal_of_earlier_version(letter)


def _is_stored(candidate: Candidate, version: StoredVersion, letter: DeadLetter | None) -> bool:
    """Return whether storing a candidate would change nothing.

    It would also clear a letter, but for that of a strict reading, which no lenient one clears.
    """
    stays = letter is None or (letter.rank.is_strict and candidate.is_lenient)
    return (
        stays
        and version.content_hash == candidate.content_hash
        and version.is_lenient == candidate.is_lenient
        and version.counters_hash == candidate.counters_hash
    )


def _in_parts(many: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(many), COMPARE_ITEMS):
        yield many[start : start + COMPARE_ITEMS]
