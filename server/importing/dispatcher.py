"""Dispatches intervals: from indexers to imports and fetch jobs, as many as may be in flight.

What an interval needs follows from its indexer's document alone, which names it from the write on
that takes it: a crash behind that write is made good by the next round, on whichever server.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from server.feeds.conditions import ConditionReader, ids_of_open
from server.feeds.pulls import job_id_of, pull_job
from server.feeds.rounds import LOOK_EVERY, BackFillLimits, Conditions, Round, advance, is_over
from server.feeds.windows import PullsWanted, Windows
from server.importing.feed_step import Failures
from server.importing.values import Failure
from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ParseError,
    QueueError,
    StoreError,
    UnreadableDocument,
)
from shared.logs import get_logger
from shared.queue import JobQueue, JobState
from shared.store import Feed, Import, Stores
from shared.store.imports import BEFORE_COMMIT
from shared.store.intervals import IndexerState
from shared.store.reading import Misfit
from shared.supervision import Supervisor

log = get_logger("server.importing.dispatcher")

# Between looks while nothing is due: what other servers change is seen then.
IDLE_LOOK = timedelta(seconds=5)
OUTAGE_WAIT_S = 1.0
# Between two looks, whatever happens meanwhile.
REST_S = 0.05
MAX_INDEXERS_A_LOOK = 100
SWEEP_EVERY_S = 60.0
# Reads all enabled feeds; a server that starts does it at once.
ENSURE_EVERY_S = 3600.0
# Before an indexer is looked at again whose feed or window cannot be read.
UNREADABLE_PAUSE = timedelta(minutes=1)
# Each lost race means that another dispatcher did a round of the same indexer.
_MAX_TRIES = 8

# Does what is left of a rollback; returns how many claimed jobs it waits for, 0 when it is settled.
Settle = Callable[[IndexerState], int]


@dataclass(frozen=True, slots=True)
class KeptJobs:
    """How many ended fetch jobs the queue keeps."""

    completed: int
    failed: int


class Dispatcher:
    """Takes intervals of feeds' windows and back-fills, and starts their imports.

    Any number of servers may run one: of two that do a round of an indexer at the same moment,
    the one whose write comes second has done nothing.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        fetch_queue: JobQueue,
        windows: Windows,
        settle: Settle,
        failures: Failures,
        wanted: PullsWanted,
        limits: BackFillLimits,
        kept_jobs: KeptJobs,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._fetch_queue = fetch_queue
        self._windows = windows
        self._settle = settle
        self._failures = failures
        self._wanted = wanted
        self._conditions = ConditionReader(stores, limits, clock)
        self._kept_jobs = kept_jobs
        self._clock = clock
        self._swept_s = self._ensured_s = float("-inf")

    def start(self, supervisor: Supervisor, stop: threading.Event) -> None:
        """Look again and again until ``stop`` is set, on a supervised thread."""
        supervisor.start("dispatcher", self._step, stop)

    def _step(self) -> float:
        is_woken = self._wanted.is_set()
        self._wanted.clear()
        try:
            pause_s = self.look(ahead=LOOK_EVERY if is_woken else timedelta())
        except (StoreError, QueueError) as exc:
            log.warning("dispatch_failed", error=str(exc))
            return OUTAGE_WAIT_S
        self._clock.wait(self._wanted, pause_s)
        return REST_S

    def look(self, ahead: timedelta = LOOK_EVERY) -> float:
        """Do a round of each indexer that is due, or is so within ``ahead``.

        Returns for how many seconds nothing is due then, at most 5. What is wrong with one feed
        is logged, and holds up no other.

        Raises:
            StoreUnavailable, QueueUnavailable: what is half done the next look makes good.
        """
        self._sweep_if_due()
        now = self._clock.now()
        coming = self._stores.intervals.find_due(now + IDLE_LOOK, MAX_INDEXERS_A_LOOK)
        due = [state for state in coming if state.due_at and state.due_at <= now + ahead]
        if due:
            self._dispatch(due)
            return LOOK_EVERY.total_seconds()
        next_at = min((state.due_at for state in coming if state.due_at), default=None)
        return (IDLE_LOOK if next_at is None else next_at - now).total_seconds()

    def pull(self, source: str) -> list[Import]:
        """Do a round of a feed's window now, though it be disabled, or waits for another try.

        Returns the imports that are queued or fetching then; none when there is no interval to
        take, or the host asked to be left alone.

        Raises:
            NotFoundError: there is no such feed.
            InvalidRequestError: it has no window.
            ConflictError: others kept changing its indexer.
        """
        feed = self._stores.feeds.get(source)
        if feed is None:
            raise NotFoundError(f"there is no feed {source[:80]!r}")
        if feed.window is None:
            raise InvalidRequestError(f"feed {source!r} has no window")
        self._windows.ensure(feed)
        for _ in range(_MAX_TRIES):
            state = self._stores.intervals.get(source)
            seen = [self._settled(state)] if state is not None else []
            for indexer, at in self._conditions.read(seen, is_asked=True).found:
                done = self._do_round(indexer, at)
                if done is not None:
                    return [*_uncommitted(at.imports.values()), *done.to_insert]
        raise ConflictError(f"the window of {source!r} is being changed by others; try again")

    def _dispatch(self, due: Sequence[IndexerState]) -> None:
        settled: list[IndexerState] = []
        for state in due:
            try:
                settled.append(self._settled(state))
            except UnreadableDocument as exc:
                self._put_off(state, exc)
        read = self._conditions.read(settled)
        for state, error in read.unreadable:
            self._put_off(state, error)
        for state, at in read.found:
            self._do_round(state, at)

    def _settled(self, state: IndexerState) -> IndexerState:
        """Return an indexer after what can be settled of its last rollback."""
        if state.settled_epoch >= state.epoch or self._settle(state):
            return state
        return self._stores.intervals.get(state.name) or state

    def _put_off(self, state: IndexerState, error: Exception) -> None:
        """Leave an indexer alone for a minute, of which something has to be corrected first."""
        log.error("indexer_put_off", indexer=state.name, error=str(error))
        later = self._clock.now() + UNREADABLE_PAUSE
        self._stores.intervals.swap(state, replace(state, due_at=later))

    def _do_round(self, state: IndexerState, at: Conditions) -> Round | None:
        """Do the next round of an indexer; None when another dispatcher was faster.

        The indexer first: from then on it names what it gave, and a crash costs no interval.
        """
        try:
            todo = advance(state, at)
        except (ValueError, TypeError, OverflowError) as exc:
            # Whatever somebody wrote into the window or the indexer must not end the loop.
            self._put_off(state, exc)
            self._show_fault(at.feed, exc)
            return Round(state)
        todo = replace(todo, to_insert=self._without_unreadable(todo.to_insert))
        if self._stores.intervals.swap(state, todo.state) is None:
            return None
        self._stores.imports.insert_many(todo.to_insert)
        self._add_jobs([*todo.to_insert, *self._without_job(todo.waiting)])
        if todo.feed_changes:
            self._stores.feeds.update(state.source, todo.feed_changes)
        if is_over(todo.state) and not is_over(state):
            _log_end(todo.state)
        return todo

    def _show_fault(self, feed: Feed | None, error: Exception) -> None:
        shown = f"{ErrorKind.UNREADABLE_FEED}: {error}"
        if feed is not None and feed.error != shown:
            self._stores.feeds.update(feed.source, {"error": shown})

    def _without_unreadable(self, missing: Sequence[Import]) -> list[Import]:
        """Return those imports that are really not there: one may merely be unreadable."""
        if not missing:
            return []
        absent = self._stores.imports.find_absent(each.import_id for each in missing)
        return [each for each in missing if each.import_id in absent]

    def _without_job(self, waiting: Sequence[Import]) -> list[Import]:
        if not waiting:
            return []
        views = self._fetch_queue.get_jobs([job_id_of(each) for each in waiting])
        return [
            each
            for each, view in zip(waiting, views, strict=True)
            if view is None or view.state in (JobState.COMPLETED, JobState.FAILED)
        ]

    def _add_jobs(self, imports: Sequence[Import]) -> None:
        kept = self._kept_jobs
        jobs = [
            pull_job(each, keep_completed=kept.completed, keep_failed=kept.failed)
            for each in imports
        ]
        if jobs:
            self._fetch_queue.add_many(jobs)

    def _sweep_if_due(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._swept_s < SWEEP_EVERY_S:
            return
        if now_s - self._ensured_s >= ENSURE_EVERY_S:
            for feed in self._stores.feeds.find_enabled(windowed=True):
                self._ensure(feed)
            self._ensured_s = now_s
        self._fail_orphans()
        self._swept_s = now_s

    def _ensure(self, feed: Feed) -> None:
        try:
            self._windows.ensure(feed)
        except (Misfit, UnreadableDocument) as exc:
            log.warning("window_unreadable", source=feed.source, error=str(exc))

    def _fail_orphans(self) -> None:
        """Fail imports before their commit that no indexer names: nobody would ever do so else.

        Such are left when a server dies behind a rollback that it did not see.
        """
        opened = [each for each in self._stores.imports.find_open() if each.indexer is not None]
        uncommitted = _uncommitted(opened)
        # Read later than the imports: an indexer names its intervals before these are inserted.
        states = self._stores.intervals.read_many({each.indexer or "" for each in uncommitted})
        named = set(ids_of_open(states.values()))
        for found in uncommitted:
            if found.import_id not in named:
                reason = f"{found.indexer} does not go on with this interval"
                stale = ParseError(ErrorKind.STALE_EPOCH, reason)
                self._failures.fail(found, None, Failure(stale), None)


def _uncommitted(imports: Iterable[Import]) -> list[Import]:
    return [each for each in imports if each.state in BEFORE_COMMIT]


def _log_end(ended: IndexerState) -> None:
    backfill = ended.backfill
    if backfill is None:
        log.info("window_ended", source=ended.source)
        return
    log.info(
        "backfill_ended",
        source=ended.source,
        outcome=backfill.outcome,
        intervals=backfill.done,
        items=backfill.items,
        new=backfill.new,
        dead=backfill.dead,
    )
