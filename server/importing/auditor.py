"""Closes imports: derives their counts from the record, and adds again what is missing."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from server.feeds.endings import Endings
from server.importing.counts import count_settled
from server.importing.deriving import PENDING, REPLAY, Derived, derive_chunk
from server.importing.enqueueing import Enqueuer
from shared.clock import Clock
from shared.dead_jobs import clear_dead_letters
from shared.errors import QueueError, StoreError
from shared.logs import get_logger
from shared.queue import AddOutcome, JobQueue
from shared.store import Chunk, Import, Stores

log = get_logger("server.importing.auditor")

LOOK_EVERY_S = 0.25
# An import that does not move is looked at as often, and what it lacks is added again.
IDLE_S = 60.0
# Between two looks at an import that its live counters take for done.
MIN_GAP_S = 0.5


class Upkeep(Protocol):
    """What has to be looked after besides the imports that are under way."""

    def match_redis(self) -> bool:
        """Answer whether Redis was lost since the record was last matched with it."""

    def remember_redis(self) -> None:
        """Note that Redis now holds all that the record asks for."""

    def heal(self) -> None:
        """Finish what crashes left behind."""


@dataclass(slots=True)
class _Progress:
    """How far an import was when it last moved, and when that was."""

    settled: int
    moved_s: float
    looked_s: float = field(default=float("-inf"))


class Auditor:
    """Looks at open imports and closes those whose items have all come to an end.

    Any number of servers may run one: an import is claimed by a compare-and-set before it is
    looked at, and closing is one guarded update.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        enqueuer: Enqueuer,
        dead_letter_queue: JobQueue,
        upkeep: Upkeep,
        endings: Endings,
        clock: Clock,
        heal_every_s: float = 5.0,
        idle_s: float = IDLE_S,
    ) -> None:
        self._stores = stores
        self._enqueuer = enqueuer
        self._dead_letter_queue = dead_letter_queue
        self._upkeep = upkeep
        self._endings = endings
        self._clock = clock
        self._heal_every_s = heal_every_s
        self._idle_s = idle_s
        self._progress: dict[str, _Progress] = {}
        self._busy: set[str] = set()
        self._healed_s = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Look again and again until ``stop`` is set; no error ends it."""
        while not self._clock.wait(stop, LOOK_EVERY_S):
            try:
                self.look()
            except (StoreError, QueueError) as exc:
                log.warning("audit_failed", error=str(exc))
                self._clock.wait(stop, 1.0)
            except Exception:
                log.exception("audit_error")
                self._clock.wait(stop, 1.0)

    def note_busy(self, import_id: str) -> None:
        """Look at an import again soon: some of its items were active when they were added."""
        self._busy.add(import_id)

    def look(self) -> None:
        """Look once at everything that may be due."""
        was_lost = self._upkeep.match_redis()
        now_s = self._clock.monotonic_s()
        if was_lost or now_s - self._healed_s >= self._heal_every_s:
            self._upkeep.heal()
            self._healed_s = now_s
        committed = self._stores.imports.find_importing()
        self._forget_closed(committed)
        for importing, settled in zip(committed, self._read_settled(committed), strict=True):
            self._look_at(importing, settled, was_lost=was_lost)
        if was_lost:
            self._upkeep.remember_redis()

    def audit(self, importing: Import, *, add_missing: bool) -> bool:
        """Derive an import's counts; close it when nothing is pending. Answers whether it closed.

        ``add_missing``: put jobs of pending entries into their queue again. Safe at any moment.
        """
        self._stores.feeds.finish(importing)
        counts = Counter(importing.counts)
        derived_count = 0
        is_any_busy = False
        for chunk, derived in self._derive(importing):
            derived_count += len(derived)
            counts.update(one.ended_as for one in derived)
            pending = {one.item_id for one in derived if one.ended_as == PENDING}
            if pending and add_missing:
                is_any_busy |= self._add_again(importing, chunk, pending)
        self._note_busy_again(importing.import_id, is_any_busy)
        if derived_count < importing.journaled:
            # Its chunks are gone: another server closed it just now, or the journal was damaged.
            return self._report_incomplete(importing, derived_count)
        if counts[PENDING]:
            return False
        return self._close(importing, dict(counts))

    def _look_at(self, importing: Import, settled: int, *, was_lost: bool) -> None:
        now_s = self._clock.monotonic_s()
        progress = self._progress.setdefault(importing.import_id, _Progress(-1, now_s))
        if settled != progress.settled:
            progress.settled, progress.moved_s = settled, now_s
        is_idle = now_s - max(progress.moved_s, progress.looked_s) >= self._idle_s
        may_be_done = settled >= importing.journaled
        is_busy = importing.import_id in self._busy
        is_due = may_be_done or is_busy
        if not (was_lost or is_idle or (is_due and now_s - progress.looked_s >= MIN_GAP_S)):
            return
        progress.looked_s = now_s
        gap = timedelta(0) if was_lost else timedelta(seconds=MIN_GAP_S / 2)
        if self._stores.imports.claim_audit(importing, self._clock.now(), gap):
            self.audit(importing, add_missing=was_lost or is_idle or is_due)

    def _derive(self, importing: Import) -> Iterator[tuple[Chunk, list[Derived]]]:
        """Derive chunk by chunk; dead letters of what turns out to be stored are cleared."""
        revision = importing.revision or 0
        for chunk in self._stores.journal.chunks(importing.import_id, revision):
            letters = self._stores.dead_letters.read_many(chunk.item_ids)
            stored = self._stores.items.read_versions(chunk.item_ids)
            overtaken = {
                item_id: stored[item_id].revision
                for item_id, letter in letters.items()
                if item_id in stored and stored[item_id].revision >= letter.revision
            }
            clear_dead_letters(self._stores.dead_letters, self._dead_letter_queue, overtaken)
            yield (
                chunk,
                derive_chunk(
                    chunk,
                    is_replay=importing.trigger == REPLAY,
                    letters=letters,
                    stored=stored,
                ),
            )

    def _add_again(self, importing: Import, chunk: Chunk, pending: set[str]) -> bool:
        entries = self._stores.journal.read_entries(chunk)
        outcomes = self._enqueuer.enqueue(
            importing, [entry for entry in entries if entry.item_id in pending]
        )
        added = outcomes[AddOutcome.ADDED] + outcomes[AddOutcome.REPLACED]
        if added:
            log.info("jobs_added_again", import_id=importing.import_id, jobs=added)
        return outcomes[AddOutcome.BUSY] > 0

    def _note_busy_again(self, import_id: str, is_any_busy: bool) -> None:
        if is_any_busy:
            self._busy.add(import_id)
        else:
            self._busy.discard(import_id)

    def _report_incomplete(self, importing: Import, derived_count: int) -> bool:
        current = self._stores.imports.get(importing.import_id)
        if current is not None and current.is_open:
            log.error(
                "journal_incomplete",
                import_id=importing.import_id,
                journaled=importing.journaled,
                found=derived_count,
            )
        return False

    def _close(self, importing: Import, counts: dict[str, int]) -> bool:
        counts[PENDING] = 0
        now = self._clock.now()
        if counts.get("new"):
            self._stores.feeds.note_new_items(importing.source, now)
        if not self._stores.imports.complete(importing.import_id, counts, now):
            return False
        self._stores.journal.delete(importing.import_id)
        queue = self._enqueuer.queue_of(importing)
        queue.delete_tallies([importing.import_id])
        self._endings.tell_completed(importing, counts, queue=queue.name)
        return True

    def _read_settled(self, committed: Sequence[Import]) -> list[int]:
        """Return how many jobs of each import were settled, one call a queue."""
        by_queue: dict[JobQueue, list[str]] = {}
        for importing in committed:
            queue = self._enqueuer.queue_of(importing)
            by_queue.setdefault(queue, []).append(importing.import_id)
        settled: dict[str, int] = {}
        for queue, import_ids in by_queue.items():
            tallies = queue.read_tallies(import_ids)
            settled |= dict(zip(import_ids, map(count_settled, tallies), strict=True))
        return [settled[importing.import_id] for importing in committed]

    def _forget_closed(self, committed: Sequence[Import]) -> None:
        open_ids = {importing.import_id for importing in committed}
        self._progress = {
            import_id: progress
            for import_id, progress in self._progress.items()
            if import_id in open_ids
        }
        self._busy &= open_ids
