"""Replays dead letters: as an import of their own, with the revisions that they had."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, groupby
from typing import Any

import orjson

from server.importing.enqueueing import AuditRequests, Enqueuer
from shared.clock import Clock
from shared.errors import InvalidRequestError, ItemError, QueueError, StoreUnavailable
from shared.logs import get_logger
from shared.models import content_hash, encode_json, get_reader, read_identity, split_item_id
from shared.queue import AddOutcome
from shared.queue.reading import load_json
from shared.store import (
    DeadLetter,
    Import,
    ImportState,
    JournalEntry,
    Stores,
    Trigger,
    new_import_id,
)
from shared.store.dead_letter_documents import LetterKind
from shared.store.imports import empty_counts
from shared.store.journal import split_entries

log = get_logger("server.importing.replayer")

# No fetch, so no draw: one run only, and its items keep the revisions that they failed with.
REPLAY_REVISION = 0


class Obstacle(StrEnum):
    """Why a dead letter that was chosen is not replayed, as a stable word for programs."""

    TOO_LARGE = "too_large"  # its data has more than JOB_MAX_BYTES
    UNREADABLE = "unreadable"  # not read when it was fetched, so not whole on record either
    UNDECODABLE = "undecodable"  # its data is no JSON object that names its item
    REMOVED = "removed"  # an operator removed it
    NOT_FOUND = "not_found"  # it is no dead letter, or no longer
    OVERTAKEN = "overtaken"  # the auditor gave this replay up before it was committed


@dataclass(slots=True)
class Replay:
    """How a replay began: ``replayed`` items, in one import a source.

    Every letter that was chosen counts once: in ``replayed`` or in ``not_replayed``.
    """

    replayed: int = 0
    imports: list[Import] = field(default_factory=list)
    not_replayed: Counter[Obstacle] = field(default_factory=Counter)


class Replayer:
    """Replays dead letters. A letter is cleared only when its item is stored."""

    def __init__(
        self,
        *,
        stores: Stores,
        enqueuer: Enqueuer,
        audits: AuditRequests,
        clock: Clock,
        max_item_bytes: int,
    ) -> None:
        self._stores = stores
        self._enqueuer = enqueuer
        self._audits = audits
        self._clock = clock
        self._max_item_bytes = max_item_bytes

    def replay(
        self,
        *,
        item_ids: Sequence[str] | None = None,
        source: str | None = None,
        cause: str | None = None,
        everything: bool = False,
    ) -> Replay:
        """Replay the dead (not removed) ones that were chosen, in exactly one way.

        Newer content is never overwritten: the items keep their revisions. When this returns the
        imports are committed; their items are stored even if Redis is lost now.

        Raises:
            InvalidRequestError: none or several ways to choose were given.
        """
        ways = [item_ids is not None, source is not None, cause is not None, everything]
        if sum(ways) != 1:
            raise InvalidRequestError('give exactly one of "ids", "source", "cause", "all": true')
        replay = Replay()
        letters = self._stores.dead_letters
        if item_ids is not None:
            chosen = letters.select_dead(item_ids)
            replay.not_replayed += self._count_absent(set(item_ids) - set(chosen))
        else:
            chosen = letters.find_dead(source=source, cause=cause)
        by_source = groupby(chosen, key=lambda item_id: split_item_id(item_id)[0])
        for one_source, ids in by_source:
            self._replay_source(one_source, list(ids), replay)
        return replay

    def _count_absent(self, item_ids: Iterable[str]) -> Counter[Obstacle]:
        """Return why these are not dead."""
        absent = set(item_ids)
        found = self._stores.dead_letters.read_many(absent).values()
        removed = sum(letter.kind is LetterKind.REMOVED for letter in found)
        return Counter({Obstacle.REMOVED: removed, Obstacle.NOT_FOUND: len(absent) - removed})

    def _replay_source(self, source: str, item_ids: list[str], replay: Replay) -> None:
        refused: Counter[Obstacle] = Counter()
        replayed = 0
        chunks = split_entries(self._entries(item_ids, refused))
        first = next(chunks, None)
        if first is not None:
            committed, stored = self._store(source, chain([first], chunks))
            if committed is None:
                refused[Obstacle.OVERTAKEN] = stored
            else:
                replay.imports.append(committed)
                replayed = stored
        # Those that were stored, removed or spoilt since they were chosen.
        refused[Obstacle.NOT_FOUND] = len(item_ids) - replayed - refused.total()
        replay.replayed += replayed
        replay.not_replayed += refused

    def _store(
        self, source: str, chunks: Iterable[Sequence[JournalEntry]]
    ) -> tuple[Import | None, int]:
        """Journal chunk after chunk, commit, enqueue chunk after chunk: one is in memory.

        Returns the import, None if the auditor took it for one that never commits, and how many
        items it has.
        """
        importing = self._insert_import(source)
        count = 0
        for number, chunk in enumerate(chunks):
            entries = self._still_dead(chunk)
            self._stores.journal.insert_chunk(importing.import_id, REPLAY_REVISION, number, entries)
            count += len(entries)
        is_committed = self._commit(importing, count)
        committed = self._stores.imports.get(importing.import_id) if is_committed else None
        if committed is None:
            log.warning("replay_overtaken", import_id=importing.import_id, source=source)
            return None, count
        self._enqueue(committed)
        self._audits.note_committed()
        return committed, count

    def _still_dead(self, chunk: Sequence[JournalEntry]) -> list[JournalEntry]:
        """Return what is dead also now that the import is there.

        A rollback deletes letters first and looks for replays then: it sees this one, or this one
        sees that the letters are gone.
        """
        dead = set(self._stores.dead_letters.select_dead(entry.item_id for entry in chunk))
        return [entry for entry in chunk if entry.item_id in dead]

    def _insert_import(self, source: str) -> Import:
        """Insert the import before its chunks, which would look like garbage without it."""
        now = self._clock.now()
        importing = Import(
            import_id=new_import_id(now),
            source=source,
            urls=[],
            trigger=Trigger.REPLAY,
            state=ImportState.FETCHING,
            requested_at=now,
            started_at=now,
            revision=REPLAY_REVISION,
        )
        self._stores.imports.insert(importing)
        return importing

    def _commit(self, importing: Import, count: int) -> bool:
        return self._stores.imports.commit(
            importing.import_id,
            REPLAY_REVISION,
            {
                "state": ImportState.IMPORTING,
                "counts": {**empty_counts(), "fetched": count},
                "journaled": count,
                "queue": self._enqueuer.choose_queue(importing, count),
            },
        )

    def _enqueue(self, committed: Import) -> None:
        journal = self._stores.journal
        try:
            for chunk in journal.chunks(committed.import_id, REPLAY_REVISION):
                added = self._enqueuer.enqueue(committed, journal.read_entries(chunk))
                if added[AddOutcome.BUSY]:
                    self._audits.note_busy(committed.import_id)
        except (QueueError, StoreUnavailable) as exc:
            # Committed is what counts: the auditor adds the jobs when both stores are back.
            log.warning("replay_not_enqueued", import_id=committed.import_id, error=str(exc))

    def _entries(
        self, item_ids: Sequence[str], refused: Counter[Obstacle]
    ) -> Iterator[JournalEntry]:
        """Yield what can be run; the rest is counted in ``refused``."""
        for letter in self._stores.dead_letters.iterate_whole(item_ids):
            entry = to_entry(letter, self._max_item_bytes)
            if isinstance(entry, JournalEntry):
                yield entry
            else:
                refused[entry] += 1


def to_entry(letter: DeadLetter, max_item_bytes: int) -> JournalEntry | Obstacle:
    """Return the journal entry of an item to replay, or why its data cannot be run. Pure."""
    if letter.kind is not LetterKind.DEAD:
        return Obstacle.REMOVED
    if letter.error_type == Obstacle.UNREADABLE:
        return Obstacle.UNREADABLE
    if letter.error_type == Obstacle.TOO_LARGE and not letter.data:
        return Obstacle.TOO_LARGE
    try:
        data: Any = load_json(letter.data)
        if not isinstance(data, dict) or read_identity(data) is None:
            # No item has the name that such a letter got of its job's id.
            return Obstacle.UNDECODABLE
        data |= {"source": letter.source, "guid": letter.guid}
        # It is replayed because somebody wants it: no rollback of its interval is to stop it.
        data.pop("indexer", None)
        data.pop("epoch", None)
        data_json = encode_json(data)
        if len(data_json) > max_item_bytes:
            return Obstacle.TOO_LARGE
        return JournalEntry(
            letter.item_id,
            letter.revision,
            content_hash(data),
            data_json,
            is_lenient=get_reader(data) is not None,
        )
    except (orjson.JSONDecodeError, ItemError, TypeError, AttributeError):
        return Obstacle.UNDECODABLE


def find_obstacle(letter: DeadLetter, max_item_bytes: int) -> Obstacle | None:
    """Return why a whole letter cannot be replayed, or None. Pure."""
    entry = to_entry(letter, max_item_bytes)
    return entry if isinstance(entry, Obstacle) else None
