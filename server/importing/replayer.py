"""Replays dead letters: as an import of their own, with the revisions that they had."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

import orjson

from server.importing.enqueueing import AuditRequests, Enqueuer
from shared.clock import Clock
from shared.errors import InvalidRequestError, ItemError, QueueError, StoreUnavailable
from shared.logs import get_logger
from shared.models import content_hash, encode_json, get_reader, split_item_id
from shared.queue import AddOutcome
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
# What could not be read when it was fetched is not whole on record either.
UNREADABLE = "unreadable"


@dataclass(slots=True)
class Replay:
    """How a replay began: ``replayed`` items, in one import a source."""

    replayed: int = 0
    imports: list[Import] = field(default_factory=list)


class Replayer:
    """Replays dead letters. A letter is cleared only when its item is stored."""

    def __init__(
        self,
        *,
        stores: Stores,
        enqueuer: Enqueuer,
        audits: AuditRequests,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._enqueuer = enqueuer
        self._audits = audits
        self._clock = clock

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
        letters = self._stores.dead_letters
        if item_ids is not None:
            chosen = letters.select_dead(item_ids)
        else:
            chosen = letters.find_dead(source=source, cause=cause)
        replay = Replay()
        by_source = groupby(chosen, key=lambda item_id: split_item_id(item_id)[0])
        for one_source, ids in by_source:
            self._replay_source(one_source, list(ids), replay)
        return replay

    def _replay_source(self, source: str, item_ids: list[str], replay: Replay) -> None:
        """Journal chunk after chunk, commit, enqueue chunk after chunk: one is in memory."""
        chunks = split_entries(self._entries(item_ids))
        first = next(chunks, None)
        if first is None:
            return
        importing = self._insert_import(source)
        count = 0
        for number, chunk in enumerate(chain([first], chunks)):
            entries = self._still_dead(chunk)
            self._stores.journal.insert_chunk(importing.import_id, REPLAY_REVISION, number, entries)
            count += len(entries)
        if not self._commit(importing, count):
            # The auditor took it for one that never commits: nothing was replayed.
            log.warning("replay_overtaken", import_id=importing.import_id, source=source)
            return
        committed = self._stores.imports.get(importing.import_id)
        if committed is None:
            return
        replay.imports.append(committed)
        replay.replayed += count
        self._enqueue(committed)
        self._audits.note_committed()

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

    def _entries(self, item_ids: Sequence[str]) -> Iterator[JournalEntry]:
        for letter in self._stores.dead_letters.iterate_whole(item_ids):
            entry = _to_entry(letter)
            if entry is not None:
                yield entry


def _to_entry(letter: DeadLetter) -> JournalEntry | None:
    """Return the journal entry of an item to replay; None when its data cannot be run."""
    if letter.kind is not LetterKind.DEAD or letter.error_type == UNREADABLE:
        return None
    try:
        data: Any = orjson.loads(letter.data)
        if not isinstance(data, dict):
            return None
        data |= {"source": letter.source, "guid": letter.guid}
        # It is replayed because somebody wants it: no rollback of its interval is to stop it.
        data.pop("indexer", None)
        data.pop("epoch", None)
        return JournalEntry(
            letter.item_id,
            letter.revision,
            content_hash(data),
            encode_json(data),
            is_lenient=get_reader(data) is not None,
        )
    except (orjson.JSONDecodeError, ItemError, TypeError, AttributeError):
        return None
