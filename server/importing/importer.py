"""One run of an import, straight through; see ``values.py`` for what goes along the line.

::

    begin    imports, sources    draw a revision, mark fetching with it: before the request
    read     the web             each URL with its own validators (or the document handed in)
    merge    a process apart     bytes → entries; merged by guid, first wins
    select   journals, letters, items     what is new to us
    journal  journal             what has to be stored, durable
    commit   imports             one guarded update: from here on nothing can be lost
    feed     feeds               validators and schedule, as the commit stored them
    enqueue  Redis               one call a chunk; whatever is missing the auditor adds

Every step is safe to repeat; a run that was overtaken notices at its commit and stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from server.feeds.outcomes import Outcomes
from server.feeds.schedules import Random
from server.fetching.host_slots import HostSlots
from server.importing.audit_requests import AuditRequests
from server.importing.enqueueing import Enqueuer
from server.importing.feed_step import (
    failed_feed_step,
    imported_feed_step,
    uncomputed_feed_step,
)
from server.importing.fetching import FeedReader, RunDeadline, believe_no_304
from server.importing.merging import merge
from server.importing.selecting import select
from server.importing.values import Failure, Fetched, Run, Selected
from shared.clock import Clock
from shared.dead_jobs import dead_job
from shared.errors import (
    DoomedJob,
    ErrorKind,
    FetchError,
    ParseError,
    QueueError,
    RunOverdue,
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

_FEED_DELETED = ParseError(ErrorKind.FEED_DELETED, "feed deleted")


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """The largest item, and how long a run may fetch and parse."""

    max_item_bytes: int
    deadline_s: float


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
        self._limits = limits

    def run_job(self, job: ClaimedJob) -> dict[str, Any]:
        """Run the import that a fetch job names; the handler of the fetch queue.

        Raises:
            FetchError, ParseError: nothing could be imported. With ``retryable`` and attempts left
                the import stays ``fetching`` for the next run, else it is failed already.
            StoreUnavailable, QueueUnavailable: the run can be repeated as it is.
            Postponed: a host is asked enough just now; the import is as it was.
        """
        import_id = _find_import(job)
        if import_id is None:
            raise DoomedJob("the job's data names no import")
        is_last = job.attempts_made + 1 >= job.max_attempts
        return {"import_id": import_id, "state": self.import_feed(import_id, is_last)}

    def import_feed(self, import_id: str, is_last_attempt: bool = True) -> str | None:
        """Run one import from wherever it stands; return its state then, None if there is none.

        All URLs are asked and parsed within the limits' ``deadline_s``.
        """
        deadline = RunDeadline(self._clock, self._limits.deadline_s)
        importing = self._stores.imports.get(import_id)
        if importing is None or self._withdraw_paused(importing):
            return None
        # Before anything is written: what is postponed must stay as it is.
        with self._host_slots.hold(_hosts_to_ask(importing)):
            run = self._begin(importing)
            fetched = self._reader.read(run, deadline) if run is not None else None
        if run is None or fetched is None:
            return self._resume(import_id)
        if isinstance(fetched, Failure):
            if is_last_attempt or not fetched.error.retryable:
                self._fail(run.importing, run.revision, fetched, run.feed)
            raise fetched.error
        return self._import(run, fetched)

    def give_up(self, job: ClaimedJob, error: BaseException) -> None:
        """Fail the import of a job that failed for good, so that its feed goes on.

        Else the import would stay ``fetching``, and its publisher be asked again and again. Only
        errors of stores pass: what they interrupted begins anew.
        """
        failure = _reason_to_give_up(error)
        import_id = _find_import(job)
        importing = self._stores.imports.get(import_id) if failure and import_id else None
        if failure is None or importing is None or importing.state not in BEFORE_COMMIT:
            return
        try:
            feed = self._stores.feeds.get(importing.source)
            self._fail(importing, importing.revision, failure, feed)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("feed_step_failed", import_id=importing.import_id)
            step = uncomputed_feed_step(failure.reason, self._clock.now())
            self._store_failure(importing, importing.revision, failure, step)

    def _withdraw_paused(self, importing: Import) -> bool:
        """Take back a scheduled import whose hosts asked to be left alone since it was queued.

        Nobody was asked, so nothing failed: its feed is due again when they may be. The feed
        first, so that a crash in between leaves an import that is withdrawn by its next run.
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
        try:
            feed = self._stores.feeds.get(importing.source)
        except UnreadableDocument as exc:
            # Logged with the import; the feed cannot be due again before somebody corrects it.
            self._fail(
                importing, None, Failure(ParseError(ErrorKind.UNREADABLE_FEED, str(exc))), None
            )
            return None
        if feed is None or feed.running_import != importing.import_id:
            self._fail(importing, None, Failure(_FEED_DELETED), None)
            return None
        revision = self._stores.sources.draw_revision(importing.source)
        now = self._clock.now()
        if not self._stores.imports.mark_fetching(importing.import_id, revision, now):
            return None
        return Run(importing, feed, revision)

    def _resume(self, import_id: str) -> str | None:
        """Finish what a run before this one left: the feed step, and the jobs."""
        importing = self._stores.imports.get(import_id)
        if importing is None or importing.state in BEFORE_COMMIT:
            return None if importing is None else importing.state
        self._finish_feed(importing)
        if importing.state is ImportState.IMPORTING and importing.revision is not None:
            for chunk in self._stores.journal.chunks(import_id, importing.revision):
                self._enqueue(importing, self._stores.journal.read_entries(chunk))
        return importing.state

    def _import(self, run: Run, fetched: Fetched) -> str | None:
        """Merge, select, journal, commit, finish the feed, enqueue; return the state then."""
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
        committed = self._commit(run, fetched, selected)
        if committed is None:
            return self._state_of(run.importing.import_id)
        self._finish_feed(committed)
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
            "feed_step": imported_feed_step(run, fetched, now, self._random),
        }

    def _fail(
        self, importing: Import, revision: int | None, failure: Failure, feed: Feed | None
    ) -> None:
        """Fail an import before its commit, and finish its feed."""
        step = None
        if feed is not None:
            step = failed_feed_step(importing, feed, failure, self._clock.now(), self._random)
        self._store_failure(importing, revision, failure, step)

    def _store_failure(
        self,
        importing: Import,
        revision: int | None,
        failure: Failure,
        feed_step: dict[str, Any] | None,
    ) -> None:
        outcome: dict[str, Any] = {
            "error": failure.reason,
            "error_kind": failure.error.kind,
            "finished_at": self._clock.now(),
            "fetches": failure.fetched.fetches,
        }
        if feed_step is not None:
            outcome["feed_step"] = feed_step
        if self._stores.imports.fail(importing.import_id, revision, outcome):
            self._outcomes.report_failed(importing, failure.reason)
        # By its document: another run may have ended it with another step.
        ended = self._stores.imports.get(importing.import_id)
        if ended is not None and ended.state not in BEFORE_COMMIT:
            self._finish_feed(ended)

    def _finish_feed(self, ended: Import) -> None:
        """Do the feed step of an import that is committed or failed, as its document holds it."""
        self._stores.feeds.finish(ended)
        if ended.has_document:
            self._stores.documents.delete(ended.import_id)

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
    if importing.has_document or importing.state not in BEFORE_COMMIT:
        return set()
    return hosts_of(importing.urls)


def _find_import(job: ClaimedJob) -> str | None:
    try:
        named = orjson.loads(job.raw_data)["import_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return named if isinstance(named, str) else None


def _reason_to_give_up(error: BaseException) -> Failure | None:
    """Return why a job's import is to fail; None when a store was to blame."""
    if isinstance(error, RunOverdue):
        return Failure(FetchError("", ErrorKind.TIMEOUT, str(error)))
    if isinstance(error, DoomedJob):
        reason = "its server stopped, or lost its lock, in each of its runs; see the servers' logs"
        return Failure(ParseError(ErrorKind.RUN_LOST, reason))
    if isinstance(error, UnreadableDocument):
        return Failure(ParseError(ErrorKind.UNREADABLE_RECORD, str(error)))
    if getattr(error, "retryable", False):
        return None
    reason = f"an error of Feedmill's own, please report it: {error!r}"
    return Failure(ParseError(ErrorKind.INTERNAL, reason))
