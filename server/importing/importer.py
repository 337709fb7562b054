"""One run of an import, straight through; ``values.py`` draws the line, and what goes along it.

Every step is safe to repeat; a run that was overtaken notices at its commit and stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from server.feeds.fetch_jobs import outage_delay_ms
from server.feeds.outcomes import Outcomes
from server.feeds.schedules import Random
from server.fetching.host_slots import HostSlots
from server.importing.bodies import keep_bodies
from server.importing.enqueueing import AuditRequests, Enqueuer
from server.importing.feed_reader import FeedReader, RunDeadline, believe_no_304
from server.importing.feed_step import Failures, find_import, finish_feed, imported_feed_step
from server.importing.merging import merge
from server.importing.reparsing import merge_bodies, read_bodies, wait_for_others
from server.importing.selecting import select
from server.importing.values import Failure, Fetched, Run, Selected
from server.parsing import ParsedFeed
from shared.clock import Clock
from shared.dead_jobs import dead_job
from shared.error_kinds import ErrorKind
from shared.errors import (
    DoomedJob,
    ParseError,
    Postponed,
    QueueError,
    QueueUnavailable,
    StaleEpoch,
    StoreUnavailable,
    UnreadableDocument,
)
from shared.logs import get_logger
from shared.queue import AddOutcome, ClaimedJob, JobQueue
from shared.store import DeadLetter, Feed, Import, ImportState, JournalEntry, Stores, Trigger
from shared.store.imports import BEFORE_COMMIT, empty_counts
from shared.store.journal import split_entries
from shared.urls import hosts_of

log = get_logger("server.importing.importer")


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """The largest item, how long a run may fetch and parse, how many bodies of a URL are kept."""

    max_item_bytes: int
    deadline_s: float
    keep_bodies: int = 0


class Importer:
    """Runs imports. Safe for threads; any number of servers may run the same one.

    The auditor is told through ``audits`` of what it has to close.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        reader: FeedReader,
        host_slots: HostSlots,
        enqueuer: Enqueuer,
        dead_letter_queue: JobQueue,
        audits: AuditRequests,
        outcomes: Outcomes,
        clock: Clock,
        random: Random,
        failures: Failures,
        limits: ImportLimits,
    ) -> None:
        self._stores = stores
        self._reader = reader
        self._host_slots = host_slots
        self._enqueuer = enqueuer
        self._dead_letter_queue = dead_letter_queue
        self._audits = audits
        self._outcomes = outcomes
        self._clock = clock
        self._random = random
        self._failures = failures
        self._limits = limits

    def run_job(self, job: ClaimedJob) -> dict[str, Any]:
        """Run the import that a fetch job names; the handler of the fetch queue.

        Raises:
            FetchError, ParseError: nothing could be imported. With ``retryable`` and attempts left
                the import stays ``fetching`` for the next run, else it is failed already.
            Postponed: a host is asked enough just now, and the import is as it was; or kept bodies
                are to be read, and another import of the source is open; or a store is away, and
                the run can be repeated as it is.
        """
        import_id = find_import(job)
        if import_id is None:
            raise DoomedJob("the job's data names no import")
        is_last = job.attempts_made + 1 >= job.max_attempts
        try:
            return {"import_id": import_id, "state": self.import_feed(import_id, is_last)}
        except (StoreUnavailable, QueueUnavailable) as exc:
            # No attempt: those count how often the publisher failed.
            log.debug("run_interrupted", import_id=import_id, error=str(exc))
            raise Postponed(outage_delay_ms(job, self._random), str(exc)) from exc

    def import_feed(self, import_id: str, is_last_attempt: bool = True) -> str | None:
        """Run one import from wherever it stands; return its state then, None if there is none.

        All URLs are asked and parsed within the limits' ``deadline_s``. Raises what :meth:`run_job`
        does, but for an outage: ``StoreUnavailable``, ``QueueUnavailable``.
        """
        deadline = RunDeadline(self._clock, self._limits.deadline_s)
        importing = self._stores.imports.get(import_id)
        if importing is None or self._withdraw_paused(importing):
            return None
        # Before anything is written: what is postponed must stay as it is.
        with self._host_slots.hold(_hosts_to_ask(importing)):
            run = self._begin(importing)
            fetched = self._read(run, deadline) if run is not None else None
        if run is None or fetched is None or self._is_stale(run.importing):
            return self._resume(import_id)
        if isinstance(fetched, Failure):
            if is_last_attempt or not fetched.error.retryable:
                self._failures.fail(run.importing, run.revision, fetched, run.feed_to_change)
            try:
                raise fetched.error
            finally:
                # The error's traceback holds this frame, and the error may hold the whole body.
                del fetched
        return self._import(run, fetched)

    def _read(self, run: Run, deadline: RunDeadline) -> Fetched | Failure:
        if not run.is_reparse:
            return self._reader.read(run, deadline)

        def parse(body: bytes, content_type: str | None, url: str | None) -> ParsedFeed:
            deadline.check(url or "")
            return self._reader.parse_body(body, content_type, url, deadline)

        wait_for_others(self._stores, run)
        return read_bodies(self._stores, run, parse)

    def _withdraw_paused(self, importing: Import) -> bool:
        """Take back a scheduled import whose hosts asked to be left alone since it was queued.

        Nobody was asked, so nothing failed: its feed is due again when they may be. The feed
        first, so that a crash in between leaves an import that ``end_orphan`` withdraws.
        """
        if importing.trigger != Trigger.SCHEDULE or importing.state is not ImportState.QUEUED:
            return False
        pause = self._reader.find_pause(importing)
        if pause is None:
            return False
        until, reason = pause
        self._stores.feeds.withdraw(importing.source, importing.import_id, until, reason)
        self._stores.imports.withdraw(importing.import_id)
        log.info("import_withdrawn", import_id=importing.import_id, reason=reason)
        return True

    def _begin(self, importing: Import) -> Run | None:
        """Draw a revision and mark the import with it; None when this run is out."""
        if importing.state not in BEFORE_COMMIT:
            return None
        feed = self._find_feed(importing)
        if feed is None or self._is_stale(importing):
            return None
        revision = self._stores.sources.draw_revision(importing.source)
        now = self._clock.now()
        if not self._stores.imports.mark_fetching(importing.import_id, revision, now):
            return None
        return Run(importing, feed, revision)

    def _find_feed(self, importing: Import) -> Feed | None:
        """Return the feed that waits for an import; without one the import ends."""
        try:
            feed = self._stores.feeds.get(importing.source)
        except UnreadableDocument as exc:
            # Logged with the import; the feed cannot be due again before somebody corrects it.
            self._failures.fail(
                importing, None, Failure(ParseError(ErrorKind.UNREADABLE_FEED, str(exc))), None
            )
            return None
        # The import of an interval is named by its indexer.
        named = importing.import_id if importing.indexer is not None else None
        if feed is None or (named or feed.running_import) != importing.import_id:
            self._failures.end_orphan(importing, feed)
            return None
        return feed

    def _is_stale(self, importing: Import) -> bool:
        """Fail an import whose interval was rolled back; ordinary imports cost nothing here.

        Asked when the import is there, so that whoever rolls back sees one or the other.
        """
        if importing.indexer is None or importing.epoch is None:
            return False
        epochs = self._stores.intervals.read_epochs([importing.indexer])
        current = epochs.get(importing.indexer)
        if current == importing.epoch:
            return False
        reason = str(StaleEpoch(importing.indexer, importing.epoch, current))
        failure = Failure(ParseError(ErrorKind.STALE_EPOCH, reason))
        self._failures.fail(importing, None, failure, None)
        return True

    def _resume(self, import_id: str) -> str | None:
        """Finish what a run before this one left: the feed step, and the jobs."""
        importing = self._stores.imports.get(import_id)
        if importing is None or importing.state in BEFORE_COMMIT:
            return None if importing is None else importing.state
        finish_feed(self._stores, importing)
        if importing.state is ImportState.IMPORTING and importing.revision is not None:
            for chunk in self._stores.journal.chunks(import_id, importing.revision):
                self._enqueue(importing, self._stores.journal.read_entries(chunk))
        return importing.state

    def _import(self, run: Run, fetched: Fetched) -> str | None:
        """Merge, select, journal, commit, finish the feed, enqueue; return the state then."""
        if run.is_reparse:
            merged = merge_bodies(self._stores, run, fetched)
        else:
            merged = merge(self._stores, run.importing, fetched)
        selected = select(
            self._stores,
            run,
            merged,
            queue=self._enqueuer.choose_queue(run.importing, 0),
            max_item_bytes=self._limits.max_item_bytes,
            now=self._clock.now(),
        )
        chunks = list(split_entries(selected.entries))
        self._journal(run, chunks)
        self._note_title(run, fetched)
        committed = self._commit(run, fetched, selected)
        if committed is None:
            return self._state_of(run.importing.import_id)
        finish_feed(self._stores, committed)
        if not run.is_reparse:
            keep_bodies(self._stores, fetched.bodies, self._limits.keep_bodies)
        self._show_dead_letters(run, selected.dead_letters)
        for entries in chunks:
            self._enqueue(committed, entries)
        if committed.is_open:
            self._audits.note_committed()
        return committed.state

    def _journal(self, run: Run, chunks: Sequence[Sequence[JournalEntry]]) -> None:
        for number, entries in enumerate(chunks):
            self._stores.journal.insert_chunk(
                run.importing.import_id, run.revision, number, entries
            )

    def _note_title(self, run: Run, fetched: Fetched) -> None:
        """Store what the feed's document is called, if that is new; decides nothing."""
        title = fetched.title
        if title is not None and title != run.feed.document_title:
            self._stores.feeds.note_title(run.source, title)

    def _commit(self, run: Run, fetched: Fetched, selected: Selected) -> Import | None:
        """Commit a run; return the import as it is stored then, None when it was overtaken."""
        outcome = self._outcome(run, fetched, selected)
        if not self._stores.imports.commit(run.importing.import_id, run.revision, outcome):
            log.warning("run_overtaken", import_id=run.importing.import_id, revision=run.revision)
            return None
        committed = replace(run.importing, revision=run.revision, **outcome)
        if committed.state is ImportState.COMPLETED:
            self._outcomes.report_completed(
                committed, committed.counts, queue=None, not_modified=fetched.is_not_modified
            )
        else:
            log.debug(
                "import_committed",
                import_id=committed.import_id,
                source=committed.source,
                revision=run.revision,
                journaled=committed.journaled,
                queue=committed.queue,
            )
        return committed

    def _outcome(self, run: Run, fetched: Fetched, selected: Selected) -> dict[str, Any]:
        """Return the fields that the commit sets."""
        now = self._clock.now()
        journaled = len(selected.entries)
        fetched = believe_no_304(fetched) if journaled else fetched
        return {
            "state": ImportState.IMPORTING if journaled else ImportState.COMPLETED,
            "finished_at": None if journaled else now,
            "counts": {**empty_counts(), **selected.counts},
            "journaled": journaled,
            "queue": self._enqueuer.choose_queue(run.importing, journaled),
            "fetches": fetched.fetches,
            "warnings": fetched.warnings,
            "feed_step": self._feed_step(run, fetched, now),
        } | ({"next_page": fetched.next_page} if fetched.next_page is not None else {})

    def _feed_step(self, run: Run, fetched: Fetched, now: datetime) -> dict[str, Any]:
        """Return what a commit changes in its feed: a pull import and a reparse nothing."""
        if run.feed_to_change is None:
            return {}
        return imported_feed_step(run, fetched, now, self._random)

    def _enqueue(self, committed: Import, entries: Sequence[JournalEntry]) -> None:
        if self._enqueuer.enqueue(committed, entries)[AddOutcome.BUSY]:
            # An older job of the item is being run: the auditor adds this one when that has ended.
            self._audits.note_busy(committed.import_id)

    def _show_dead_letters(self, run: Run, dead_letters: Sequence[DeadLetter]) -> None:
        """Show dead letters in their queue; what it refuses, the hourly sweep shows.

        After the commit: that Redis has no room for them must not keep the others away.
        """
        if not dead_letters:
            return
        try:
            self._dead_letter_queue.add_many([dead_job(letter) for letter in dead_letters])
        except QueueError as exc:
            log.warning(
                "dead_letters_not_shown",
                import_id=run.importing.import_id,
                jobs=len(dead_letters),
                error=str(exc),
            )

    def _state_of(self, import_id: str) -> str | None:
        found = self._stores.imports.get(import_id)
        return None if found is None else found.state


def _hosts_to_ask(importing: Import) -> set[str]:
    if importing.has_document or importing.bodies_since is not None:
        return set()
    if importing.state not in BEFORE_COMMIT:
        return set()
    return hosts_of(importing.urls)
