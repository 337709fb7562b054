"""Rollbacks: read a window again from an earlier position, and let nothing read before interfere.

One write raises the epoch and moves the cursor; what was handed out before is stale from then on.
All that follows from that write is done by :meth:`Rollbacks.settle`, on whichever server.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from server.feeds.pulls import read_pull_job_id
from server.feeds.windows import FeedWindow, PullsWanted
from server.importing.auditor import Auditor
from server.importing.feed_step import Failures
from server.importing.values import Failure
from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import (
    BusyError,
    InvalidRequestError,
    NotFoundError,
    ParseError,
    UnreadableDocument,
)
from shared.intervals import RolledBack, change, roll_back
from shared.logs import get_logger
from shared.queue import JobQueue, JobState, JobView
from shared.queue.reading import load_json
from shared.store import DeadLetter, Import, Stores, Trigger
from shared.store.imports import BEFORE_COMMIT
from shared.store.intervals import IndexerState, Position

log = get_logger("server.importing.rollbacks")

ROLLBACK_WAIT_S = 30.0
POLL_S = 0.1
_ROLLED_BACK = ParseError(ErrorKind.STALE_EPOCH, "its interval was rolled back")


class Rollbacks:
    """Rolls feeds' windows back. Safe for threads, and beside other servers.

    Items that an earlier epoch stored stay; read again, they are compared as always.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        auditor: Auditor,
        failures: Failures,
        fetch_queue: JobQueue,
        item_queues: Sequence[JobQueue],
        dead_letter_queue: JobQueue,
        wanted: PullsWanted,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._stores = stores
        self._auditor = auditor
        self._failures = failures
        self._fetch_queue = fetch_queue
        self._item_queues = item_queues
        self._dead_letter_queue = dead_letter_queue
        self._wanted = wanted
        self._clock = clock
        self._stop = stop

    def roll_back(self, source: str, to: Position) -> RolledBack:
        """Roll a feed's window back, and wait until nothing of an earlier epoch can be stored.

        At most 30 s; the same request again goes on with the same epoch as long as it is not
        settled. The answer's cursor lies before ``to`` when intervals before it were still open.

        Raises:
            NotFoundError: there is no such feed.
            InvalidRequestError: it has no window, or ``to`` lies outside of what was read.
            BusyError: jobs are still being worked on; everybody's dispatcher goes on meanwhile.
        """
        begun = self.begin(source, to)
        until_s = self._clock.monotonic_s() + ROLLBACK_WAIT_S
        while left := self._settle_on(begun):
            if self._clock.monotonic_s() >= until_s or self._clock.wait(self._stop, POLL_S):
                raise BusyError(
                    f"the rollback of {source!r} has begun, and waits for {left} jobs of before "
                    "that are still worked on; send the same request again"
                )
        return RolledBack(begun.epoch, begun.cursor)

    def begin(self, source: str, to: Position) -> IndexerState:
        """Raise the epoch of a feed's window and move its cursor, in one write.

        While a rollback to the same position is not settled: nothing, but return the indexer.

        Raises:
            NotFoundError, InvalidRequestError: as for :meth:`roll_back`.
        """
        window = self._window_of(source)
        to = _whole_ms(to)
        _check_target(source, window, to)
        now = self._clock.now()

        def act(seen: IndexerState) -> IndexerState | None:
            if seen.settled_epoch < seen.epoch and seen.rolled_back_to == to:
                return None
            # Due at once: should this server die, another's dispatcher settles it.
            return replace(roll_back(seen, to), due_at=now, next_take_at=None)

        begun = change(self._stores.intervals, source, act)
        log.info("rollback_begun", source=source, epoch=begun.epoch, cursor=str(begun.cursor))
        return begun

    def settle(self, state: IndexerState) -> int:
        """Do what is left of an indexer's last rollback; 0 when it is settled.

        Else how many jobs, or replays, it waits for. Safe to repeat, by any server at any moment;
        works for an indexer that was ended or begun anew just as well.

        Raises:
            StoreUnavailable, QueueUnavailable: call again.
        """
        try:
            return self._settle(state)
        except UnreadableDocument as exc:
            # Of one source: the others' rounds are not to wait for it.
            log.warning("rollback_not_settled", indexer=state.name, error=str(exc))
            return 1

    def _settle(self, state: IndexerState) -> int:
        """Settle in an order that leaves no gap: each step rests on those before it."""
        committed = self._fail_uncommitted(state)
        # From here on no run of an earlier epoch commits. Whoever claims an item now reads the
        # raised epoch, so only who claimed before can still write: for these it waits.
        if claimed := self._count_claimed(state):
            return claimed
        for importing in committed:
            self._close(importing)
        if replays := self._count_replays(state):
            return replays
        self._clear(state)
        # A replay that began before that may hold what was cleared; a later one does not.
        return self._count_replays(state) or self._mark_settled(state)

    def _close(self, importing: Import) -> None:
        """Close a stale import; one whose journal is spoilt stays open, and stores nothing."""
        try:
            self._auditor.close_stale(importing)
        except UnreadableDocument as exc:
            log.warning("stale_import_not_closed", import_id=importing.import_id, error=str(exc))

    def _settle_on(self, begun: IndexerState) -> int:
        """Settle the indexer as it is by now, unless somebody else did."""
        current = self._stores.intervals.get(begun.name)
        if current is None or current.settled_epoch >= begun.epoch:
            return 0
        return self.settle(current)

    def _window_of(self, source: str) -> FeedWindow:
        feed = self._stores.feeds.get(source)
        if feed is None:
            raise NotFoundError(f"there is no feed {source[:80]!r}")
        if feed.window is None:
            raise InvalidRequestError(f"feed {source!r} has no window, so nothing to roll back")
        return FeedWindow.read(feed.window)

    def _fail_uncommitted(self, state: IndexerState) -> list[Import]:
        """Fail stale imports before their commit; return those that are committed.

        The commit's own guard does not hold for an import that is failed. One that is inserted
        only now is seen as stale by its run, which asks when it is there.
        """
        stale = self._find_stale_imports(state)
        for importing in stale:
            if importing.state in BEFORE_COMMIT:
                self._failures.fail(importing, None, Failure(_ROLLED_BACK), None)
        # Read again: one may have been committed just before it was to fail.
        return [each for each in self._find_stale_imports(state) if each.state not in BEFORE_COMMIT]

    def _find_stale_imports(self, state: IndexerState) -> list[Import]:
        return [each for each in self._find_open(state.source) if _is_stale(each, state)]

    def _find_open(self, source: str) -> list[Import]:
        """Return the open imports of a source that can be read: no run of another begins."""
        try:
            return self._stores.imports.find_open(source)
        except UnreadableDocument:
            return [each for each in self._stores.imports.find_open() if each.source == source]

    def _count_claimed(self, state: IndexerState) -> int:
        """Return how many jobs of an earlier epoch somebody works on at this moment."""
        named = map(read_pull_job_id, self._fetch_queue.active_ids())
        fetches = [
            each for each in named if each and each[0] == state.name and each[1] < state.epoch
        ]
        parts = [part for queue in self._item_queues for part in queue.parts]
        return len(fetches) + sum(len(_find_claimed_items(part, state)) for part in parts)

    def _count_replays(self, state: IndexerState) -> int:
        found = self._find_open(state.source)
        return sum(each.trigger == Trigger.REPLAY for each in found)

    def _clear(self, state: IndexerState) -> None:
        """Delete dead letters and kept bodies of what is read again: it is judged afresh."""
        if not _reads_again(state):
            return
        letters = self._stores.dead_letters
        ids = letters.find_dead(source=state.source)
        outdated = self._find_outdated(list(letters.read_many(ids).values()), state)
        if outdated:
            # The job first: after a crash in between the letter is there to be found again.
            self._dead_letter_queue.remove_many([each.item_id for each in outdated])
            letters.delete_some(outdated)
        self._stores.bodies.delete_from(state.source, state.name, state.cursor, _end_of(state))

    def _find_outdated(
        self, letters: Sequence[DeadLetter], state: IndexerState
    ) -> list[DeadLetter]:
        """Return the letters of stale imports whose interval is read again.

        Also of those that have been replayed and failed again: the revision stays their own.
        """
        named = {import_id for each in letters for import_id in each.import_ids}
        imports = self._stores.imports.read_many(named)
        outdated = {
            name
            for name, each in imports.items()
            if _is_stale(each, state) and _is_read_again(each, state)
        }
        return [each for each in letters if outdated & each.import_ids]

    def _mark_settled(self, state: IndexerState) -> int:
        """Let intervals be taken again; 1 when another rollback has begun meanwhile."""
        now = self._clock.now()

        def act(seen: IndexerState) -> IndexerState | None:
            if seen.epoch != state.epoch or seen.settled_epoch >= seen.epoch:
                return None
            return replace(seen, settled_epoch=seen.epoch, rolled_back_to=None, due_at=now)

        stored = change(self._stores.intervals, state.name, act)
        if stored.epoch != state.epoch:
            return 1
        log.info("epoch_settled", indexer=state.name, epoch=state.epoch)
        self._wanted.set()
        return 0


def _check_target(source: str, window: FeedWindow, to: Any) -> None:
    """Refuse what is no position of a window, or lies before its start."""
    if isinstance(to, int) != window.is_by_page:
        kind = "a page number" if window.is_by_page else "a time"
        raise InvalidRequestError(f"feed {source!r} can be rolled back to {kind} only")
    if to < window.first:
        raise InvalidRequestError(
            f"the window of {source!r} starts at {window.first}, and {to} is before that; "
            "use a back-fill for older items"
        )


def _whole_ms(position: Position) -> Position:
    """Return a position as the store keeps it, so that a repeated request is known again."""
    if not isinstance(position, datetime):
        return position
    return position.replace(microsecond=position.microsecond // 1000 * 1000)


def _is_stale(importing: Import, state: IndexerState) -> bool:
    is_of_it = importing.indexer == state.name and importing.epoch is not None
    return is_of_it and (importing.epoch or 0) < state.epoch


def _reads_again(state: IndexerState) -> bool:
    """Return whether an indexer reads anything again; by pages nobody knows what it will be."""
    is_over = state.backfill is not None and state.backfill.is_ended
    is_paged = state.backfill is not None and state.backfill.until is None
    return state.is_active and not is_over and not is_paged


def _end_of(state: IndexerState) -> Any:
    return state.backfill.until if state.backfill is not None else None


def _is_read_again(importing: Import, state: IndexerState) -> bool:
    """Return whether an import's interval is ahead of its indexer, and before its end.

    Never where they do not compare, as after a window by time gave way to one by page.
    """
    start: Any = (importing.interval or {}).get("start")
    until = _end_of(state)
    is_ahead = isinstance(start, type(state.cursor)) and start >= state.cursor
    return is_ahead and (until is None or start < until)


def _find_claimed_items(queue: JobQueue, state: IndexerState) -> list[JobView]:
    """Return the items of an earlier epoch that are claimed from one part of a queue."""
    ids = [each for each in queue.active_ids() if each.startswith(f"{state.source}#")]
    views: Iterable[JobView | None] = queue.get_jobs(ids) if ids else ()
    return [each for each in views if each and _is_claimed_of(each, state)]


def _is_claimed_of(view: JobView, state: IndexerState) -> bool:
    if view.state is not JobState.ACTIVE:
        return False
    try:
        data = load_json(view.data or "")
    except (orjson.JSONDecodeError, UnicodeError):
        return False
    if not isinstance(data, dict) or data.get("indexer") != state.name:
        return False
    epoch = data.get("epoch")
    return isinstance(epoch, int) and epoch < state.epoch
