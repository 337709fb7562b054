"""Finishes what crashes left behind, and brings a lost Redis up to the record again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import uuid4

from server.feeds.fetch_jobs import fetch_job_id
from server.feeds.starter import FeedReservations
from server.importing.feed_step import Failures
from server.importing.values import Failure
from server.item_limits import ItemLimiter
from shared.clock import Clock
from shared.dead_jobs import DEAD_JOB_NAME, clear_dead_letters, dead_job
from shared.error_kinds import ErrorKind
from shared.errors import (
    ConflictError,
    NotFoundError,
    ParseError,
    QueueFull,
    QueueUnavailable,
    StoreError,
    StoreUnavailable,
    UnreadableDocument,
)
from shared.logs import get_logger
from shared.queue import JobQueue, JobState
from shared.store import Feed, Import, Stores, Trigger
from shared.store.dead_letter_documents import LetterKind
from shared.store.imports import BEFORE_COMMIT

log = get_logger("server.importing.healer")

# Longer than any replay needs from its insert to its commit.
REPLAY_PATIENCE = timedelta(minutes=10)
# A document is stored before its import is inserted.
DOCUMENT_PATIENCE = timedelta(hours=1)
# Who starts many imports at once reserves all of them before adding their jobs.
JOB_PATIENCE = timedelta(seconds=10)
SWEEP_EVERY = timedelta(hours=1)
# While imports are open; while none is, whatever the journal holds is garbage.
COLLECT_EVERY_S = 60.0
RESTORE_BATCH = 200


class Healer:
    """Everything here is safe to repeat, and safe beside the same on other servers."""

    def __init__(
        self,
        *,
        stores: Stores,
        reservations: FeedReservations,
        item_queues: Sequence[JobQueue],
        dead_letter_queue: JobQueue,
        fetch_queue: JobQueue,
        limiter: ItemLimiter,
        keep_imports: timedelta,
        keep_dead: timedelta | None,
        failures: Failures,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._reservations = reservations
        self._item_queues = item_queues
        self._dead_letter_queue = dead_letter_queue
        self._fetch_queue = fetch_queue
        self._limiter = limiter
        self._keep_imports = keep_imports
        self._keep_dead = keep_dead
        self._failures = failures
        self._clock = clock
        self._incarnation: str | None = None
        self._matching: str | None = None
        self._missing_before: set[str] = set()
        self._swept_s = self._collected_s = float("-inf")

    def match_redis(self) -> bool:
        """Notice that Redis is not the one that the record was last matched with.

        The new incarnation is remembered only by :meth:`remember_redis`, when all that the record
        asks for is there: a crash in between makes the next server do it again.
        """
        keeper = self._item_queues[0]
        seen = keeper.read_incarnation()
        if seen is None:
            seen = keeper.create_incarnation(uuid4().hex)
        if seen == self._incarnation:
            return False
        known = self._stores.read_incarnation()
        if seen == known:
            self._incarnation = seen
            return False
        if known is not None:
            log.warning("redis_was_lost", incarnation=seen)
        self._matching = seen
        self._limiter.apply()
        self._restore_dead_letters()
        return True

    def remember_redis(self) -> None:
        """Remember as matched what :meth:`match_redis` saw, if Redis was not lost again since."""
        seen = self._item_queues[0].read_incarnation()
        if seen is not None and seen == self._matching:
            self._stores.store_incarnation(seen)
            self._incarnation = seen

    def heal(self) -> None:
        """Do everything once: limits, feeds, fetch jobs, imports, garbage; hourly the sweep."""
        with _going_on_when_full("limits of items"):
            self._limiter.keep()
        running = self._stores.feeds.find_running()
        names = {feed.running_import for feed in running if feed.running_import is not None}
        opened = {found.import_id: found for found in self._stores.imports.find_open()}
        named = {name: opened[name] for name in names & opened.keys()}
        named |= self._stores.imports.read_many(names - opened.keys())
        with _going_on_when_full("fetch jobs"):
            self._heal_feeds(running, named)
        with _going_on_when_full("fetch jobs"):
            self._heal_fetch_jobs(list(named.values()))
        self._end_orphans([found for name, found in opened.items() if name not in names])
        now_s = self._clock.monotonic_s()
        if not opened or now_s - self._collected_s >= COLLECT_EVERY_S:
            self._collect_garbage()
            self._collected_s = now_s
        if now_s - self._swept_s >= SWEEP_EVERY.total_seconds():
            self._sweep_at(now_s)

    def _sweep_at(self, now_s: float) -> None:
        """Sweep; what fails is tried again in an hour, or at once if a store was away."""
        before, self._swept_s = self._swept_s, now_s
        try:
            self.sweep()
        except (QueueUnavailable, StoreUnavailable):
            self._swept_s = before
            raise

    def sweep(self) -> None:
        """Clear the dead letters of what is stored; forget what retention no longer keeps."""
        for item_ids in self._stores.dead_letters.iterate_ids(batch_size=RESTORE_BATCH):
            letters = self._stores.dead_letters.read_many(item_ids)
            stored = self._stores.items.read_versions(item_ids)
            overtaken = {
                item_id: stored[item_id].rank
                for item_id, letter in letters.items()
                if item_id in stored and stored[item_id].rank >= letter.rank
            }
            clear_dead_letters(self._stores.dead_letters, self._dead_letter_queue, overtaken)
        with _going_on_when_full("dead letters"):
            self._show_missing_dead_letters()
        self._hide_what_is_not_dead()
        self._forget_old()

    def _heal_feeds(self, running: Sequence[Feed], named: dict[str, Import]) -> None:
        missing: set[str] = set()
        for feed in running:
            import_id = feed.running_import or ""
            found = named.get(import_id)
            if found is not None:
                self._free_feed(feed, found)
                continue
            missing.add(import_id)
            # Seen missing twice: not merely between its claim and its insert.
            if import_id in self._missing_before:
                self._claim_again(feed)
        self._missing_before = missing

    def _free_feed(self, feed: Feed, found: Import) -> None:
        """Free a feed whose import no longer needs it; one that MongoDB refuses holds up no other.

        Raises:
            StoreUnavailable: MongoDB is away, so for all of them.
        """
        try:
            if found.source != feed.source:
                # Somebody changed one of the two by hand; the import can never free this feed.
                self._stores.feeds.free(feed.source, found.import_id)
            elif found.state not in BEFORE_COMMIT:
                self._stores.feeds.finish(found)
        except StoreUnavailable:
            raise
        except StoreError as exc:
            log.warning("feed_not_freed", import_id=found.import_id, error=str(exc))

    def _claim_again(self, feed: Feed) -> None:
        # Deleted or claimed by others since it was read: then there is nothing to heal. Nor where
        # it names an import that cannot be read: somebody has to correct that.
        with suppress(NotFoundError, ConflictError, UnreadableDocument):
            healed, _ = self._reservations.reserve(feed, Trigger.SCHEDULE)
            self._reservations.add_fetch_jobs([healed])

    def _heal_fetch_jobs(self, named: Sequence[Import]) -> None:
        """Add the jobs of queued and fetching imports that have none."""
        oldest = self._clock.now() - JOB_PATIENCE
        waiting = [
            found
            for found in named
            if found.state in BEFORE_COMMIT and found.requested_at <= oldest
        ]
        if not waiting:
            return
        views = self._fetch_queue.get_jobs([fetch_job_id(found.source) for found in waiting])
        jobless = [
            found
            for found, view in zip(waiting, views, strict=True)
            if view is None or view.state in (JobState.COMPLETED, JobState.FAILED)
        ]
        self._reservations.add_fetch_jobs(jobless)

    def _end_orphans(self, unnamed: Sequence[Import]) -> None:
        """End imports before their commit that no feed names, and replays that never commit.

        ``unnamed`` are the open ones that no feed named a moment ago.
        """
        now = self._clock.now()
        for found in unnamed:
            if found.state not in BEFORE_COMMIT or found.indexer is not None:
                continue
            if found.trigger == Trigger.REPLAY:
                if now - found.requested_at > REPLAY_PATIENCE:
                    self._fail(found, ErrorKind.REPLAY_LOST, "the replay was never committed")
                continue
            try:
                feed = self._stores.feeds.get(found.source)
            except UnreadableDocument as exc:
                self._fail(found, ErrorKind.UNREADABLE_FEED, str(exc))
                continue
            if feed is None or feed.running_import != found.import_id:
                self._failures.end_orphan(found, feed)

    def _fail(self, found: Import, kind: ErrorKind, reason: str) -> None:
        self._failures.fail(found, None, Failure(ParseError(kind, reason)), None)

    def _collect_garbage(self) -> None:
        if self._stores.journal.has_any():
            self._collect_chunks()
        if self._stores.documents.has_any():
            self._collect_documents()

    def _collect_chunks(self) -> None:
        lowest = self._stores.journal.read_lowest_revisions()
        imports = self._stores.imports.read_many(lowest)
        # One that cannot be read is there all the same, and may need its chunks.
        gone = self._stores.imports.find_absent(lowest.keys() - imports.keys())
        for import_id, revision in lowest.items():
            owner = imports.get(import_id)
            if import_id in gone or (owner is not None and not owner.is_open):
                self._stores.journal.delete(import_id)
            elif owner is not None and owner.revision is not None and revision < owner.revision:
                self._stores.journal.delete_below(import_id, owner.revision)

    def _collect_documents(self) -> None:
        kept = self._stores.documents.read_import_ids()
        imports = self._stores.imports.read_many(kept)
        gone = self._stores.imports.find_absent(kept - imports.keys())
        oldest_ms = int((self._clock.now() - DOCUMENT_PATIENCE).timestamp() * 1000)
        for import_id in kept:
            owner = imports.get(import_id)
            is_abandoned = import_id in gone and _requested_ms(import_id) < oldest_ms
            if is_abandoned or (owner is not None and owner.state not in BEFORE_COMMIT):
                self._stores.documents.delete(import_id)

    def _restore_dead_letters(self) -> None:
        """Show all dead letters in their queue again; what it refuses, the sweep shows."""
        batches = self._stores.dead_letters.iterate_ids(
            batch_size=RESTORE_BATCH, kind=LetterKind.DEAD
        )
        with _going_on_when_full("dead letters"):
            for item_ids in batches:
                self._show_dead_letters(item_ids)

    def _show_missing_dead_letters(self) -> None:
        """Show the dead letters that have no job in the dead-letter queue."""
        batches = self._stores.dead_letters.iterate_ids(
            batch_size=RESTORE_BATCH, kind=LetterKind.DEAD
        )
        for item_ids in batches:
            seen = zip(item_ids, self._dead_letter_queue.get_jobs(item_ids), strict=True)
            self._show_dead_letters([item_id for item_id, view in seen if view is None])

    def _show_dead_letters(self, item_ids: Sequence[str]) -> None:
        letters = self._stores.dead_letters.read_whole(item_ids) if item_ids else []
        dead = [letter for letter in letters if letter.kind is LetterKind.DEAD]
        self._dead_letter_queue.add_many([dead_job(letter) for letter in dead])

    def _hide_what_is_not_dead(self) -> None:
        """Remove jobs of the dead-letter queue that no dead letter stands behind (any more).

        A worker moves its job after its letter is on record: an operator may have removed it in
        between. Jobs are read first, so that a letter that comes meanwhile is seen.
        """
        for part in self._dead_letter_queue.parts:
            offset = 0
            while jobs := part.list_jobs(JobState.WAITING, offset, RESTORE_BATCH):
                ids = [job.id for job in jobs if job.name == DEAD_JOB_NAME]
                dead = self._stores.dead_letters.select_dead(ids)
                gone = sorted(set(ids) - set(dead))
                part.remove_many(gone)
                offset += len(jobs) - len(gone)

    def _forget_old(self) -> None:
        now = self._clock.now()
        self._stores.hosts.delete_expired(now)
        self._stores.imports.delete_closed_before(now - self._keep_imports)
        if self._keep_dead is not None:
            needed, sources = self._read_needed_letters()
            self._stores.dead_letters.delete_dead_before(
                now - self._keep_dead, needed, keep_sources=sources
            )

    def _read_needed_letters(self) -> tuple[set[str], set[str]]:
        """Return whose dead letters open imports may be counted by: item ids, and whole sources.

        The latter where a journal cannot be read: it may hold any item of its source.
        """
        item_ids: set[str] = set()
        sources: set[str] = set()
        for found in self._stores.imports.find_open():
            try:
                item_ids |= self._stores.journal.read_item_ids([found.import_id])
            except UnreadableDocument as exc:
                log.warning("dead_letters_kept", source=found.source, error=str(exc))
                sources.add(found.source)
        return item_ids, sources


@contextmanager
def _going_on_when_full(what: str) -> Iterator[None]:
    """Let what a full Redis refuses wait for the next time: the rest needs no room."""
    try:
        yield
    except QueueFull as exc:
        log.warning("not_added", what=what, error=str(exc))


def _requested_ms(import_id: str) -> float:
    """Return when an import was asked for, from its id; one that is no id of ours never was."""
    try:
        return int(import_id[:12], 16)
    except ValueError:
        return float("inf")
