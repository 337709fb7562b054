"""One run of an import: fetch → parse → compare → journal → commit → feed → enqueue.

::

    places   this process        one at each host to be asked, or the job is postponed as it is
    begin    imports, sources    mark fetching, draw a revision, store it: before the request
    fetch    the web             each URL with its own validators (or the document handed in)
    parse    a process apart     bytes → entries; merged by guid, first wins
    compare  journals, letters, items     what is new to us
    journal  journal             what has to be brought home, durable
    commit   imports             one guarded update: from here on nothing can be lost
    feed     feeds               validators and schedule, copied from the import's document
    enqueue  Redis               one call a chunk; whatever is missing the auditor adds

Every step is safe to repeat; a run that was overtaken notices at its commit and stops.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.feeds.outcomes import Outcomes
from server.feeds.schedules import Random
from server.fetching.host_slots import HostSlots
from server.importing.comparing import Candidate, Compared, compare
from server.importing.deadline import RunDeadline
from server.importing.enqueueing import Enqueuer
from server.importing.feed_step import (
    failed_feed_step,
    imported_feed_step,
    unreckoned_feed_step,
)
from server.importing.gathering import Gathered, Gatherer
from server.importing.moved_guids import MovedGuids
from shared.clock import Clock
from shared.dead_jobs import dead_job
from shared.errors import (
    DoomedJob,
    ErrorKind,
    FetchError,
    ItemError,
    ParseError,
    QueueError,
    RunOverdue,
    StoreUnavailable,
    UnreadableDocument,
)
from shared.host_names import hosts_of
from shared.logs import get_logger
from shared.models import FeedItem, content_hash, encode_json, job_data, make_guid, make_item_id
from shared.queue import AddOutcome, ClaimedJob, JobQueue
from shared.store import (
    DeadLetter,
    Feed,
    Import,
    ImportState,
    JournalEntry,
    LetterKind,
    Stores,
    Trigger,
    get_reader,
)
from shared.store.imports import BEFORE_COMMIT, empty_counts
from shared.store.items import check_encodable
from shared.store.journal import split_entries

log = get_logger("server.importing.importer")

_FEED_DELETED = ParseError(ErrorKind.FEED_DELETED, "feed deleted")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an import: its feed as read at the start, and the revision of all it finds."""

    importing: Import
    feed: Feed
    revision: int

    @property
    def source(self) -> str:
        """The source, first half of the ids of all that it finds."""
        return self.importing.source


@dataclass(slots=True)
class _Sifted:
    """Fetched items that can be stored, and those that cannot."""

    candidates: list[Candidate] = field(default_factory=list)
    deaths: list[DeadLetter] = field(default_factory=list)
    duplicates: int = 0


class Importer:
    """Runs imports. Safe for threads; any number of servers may run the same one."""

    def __init__(
        self,
        *,
        stores: Stores,
        gatherer: Gatherer,
        host_slots: HostSlots,
        enqueuer: Enqueuer,
        dead_letter_queue: JobQueue,
        note_busy: Callable[[str], None],
        outcomes: Outcomes,
        clock: Clock,
        random: Random,
        max_item_bytes: int,
        deadline_s: float,
    ) -> None:
        self._stores = stores
        self._gatherer = gatherer
        self._host_slots = host_slots
        self._enqueuer = enqueuer
        self._dead_letter_queue = dead_letter_queue
        self._note_busy = note_busy
        self._outcomes = outcomes
        self._clock = clock
        self._random = random
        self._max_item_bytes = max_item_bytes
        self._deadline_s = deadline_s

    def run_job(self, job: ClaimedJob) -> dict[str, Any]:
        """Run the import that a fetch job names; the handler of the fetch queue.

        Raises:
            FetchError, ParseError: nothing could be imported. With ``retryable`` and attempts left
                the import stays ``fetching`` for the next run, else it is failed already.
            StoreUnavailable, QueueUnavailable: the run can be repeated as it is.
            Postponed: a host is asked enough just now; the import is as it was.
        """
        import_id = _named_import(job)
        is_last = job.attempts_made + 1 >= job.max_attempts
        state = self.import_feed(import_id, is_last_attempt=is_last)
        return {"import_id": import_id, "state": state}

    def import_feed(self, import_id: str, *, is_last_attempt: bool = True) -> str | None:
        """Run one import from wherever it stands; return its state then, None if there is none.

        All URLs are asked and parsed within the importer's ``deadline_s``.
        """
        deadline = RunDeadline(self._clock, self._deadline_s)
        importing = self._stores.imports.get(import_id)
        if importing is None or self._withdraw_held(importing):
            return None
        # Before anything is written: what is postponed must stay as it is.
        with self._host_slots.hold(_hosts_to_ask(importing)):
            run = self._begin(importing)
            gathered = self._gatherer.gather(importing, run.feed, deadline) if run else None
        if run is None or gathered is None:
            return self._resume(import_id)
        if gathered.error is not None:
            if is_last_attempt or not gathered.error.retryable:
                self.fail(run.importing, run.revision, gathered.error, run.feed, gathered)
            raise gathered.error
        return self._bring_home(run, gathered)

    def _withdraw_held(self, importing: Import) -> bool:
        """Take back a scheduled import whose hosts asked to be left alone since it was queued.

        Nobody was asked, so nothing failed: its feed is due again when they may be. The feed
        first, so that a crash in between leaves an import that is withdrawn by its next run.
        """
        if importing.trigger != Trigger.SCHEDULE or importing.state is not ImportState.QUEUED:
            return False
        hold = self._gatherer.find_pause(importing)
        if hold is None:
            return False
        until, reason = hold
        self._stores.feeds.withdraw(importing.source, importing.import_id, until, reason)
        self._stores.imports.withdraw(importing.import_id)
        log.info("import_withdrawn", import_id=importing.import_id, reason=reason)
        return True

    def fail(
        self,
        importing: Import,
        revision: int | None,
        error: FetchError | ParseError,
        feed: Feed | None,
        gathered: Gathered,
    ) -> None:
        """Fail an import before its commit, and tell its feed."""
        now = self._clock.now()
        reason = f"{error.kind}: {error}"
        outcome: dict[str, Any] = {
            "error": reason,
            "error_kind": error.kind,
            "finished_at": now,
            "fetches": gathered.fetches,
        }
        if feed is not None:
            outcome["feed_step"] = failed_feed_step(
                importing, feed, reason, gathered, now, self._random
            )
        if self._stores.imports.fail(importing.import_id, revision, outcome):
            self._outcomes.report_failed(importing, reason)
        self._finish_feed(importing.import_id)

    def give_up(self, job: ClaimedJob, error: BaseException) -> None:
        """Fail the import of a job that failed for good, so that its feed goes on.

        Else the import would stay ``fetching``, and its publisher be asked again and again. Only
        errors of stores pass: what they interrupted begins anew.
        """
        reason = _reason_to_give_up(error)
        import_id = _find_import(job)
        importing = self._stores.imports.get(import_id) if reason and import_id else None
        if reason is None or importing is None or importing.state not in BEFORE_COMMIT:
            return
        self._fail_surely(importing, reason)

    def _fail_surely(self, importing: Import, error: FetchError | ParseError) -> None:
        """Fail an import, also where its feed's next fetch cannot be reckoned."""
        gathered = Gathered(error=error, error_kinds=frozenset({error.kind}))
        try:
            feed = self._stores.feeds.get(importing.source)
            self.fail(importing, importing.revision, error, feed, gathered)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("feed_step_failed", import_id=importing.import_id)
            now, reason = self._clock.now(), f"{error.kind}: {error}"
            outcome = {"error": reason, "error_kind": error.kind, "finished_at": now}
            outcome["feed_step"] = unreckoned_feed_step(reason, now)
            if self._stores.imports.fail(importing.import_id, importing.revision, outcome):
                self._outcomes.report_failed(importing, reason)
            self._finish_feed(importing.import_id)

    def _begin(self, importing: Import) -> Run | None:
        """Mark the import, draw its revision and store it; None when this run is out."""
        import_id = importing.import_id
        if importing.state not in BEFORE_COMMIT:
            return None
        try:
            feed = self._stores.feeds.get(importing.source)
        except UnreadableDocument as exc:
            # Said by the import; the feed cannot be due again before somebody corrects it.
            self.fail(
                importing, None, ParseError(ErrorKind.UNREADABLE_FEED, str(exc)), None, Gathered()
            )
            return None
        if feed is None or feed.running_import != import_id:
            self.fail(importing, None, _FEED_DELETED, None, Gathered())
            return None
        if not self._stores.imports.mark_fetching(import_id, self._clock.now()):
            return None
        revision = self._stores.sources.draw_revision(importing.source)
        if not self._stores.imports.store_revision(import_id, revision):
            return None
        return Run(importing, feed, revision)

    def _resume(self, import_id: str) -> str | None:
        """Finish what a run before this one left: the feed step, and the jobs."""
        importing = self._stores.imports.get(import_id)
        if importing is None or importing.state in BEFORE_COMMIT:
            return None if importing is None else importing.state
        self._finish_feed(import_id)
        if importing.state is ImportState.IMPORTING and importing.revision is not None:
            for chunk in self._stores.journal.chunks(import_id, importing.revision):
                self._enqueue(importing, self._stores.journal.read_entries(chunk))
        return importing.state

    def _bring_home(self, run: Run, gathered: Gathered) -> str | None:
        """Compare, journal, commit, tell the feed, enqueue; return the import's state then."""
        sifted = self._sift(run, gathered)
        item_ids = [candidate.item_id for candidate in sifted.candidates]
        item_ids += [death.item_id for death in sifted.deaths]
        moved = MovedGuids(self._stores, run.source, listed=item_ids, aliases=gathered.aliases)
        sifted.deaths = moved.rename_deaths(sifted.deaths)
        if sifted.deaths:
            self._stores.dead_letters.record_many(sifted.deaths)
        compared = compare(self._stores, run.importing, run.revision, sifted.candidates, moved)
        moved.remember()
        chunks = list(split_entries(compared.entries))
        for number, entries in enumerate(chunks):
            self._stores.journal.insert_chunk(
                run.importing.import_id, run.revision, number, entries
            )
        outcome = self._outcome(run, gathered, sifted, compared)
        if not self._stores.imports.commit(run.importing.import_id, run.revision, outcome):
            log.warning("run_overtaken", import_id=run.importing.import_id, revision=run.revision)
            return self._state_of(run.importing.import_id)
        self._tell_commit(run, gathered, outcome)
        committed = self._finish_feed(run.importing.import_id)
        self._show_dead_letters(run, sifted.deaths)
        if committed is None:
            return None
        for entries in chunks:
            self._enqueue(committed, entries)
        return committed.state

    def _enqueue(self, committed: Import, entries: Sequence[JournalEntry]) -> None:
        if self._enqueuer.enqueue(committed, entries)[AddOutcome.BUSY]:
            # An older job of the item is being run: the auditor adds this one when that has ended.
            self._note_busy(committed.import_id)

    def _sift(self, run: Run, gathered: Gathered) -> _Sifted:
        """Turn items into candidates; what can never be stored dies here, with a dead letter.

        An id ends once an import: an unreadable twin of an item is a duplicate of it.
        """
        sifted = _Sifted(duplicates=gathered.duplicates)
        deaths: list[DeadLetter] = []
        for item in gathered.items:
            try:
                sifted.candidates.append(self._candidate(run, item))
            except ItemError as exc:
                deaths.append(self._death(run, item.guid, exc, job_data(run.source, item)))
        for rejected in gathered.rejected:
            error = ItemError("unreadable", rejected.reason)
            data = {"guid": rejected.guid, "title": rejected.title, "link": rejected.link}
            deaths.append(self._death(run, make_guid(rejected.guid), error, data))
        seen = {candidate.item_id for candidate in sifted.candidates}
        for death in deaths:
            if death.item_id in seen:
                sifted.duplicates += 1
            else:
                sifted.deaths.append(death)
                seen.add(death.item_id)
        return sifted

    def _candidate(self, run: Run, item: FeedItem) -> Candidate:
        data = job_data(run.source, item)
        size_bytes = len(encode_json(data))
        if size_bytes > self._max_item_bytes:
            raise ItemError(
                "too_large",
                f"the item has {size_bytes} bytes, JOB_MAX_BYTES allows {self._max_item_bytes}",
            )
        check_encodable(data)
        return Candidate(make_item_id(run.source, item.guid), content_hash(data), data)

    def _death(self, run: Run, guid: str, error: ItemError, data: dict[str, Any]) -> DeadLetter:
        return DeadLetter(
            item_id=make_item_id(run.source, guid),
            queue=self._enqueuer.choose_queue(run.importing, 0),
            source=run.source,
            guid=guid,
            revision=run.revision,
            import_id=run.importing.import_id,
            # Equal to no content's hash: the item is looked at anew at each fetch.
            content_hash="",
            kind=LetterKind.DEAD,
            reason=str(error),
            error_type=error.error_type,
            attempts=1,
            failed_at=self._clock.now(),
            data=json.dumps({"source": run.source, **data}, default=str),
            read_by=get_reader(data),
        )

    def _show_dead_letters(self, run: Run, deaths: Sequence[DeadLetter]) -> None:
        """Show recorded deaths in the dead-letter queue; what it refuses, the hourly sweep shows.

        After the commit: that Redis has no room for them must not keep the others away.
        """
        if not deaths:
            return
        try:
            self._dead_letter_queue.add_many([dead_job(death) for death in deaths])
        except QueueError as exc:
            log.warning(
                "dead_letters_not_shown",
                import_id=run.importing.import_id,
                jobs=len(deaths),
                error=str(exc),
            )

    def _outcome(
        self, run: Run, gathered: Gathered, sifted: _Sifted, compared: Compared
    ) -> dict[str, Any]:
        """Return the fields that the commit sets."""
        now = self._clock.now()
        journaled = len(compared.entries)
        dead = compared.dead + len(sifted.deaths)
        gathered.judge_looks(has_news=journaled > 0)
        counts = {
            **empty_counts(),
            "fetched": len(sifted.candidates) + len(sifted.deaths) + sifted.duplicates,
            "unchanged": compared.unchanged,
            "duplicate": sifted.duplicates,
            "dead": dead,
            "removed": compared.removed,
        }
        return {
            "state": ImportState.IMPORTING if journaled else ImportState.COMPLETED,
            "finished_at": None if journaled else now,
            "counts": counts,
            "journaled": journaled,
            "queue": self._enqueuer.choose_queue(run.importing, journaled),
            "fetches": gathered.fetches,
            "warnings": gathered.warnings,
            "feed_step": imported_feed_step(run.importing, run.feed, gathered, now, self._random),
        }

    def _finish_feed(self, import_id: str) -> Import | None:
        """Do the feed step from the import's own document, never from what this run remembers.

        Returns that document.
        """
        ended = self._stores.imports.get(import_id)
        if ended is not None and ended.state not in BEFORE_COMMIT:
            self._stores.feeds.finish(ended)
            if ended.has_document:
                self._stores.documents.delete(import_id)
        return ended

    def _state_of(self, import_id: str) -> str | None:
        found = self._stores.imports.get(import_id)
        return None if found is None else found.state

    def _tell_commit(self, run: Run, gathered: Gathered, outcome: dict[str, Any]) -> None:
        """Tell that an import ended with its commit; of one that goes on only in detail."""
        if outcome["state"] is ImportState.COMPLETED:
            self._outcomes.report_completed(
                run.importing,
                outcome["counts"],
                queue=None,
                not_modified=gathered.is_not_modified,
            )
            return
        log.debug(
            "import_committed",
            import_id=run.importing.import_id,
            source=run.source,
            revision=run.revision,
            journaled=outcome["journaled"],
            queue=outcome["queue"],
        )


def _hosts_to_ask(importing: Import) -> set[str]:
    if importing.has_document or importing.state not in BEFORE_COMMIT:
        return set()
    return hosts_of(importing.urls)


def _named_import(job: ClaimedJob) -> str:
    import_id = _find_import(job)
    if import_id is None:
        raise DoomedJob("the job's data names no import")
    return import_id


def _find_import(job: ClaimedJob) -> str | None:
    try:
        named = orjson.loads(job.raw_data)["import_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return named if isinstance(named, str) else None


def _reason_to_give_up(error: BaseException) -> FetchError | ParseError | None:
    """Return why a job's import is to fail; None when a store was to blame."""
    if isinstance(error, RunOverdue):
        return FetchError("", ErrorKind.TIMEOUT, str(error))
    if isinstance(error, DoomedJob):
        reason = "its server stopped, or lost its lock, in each of its runs; see the servers' logs"
        return ParseError(ErrorKind.RUN_LOST, reason)
    if isinstance(error, UnreadableDocument):
        return ParseError(ErrorKind.UNREADABLE_RECORD, str(error))
    if getattr(error, "retryable", False):
        return None
    return ParseError(
        ErrorKind.INTERNAL, f"an error of Feedmill's own, please report it: {error!r}"
    )
