"""A round: what a dispatcher does next with the intervals of one indexer. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from server.feeds.page_chains import is_at_end, knows_next, note_page, note_taken
from server.feeds.pulls import is_paged, of_interval, pull_import, pull_import_id, window_of
from server.feeds.windows import FeedWindow, end_indexer
from shared.errors import ReachedLatest
from shared.intervals import MAX_OPEN, take
from shared.models import format_time
from shared.store import Feed, Import, ImportState
from shared.store.imports import BEFORE_COMMIT
from shared.store.intervals import BackFill, IndexerState, OpenInterval
from shared.store.reading import Misfit

# A round is worth while as often, as long as anything is open.
LOOK_EVERY = timedelta(seconds=1)
# Committed imports beyond this wait for workers: nothing more is taken for them.
MAX_BACKLOG = 32
FIRST_RETRY = timedelta(minutes=1)
MAX_RETRY = timedelta(hours=1)
# A host's pause may be lifted before its end.
PAUSE_LOOK = timedelta(minutes=1)
# What is disabled or paused takes nothing, but may have lost its feed, and ends then.
STOPPED_LOOK = timedelta(hours=1)
# Whoever took an interval may not have added its job yet.
JOB_PATIENCE = timedelta(seconds=10)
KEPT_CLOSINGS = 20
DONE = "done"
FEED_GONE = "the feed was deleted, or has no URL"


@dataclass(frozen=True, slots=True)
class BackFillLimits:
    """How many intervals of a back-fill are fetched at a time, and the time from one to the next.

    Over all servers.
    """

    in_flight: int
    gap: timedelta


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a round goes by beside its indexer: ``imports`` are those of its open intervals, by id.

    ``blocked_until``: none of the feed's hosts may be asked before. ``is_reparsing``: the feed is
    imported from kept bodies just now. ``is_asked``: somebody wants it now, so that neither a
    disabled feed nor the pause before another try counts.
    """

    feed: Feed | None
    imports: Mapping[str, Import]
    now: datetime
    backfills: BackFillLimits
    blocked_until: datetime | None = None
    is_reparsing: bool = False
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """What is to be done: store ``state`` first, then insert, then add the jobs of what waits.

    ``to_insert`` are new imports, or lost ones; ``waiting`` those that may have lost their job,
    as their indexer has them.
    ``closed`` came to their end. ``feed_changes`` are what the feed shows of it.
    """

    state: IndexerState
    to_insert: Sequence[Import] = ()
    waiting: Sequence[Import] = ()
    closed: Sequence[Import] = ()
    feed_changes: Mapping[str, Any] = field(default_factory=dict)


class _Hold(NamedTuple):
    """Nothing is to be taken before the next look, which is then."""

    until: datetime


class _Taken(NamedTuple):
    """An indexer after it gave what may be taken, and when there will be more, if that is known."""

    state: IndexerState
    more_at: datetime | None


def advance(state: IndexerState, at: Conditions) -> Round:
    """Return the next round of an indexer.

    Intervals whose imports are closed are open no more, those whose imports failed are tried again
    after a pause that grows to an hour, and as many are taken as may be.

    Raises:
        Misfit: the window is not fit for anything, or is missing, or makes malformed URLs.
    """
    if is_over(state) or at.feed is None or (state.backfill is None and at.feed.window is None):
        return Round(_end(state, at.now))
    window = window_of(state, at.feed)
    if isinstance(state.cursor, int) != window.is_by_page:
        raise Misfit(f"the window is not of the same kind as its cursor, {state.cursor}")
    closed = _find_closed(state, at)
    state = note_page(state, at.imports)
    state = _close(state, window, closed, at)
    hold = _find_hold(state, at)
    taken = _take(state, window, at) if hold is None else _Taken(state, hold.until)
    state = _end_if_done(taken.state, at.now)
    running = [one for one in state.open if one.retry_at is None]
    return Round(
        replace(state, due_at=_find_due(state, taken.more_at, hold, at.now)),
        to_insert=[
            pull_import(state, one, at.feed, at.now)
            for one in running
            if pull_import_id(state.name, one) not in at.imports
        ],
        waiting=[found for one in running if (found := _find_waiting(state, one, at))],
        closed=list(closed.values()),
        feed_changes={} if state.backfill else _show(state, taken.more_at, hold, closed, at),
    )


def is_over(state: IndexerState) -> bool:
    """Return whether an indexer takes nothing any more, however long it is looked at."""
    return not state.is_active or (state.backfill is not None and state.backfill.is_ended)


def end_backfill(state: IndexerState, outcome: str, now: datetime) -> IndexerState:
    """Return a back-fill that takes nothing any more, with why."""
    assert state.backfill is not None
    ended = replace(state.backfill, is_ended=True, outcome=outcome, ended_at=now)
    return replace(state, open=(), due_at=_due_to_settle(state, now), backfill=ended)


def _end(state: IndexerState, now: datetime) -> IndexerState:
    if is_over(state):
        return replace(state, due_at=_due_to_settle(state, now))
    return end_backfill(state, FEED_GONE, now) if state.backfill else end_indexer(state, now)


def _due_to_settle(state: IndexerState, now: datetime) -> datetime | None:
    return None if state.settled_epoch >= state.epoch else now + LOOK_EVERY


def _find_import(state: IndexerState, one: OpenInterval, at: Conditions) -> Import | None:
    return at.imports.get(pull_import_id(state.name, one))


def _find_closed(state: IndexerState, at: Conditions) -> dict[OpenInterval, Import]:
    """Return the open intervals whose import has come to its end, with that."""
    found = {one: _find_import(state, one, at) for one in state.open if one.retry_at is None}
    return {one: each for one, each in found.items() if each is not None and not each.is_open}


def _find_waiting(state: IndexerState, one: OpenInterval, at: Conditions) -> Import | None:
    """Return the import of an open interval if it ought to have a job, and may have lost that.

    With the interval that the indexer names, of which the job is made, whatever is stored there.
    """
    found = _find_import(state, one, at)
    if found is None or found.state not in BEFORE_COMMIT:
        return None
    return of_interval(found, state, one) if found.requested_at <= at.now - JOB_PATIENCE else None


def _close(
    state: IndexerState,
    window: FeedWindow,
    closed: Mapping[OpenInterval, Import],
    at: Conditions,
) -> IndexerState:
    """Return the state after what is closed: completed is open no more, failed waits for a try."""
    left: list[OpenInterval] = []
    for one in state.open:
        ended = closed.get(one)
        if ended is None:
            left.append(one)
        elif ended.state is ImportState.FAILED:
            left.append(_try_again(one, at.now))
        elif window.is_by_page and not (ended.counts.get("fetched") or is_paged(state)):
            state = _await_page(state, window, one, at.now)
    counted = _count(state.backfill, closed.values(), at.now) if state.backfill else None
    return replace(state, open=tuple(left), backfill=counted)


def _try_again(one: OpenInterval, now: datetime) -> OpenInterval:
    pause = min(MAX_RETRY, FIRST_RETRY * 2.0 ** min(one.tries, 16))
    return replace(one, tries=one.tries + 1, retry_at=now + pause)


def _await_page(
    state: IndexerState, window: FeedWindow, empty: OpenInterval, now: datetime
) -> IndexerState:
    """Return the state after an empty page: the last one with items is read again, it may grow."""
    return replace(
        state,
        cursor=max(window.first_page, empty.start - 1),
        next_take_at=now + timedelta(seconds=window.step_s),
    )


def _count(backfill: BackFill, closed: Iterable[Import], now: datetime) -> BackFill:
    """Return a back-fill's progress with what has come to its end."""
    for ended in closed:
        if ended.state is ImportState.FAILED:
            backfill = replace(backfill, failed=backfill.failed + 1)
            continue
        counts = ended.counts
        backfill = replace(
            backfill,
            done=backfill.done + 1,
            items=backfill.items + counts.get("fetched", 0) - counts.get("duplicate", 0),
            new=backfill.new + counts.get("new", 0),
            dead=backfill.dead + counts.get("dead", 0),
            recent=[*backfill.recent, ended.finished_at or now][-KEPT_CLOSINGS:],
        )
    return backfill


def _end_if_done(state: IndexerState, now: datetime) -> IndexerState:
    backfill = state.backfill
    if backfill is None or state.open:
        return state
    if is_paged(state):
        return end_backfill(state, DONE, now) if is_at_end(backfill) else state
    return end_backfill(state, DONE, now) if state.cursor >= backfill.until else state


def _find_hold(state: IndexerState, at: Conditions) -> _Hold | None:
    """Return why nothing may be taken, not even for another try, as far as until when."""
    if state.settled_epoch < state.epoch or at.is_reparsing:
        return _Hold(at.now + LOOK_EVERY)
    if at.blocked_until is not None:
        return _Hold(min(at.blocked_until, at.now + PAUSE_LOOK))
    assert at.feed is not None
    is_stopped = not at.feed.enabled if state.backfill is None else state.backfill.is_paused
    return _Hold(at.now + STOPPED_LOOK) if is_stopped and not at.is_asked else None


def _take(state: IndexerState, window: FeedWindow, at: Conditions) -> _Taken:
    """Return the state with as many intervals in flight as may be, retries first."""
    limit = window.in_flight
    if state.backfill is not None and not window.is_by_page:
        limit = at.backfills.in_flight
    running = [one for one in state.open if one.retry_at is None]
    found = [_find_import(state, one, at) for one in running]
    room = limit - sum(each is None or each.state in BEFORE_COMMIT for each in found)
    state, room = _begin_retries(state, room, at)
    if window.is_by_page and not _knows_next_page(state):
        return _Taken(state, None)
    until = state.backfill.until if state.backfill else None
    step = window.on_handle_step(at.now, until)
    try:
        while room > 0 and not _is_later(state.next_take_at, at.now):
            state, _ = take(state, step, at.now, in_flight=min(MAX_OPEN, limit + MAX_BACKLOG))
            state = _note_take(state, at)
            room -= 1
    except ReachedLatest as exc:
        return _Taken(state, exc.retry_at)
    return _Taken(state, state.next_take_at if room > 0 else None)


def _knows_next_page(state: IndexerState) -> bool:
    """Return whether it is known that there is a further page: it shows by the one before."""
    if state.backfill is None or not is_paged(state):
        return not state.open
    return knows_next(state.backfill)


def _begin_retries(state: IndexerState, room: int, at: Conditions) -> tuple[IndexerState, int]:
    kept: list[OpenInterval] = []
    for one in state.open:
        if room > 0 and one.retry_at is not None and (at.is_asked or one.retry_at <= at.now):
            one = replace(one, retry_at=None)
            room -= 1
        kept.append(one)
    return replace(state, open=tuple(kept)), room


def _note_take(state: IndexerState, at: Conditions) -> IndexerState:
    """Keep a back-fill's rate: what a late round missed is made up for, as far as one round."""
    backfill = state.backfill
    if backfill is None:
        return state
    earliest = max(state.next_take_at or at.now, at.now - LOOK_EVERY)
    taken = note_taken(backfill) if is_paged(state) else backfill
    return replace(state, next_take_at=earliest + at.backfills.gap, backfill=taken)


def _find_due(
    state: IndexerState, more_at: datetime | None, hold: _Hold | None, now: datetime
) -> datetime | None:
    """Return when the next round is worth while; None: when somebody changes something."""
    if is_over(state):
        return _due_to_settle(state, now)
    times = [] if more_at is None else [more_at]
    if any(one.retry_at is None for one in state.open):
        times.append(now + LOOK_EVERY)
    if hold is None:
        times += [one.retry_at for one in state.open if one.retry_at is not None]
    return max(now, min(times)) if times else None


def _show(
    state: IndexerState,
    more_at: datetime | None,
    hold: _Hold | None,
    closed: Mapping[OpenInterval, Import],
    at: Conditions,
) -> dict[str, Any]:
    """Return what a feed shows of its window, as far as it does not show that already."""
    assert at.feed is not None
    shown: dict[str, Any] = {}
    # What is disabled gives only what somebody asked for: nothing comes next.
    if hold is None and at.feed.enabled:
        when = f", when {format_time(more_at)} has passed" if more_at else ""
        shown["next_fetch_reason"] = f"its window: next from {_word(state.cursor)}{when}"
    ended = sorted(closed.values(), key=lambda each: each.finished_at or each.requested_at)
    failures = at.feed.consecutive_failures
    for each in ended:
        failures = failures + 1 if each.state is ImportState.FAILED else 0
    if ended:
        shown |= {
            "last_import": ended[-1].import_id,
            "error": ended[-1].error,
            "consecutive_failures": failures,
        }
    return {name: value for name, value in shown.items() if getattr(at.feed, name) != value}


def _word(position: Any) -> str:
    return format_time(position) if isinstance(position, datetime) else f"page {position}"


def _is_later(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now
