"""Closes imports: derives their counts from the record, and adds again what is missing."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from server.feeds.outcomes import Outcomes
from server.importing.deriving import PENDING, Derived, count_settled, derive_chunk
from server.importing.enqueueing import AuditRequests, Enqueuer
from server.importing.healer import Healer
from shared.clock import Clock
from shared.dead_jobs import clear_dead_letters
from shared.errors import (
    FeedmillError,
    QueueError,
    QueueFull,
    QueueUnavailable,
    StoreError,
    StoreUnavailable,
)
from shared.logs import get_logger
from shared.queue import AddOutcome, JobQueue
from shared.store import Chunk, Import, Stores, Trigger
from shared.store.imports import empty_counts
from shared.supervision import Supervisor

log = get_logger("server.importing.auditor")

# While imports are open; while none is, other servers' commits are seen as late as this.
LOOK_EVERY_S = 0.25
REST_S = 1.0
OUTAGE_WAIT_S = 1.0
# An import that does not move is looked at as often, and what it lacks is added again.
IDLE_S = 60.0
# Between two looks at an import that its live counters take for done.
MIN_GAP_S = 0.5
# After an audit that failed, doubled with each one more, up to the minute of one that stands still.
FIRST_RETRY_S = 1.0
# So many ids are named in one line of the log.
NAMED_IMPORTS = 20


@dataclass(slots=True)
class _Progress:
    """How far an import was when it last moved, and when that was.

    ``is_owed``: its last audit did not come to its end. ``failures`` of them in a row.
    """

    settled: int
    moved_s: float
    looked_s: float = float("-inf")
    is_owed: bool = False
    failures: int = 0

    def may_retry(self, now_s: float) -> bool:
        """Return whether the pause after its last failure, if any, is over."""
        if not self.failures:
            return True
        return now_s - self.looked_s >= min(IDLE_S, FIRST_RETRY_S * 2.0 ** (self.failures - 1))


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
        healer: Healer,
        requests: AuditRequests,
        outcomes: Outcomes,
        clock: Clock,
        heal_every_s: float = 5.0,
        idle_s: float = IDLE_S,
    ) -> None:
        self._stores = stores
        self._enqueuer = enqueuer
        self._dead_letter_queue = dead_letter_queue
        self._healer = healer
        self._outcomes = outcomes
        self._clock = clock
        self._heal_every_s = heal_every_s
        self._idle_s = idle_s
        self._progress: dict[str, _Progress] = {}
        self._requests = requests
        self._has_open = True
        self._healed_s = float("-inf")

    def start(self, supervisor: Supervisor, stop: threading.Event) -> None:
        """Look again and again until ``stop`` is set, on a supervised thread."""
        supervisor.start("auditor", self._step, stop)

    def _step(self) -> float:
        try:
            went_well = self.look()
        except (StoreError, QueueError) as exc:
            log.warning("audit_failed", error=str(exc))
            return OUTAGE_WAIT_S
        if not went_well:
            return OUTAGE_WAIT_S
        if self._has_open:
            return LOOK_EVERY_S
        self._requests.rest(self._clock, REST_S)
        return 0.0

    def look(self) -> bool:
        """Look once at everything that may be due; answers whether all of it could be done.

        An import that cannot be audited is logged with its id, tried again with growing pauses,
        and holds up no other.

        Raises:
            StoreUnavailable, QueueUnavailable: a store is away, so for all of them.
        """
        was_lost, is_full = self._match_redis()
        now_s = self._clock.monotonic_s()
        if was_lost or now_s - self._healed_s >= self._heal_every_s:
            self._heal()
            self._healed_s = now_s
        # Read before the imports: a mark that is set later may be of one that is not among them.
        marked = self._requests.read_busy()
        committed = self._stores.imports.find_importing()
        self._has_open = bool(committed)
        self._forget_closed(committed, marked)
        failed: dict[str, FeedmillError] = {}
        for importing, settled in zip(committed, self._read_settled(committed), strict=True):
            self._look_at_one(importing, settled, failed, was_lost=was_lost)
        _report_failed(failed)
        if was_lost and not failed:
            self._healer.remember_redis()
        return not (failed or is_full)

    def _heal(self) -> None:
        """Heal; what fails in that is logged, and holds up no audit."""
        try:
            self._healer.heal()
        except (QueueError, StoreError) as exc:
            if _is_for_all(exc):
                raise
            log.warning("healing_failed", error=str(exc))
        except Exception:
            log.exception("healing_error")

    def audit(self, importing: Import, *, add_missing: bool) -> bool:
        """Derive an import's counts; close it when nothing is pending. Answers whether it closed.

        ``add_missing``: put jobs of pending entries into their queue again. Safe at any moment.
        """
        if self._is_stale(importing):
            return False
        self._stores.feeds.finish(importing)
        counts = Counter(importing.counts)
        derived_count = 0
        for chunk, derived in self._derive(importing):
            derived_count += len(derived)
            counts.update(one.outcome for one in derived)
            pending = {one.item_id for one in derived if one.outcome == PENDING}
            if pending and add_missing:
                self._add_again(importing, chunk, pending)
        if derived_count < importing.journaled:
            # Its chunks are gone: another server closed it just now, or the journal was damaged.
            return self._report_incomplete(importing, derived_count)
        if counts[PENDING]:
            return False
        return self._close(importing, dict(counts))

    def close_stale(self, importing: Import) -> bool:
        """Close an import of an earlier epoch: what is pending is superseded, for it never comes.

        Only once nobody holds a job of it: what is stored later would be counted wrongly. Answers
        whether this closed it.
        """
        outcomes = [one.outcome for _, derived in self._derive(importing) for one in derived]
        if len(outcomes) < importing.journaled:
            return self._report_incomplete(importing, len(outcomes))
        counts = Counter(importing.counts) + Counter(outcomes)
        counts["superseded"] += counts.pop(PENDING, 0)
        return self._close(importing, {**empty_counts(), **counts})

    def _is_stale(self, importing: Import) -> bool:
        """Return whether an import's interval was rolled back; ordinary imports cost nothing here.

        Its jobs are not added again: a rollback waits for those that are being worked on, and then
        closes it. What settled rollbacks left open, as by damage, is closed here.

        Raises:
            UnreadableDocument: the indexer is there, but nothing is known of its epoch.
        """
        name, epoch = importing.indexer, importing.epoch
        if name is None or epoch is None:
            return False
        state = self._stores.intervals.get(name)
        if state is not None and state.epoch == epoch:
            return False
        if state is None or state.settled_epoch >= state.epoch:
            self.close_stale(importing)
        return True

    def _match_redis(self) -> tuple[bool, bool]:
        """Return whether Redis was lost, and whether it has no room for what that asks for."""
        try:
            return self._healer.match_redis(), False
        except QueueFull as exc:
            # Imports can be closed all the same, and make room.
            log.warning("redis_not_matched", error=str(exc))
            return False, True

    def _look_at_one(
        self,
        importing: Import,
        settled: int,
        failed: dict[str, FeedmillError],
        *,
        was_lost: bool,
    ) -> None:
        """Look at one import; what fails in it alone is kept in ``failed``, or logged here."""
        try:
            self._look_at(importing, settled, was_lost=was_lost)
        except (QueueError, StoreError) as exc:
            if _is_for_all(exc):
                raise
            failed[importing.import_id] = exc
            self._progress[importing.import_id].failures += 1
        except Exception:
            log.exception("audit_error", import_id=importing.import_id, source=importing.source)
            self._progress[importing.import_id].failures += 1

    def _look_at(self, importing: Import, settled: int, *, was_lost: bool) -> None:
        now_s = self._clock.monotonic_s()
        progress = self._progress.setdefault(importing.import_id, _Progress(-1, now_s))
        if settled != progress.settled:
            progress.settled, progress.moved_s = settled, now_s
        is_idle = now_s - max(progress.moved_s, progress.looked_s) >= self._idle_s
        may_be_done = settled >= importing.journaled
        is_busy = importing.import_id in self._requests.read_busy()
        is_due = may_be_done or is_busy or progress.is_owed
        if not progress.may_retry(now_s):
            return
        if not (was_lost or is_idle or (is_due and now_s - progress.looked_s >= MIN_GAP_S)):
            return
        progress.looked_s = now_s
        gap = timedelta(0) if was_lost else timedelta(seconds=MIN_GAP_S / 2)
        progress.is_owed = True
        if self._stores.imports.claim_audit(importing, self._clock.now(), gap):
            # Before the audit: a mark that is set during it asks for another one.
            self._requests.take_busy(importing.import_id)
            self.audit(importing, add_missing=was_lost or is_idle or is_due)
        progress.is_owed = False
        progress.failures = 0

    def _derive(self, importing: Import) -> Iterator[tuple[Chunk, list[Derived]]]:
        """Derive chunk by chunk; dead letters of what turns out to be stored are cleared."""
        revision = importing.revision or 0
        has_letters = self._stores.dead_letters.has_any(importing.source)
        for chunk in self._stores.journal.chunks(importing.import_id, revision):
            letters = self._stores.dead_letters.read_many(chunk.item_ids) if has_letters else {}
            stored = self._stores.items.read_versions(chunk.item_ids, most_are_stored=True)
            overtaken = {
                item_id: stored[item_id].rank
                for item_id, letter in letters.items()
                if item_id in stored and stored[item_id].rank >= letter.rank
            }
            clear_dead_letters(self._stores.dead_letters, self._dead_letter_queue, overtaken)
            yield (
                chunk,
                derive_chunk(
                    chunk,
                    is_replay=_shares_revisions(importing),
                    letters=letters,
                    stored=stored,
                ),
            )

    def _add_again(self, importing: Import, chunk: Chunk, pending: set[str]) -> None:
        entries = self._stores.journal.read_entries(chunk)
        outcomes = self._enqueuer.enqueue(
            importing, [entry for entry in entries if entry.item_id in pending]
        )
        added = outcomes[AddOutcome.ADDED] + outcomes[AddOutcome.REPLACED]
        if added:
            log.info("jobs_added_again", import_id=importing.import_id, jobs=added)
        if outcomes[AddOutcome.BUSY]:
            self._requests.note_busy(importing.import_id)

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
        self._outcomes.report_completed(importing, counts, queue=queue.name)
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

    def _forget_closed(self, committed: Sequence[Import], marked: frozenset[str]) -> None:
        """Forget closed imports; the ``marked`` ones were committed before the others were read."""
        open_ids = {importing.import_id for importing in committed}
        self._progress = {
            import_id: progress
            for import_id, progress in self._progress.items()
            if import_id in open_ids
        }
        self._requests.forget_busy(marked - open_ids)


def _is_for_all(error: FeedmillError) -> bool:
    """Return whether a store is away, which no import or feed is to blame for."""
    is_away = isinstance(error, QueueUnavailable | StoreUnavailable)
    return is_away and not isinstance(error, QueueFull)


def _shares_revisions(importing: Import) -> bool:
    """Return whether other imports have brought items at the very revisions of this one's."""
    return importing.trigger == Trigger.REPLAY or importing.content_revision is not None


def _report_failed(failed: Mapping[str, FeedmillError]) -> None:
    """Log which imports could not be audited: one line for each kind of error, however many."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for import_id, error in failed.items():
        by_kind[type(error).__name__].append(import_id)
    for import_ids in by_kind.values():
        log.warning(
            "audits_failed",
            imports=len(import_ids),
            import_ids=import_ids[:NAMED_IMPORTS],
            error=str(failed[import_ids[0]]),
        )
