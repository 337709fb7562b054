"""What follows a commit: from the journal into an item queue, and a look of the auditor.

Enqueueing is one script call a chunk, safe to repeat.
"""

import threading
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shared.clock import Clock
from shared.models import encode_json
from shared.queue import AddOutcome, JobQueue, NewJob
from shared.store import Import, JournalEntry

ITEM_JOB_NAME = "item"


@dataclass(frozen=True, slots=True)
class ItemJobOptions:
    """How often an item is run, and how long the first wait between two runs is."""

    attempts: int
    backoff_ms: int


class Enqueuer:
    """Adds an import's items to the queue that the import chose at its commit."""

    def __init__(
        self,
        *,
        light_queue: JobQueue,
        heavy_queue: JobQueue,
        heavy_items: int,
        options: ItemJobOptions,
    ) -> None:
        self._queues = {queue.name: queue for queue in (light_queue, heavy_queue)}
        self._light = light_queue
        self._heavy = heavy_queue
        self._heavy_items = heavy_items
        self._options = options

    def choose_queue(self, importing: Import, journaled: int) -> str:
        """Return the name of the queue for an import: a big one must not delay a small one."""
        is_heavy = importing.is_heavy_feed or journaled > self._heavy_items
        return self._heavy.name if is_heavy else self._light.name

    def queue_of(self, importing: Import) -> JobQueue:
        """Return the queue of a committed import; the light one for a name that is gone."""
        return self._queues.get(importing.queue or "", self._light)

    def enqueue(self, importing: Import, entries: Sequence[JournalEntry]) -> Counter[AddOutcome]:
        """Add jobs for journal entries; an id that waits keeps or gets the higher revision.

        Raises:
            QueueUnavailable: some may be missing; the auditor, or the same call again, adds them.
        """
        jobs = [self._job(importing, entry) for entry in entries]
        return Counter(self.queue_of(importing).add_many(jobs)) if jobs else Counter()

    def _job(self, importing: Import, entry: JournalEntry) -> NewJob:
        return NewJob(
            id=entry.item_id,
            name=ITEM_JOB_NAME,
            data=_with_origin(entry, importing),
            revision=entry.revision,
            tally=importing.import_id,
            attempts=self._options.attempts,
            backoff_ms=self._options.backoff_ms,
        )


def _with_origin(entry: JournalEntry, importing: Import) -> bytes:
    """Return an entry's data with its import and revision, as a rule without encoding it again.

    Of an interval's import also with its indexer and epoch, by which workers know what is stale.
    """
    origin: dict[str, Any] = {"import_id": importing.import_id, "revision": entry.revision}
    if importing.indexer is not None:
        origin |= {"indexer": importing.indexer, "epoch": importing.epoch}
    if b'"import_id":' in entry.data_json or b'"revision":' in entry.data_json:
        # A replay: the data of its job before.
        return encode_json(orjson.loads(entry.data_json) | origin)
    return entry.data_json[:-1] + b"," + encode_json(origin)[1:]


class AuditRequests:
    """Imports that were committed here, and those to be looked at again soon.

    Safe for threads. The auditor looks often while anything is open, and rarely when nothing is:
    :meth:`note_committed` ends its rest. Some items of an import may have been in flight when they
    were to be added: :meth:`note_busy` marks it. A mark is set after its import's commit, taken
    when an audit of it begins, and so never lost: one that is set during an audit stays for the
    next.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._busy_ids: set[str] = set()
        self._woken = threading.Event()

    def note_committed(self) -> None:
        """End the auditor's rest: an import was committed, or the process is to stop."""
        self._woken.set()

    def rest(self, clock: Clock, longest_s: float) -> None:
        """Wait until something was committed since the last call, at most ``longest_s``."""
        clock.wait(self._woken, longest_s)
        # What is committed from here on is read by the look that follows, or ends the next rest.
        self._woken.clear()

    def note_busy(self, import_id: str) -> None:
        """Ask for another audit of an import that is committed."""
        with self._mutex:
            self._busy_ids.add(import_id)
        self._woken.set()

    def take_busy(self, import_id: str) -> None:
        """Take the mark of an import whose audit begins now."""
        with self._mutex:
            self._busy_ids.discard(import_id)

    def forget_busy(self, import_ids: Collection[str]) -> None:
        """Drop the marks of imports that are closed."""
        with self._mutex:
            self._busy_ids.difference_update(import_ids)

    def read_busy(self) -> frozenset[str]:
        """Return the imports that are marked at this moment."""
        with self._mutex:
            return frozenset(self._busy_ids)
