"""Back-fills: a feed's past, imported by an indexer of its own beside what is read today."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from server.feeds.progress import (
    CANCELLED,
    BackFillView,
    count_intervals,
    find_runs,
    show_progress,
    to_history,
)
from server.feeds.windows import FeedWindow, PullsWanted
from shared.clock import Clock
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.intervals import change
from shared.models import format_time
from shared.store import Feed, Stores
from shared.store.intervals import BackFill, IndexerState
from shared.store.reading import Misfit

MAX_HISTORY = 10
# The items of a feed's pages fill gaps: whatever an import of today stores has a higher revision.
PAGES_REVISION = 1
# More would be no back-fill but a mistake in a date.
MAX_INTERVALS = 10_000_000
FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_SUFFIX = "#backfill"


class BackFills:
    """Begins, pauses, resumes and cancels back-fills; one a feed at a time. Safe for threads.

    A dispatcher takes their intervals. All there is to one is its indexer's document, so that
    whatever crashes, another server goes on with it.
    """

    def __init__(self, stores: Stores, clock: Clock, wanted: PullsWanted) -> None:
        self._stores = stores
        self._clock = clock
        self._wanted = wanted

    def start(self, source: str, from_: datetime, to: datetime | None = None) -> BackFillView:
        """Begin a back-fill from one time to another.

        Without ``to`` it goes to where the feed's window begins. A feed without a window is read
        back by its pages until those are older than ``from_``; then there is no ``to``.

        Raises:
            NotFoundError: there is no such feed.
            ConflictError: one is under way.
            InvalidRequestError: the feed or the times do not allow it; the text says why.
        """
        feed = self._get_feed(source)
        now = self._clock.now()
        new = _plan(feed, from_, to, now)
        if not self._stores.intervals.insert(new):
            change(self._stores.intervals, new.name, lambda seen: _succeed(seen, new))
        self._wanted.set()
        return self.get(source)

    def pause(self, source: str) -> BackFillView:
        """Take no more intervals until it is resumed; those in flight end. Safe to repeat.

        Raises:
            NotFoundError: there is no such feed, or it has no back-fill.
            ConflictError: it has ended.
        """
        return self._change(source, pause)

    def resume(self, source: str) -> BackFillView:
        """Go on after a pause. Safe to repeat; raises as :meth:`pause`."""
        return self._change(source, lambda state: resume(state, self._clock.now()))

    def cancel(self, source: str) -> BackFillView:
        """End it for good: what is not committed fails, what is stored stays.

        Raises as :meth:`pause`.
        """
        return self._change(source, lambda state: cancel(state, self._clock.now()))

    def end(self, source: str) -> None:
        """Cancel a feed's back-fill if one is under way: the feed was deleted. Safe to repeat.

        After that: a crash in between leaves it to a dispatcher's next look.
        """
        state = self._stores.intervals.get(name_of(source))
        if state is not None and state.backfill is not None:
            now = self._clock.now()
            change(self._stores.intervals, state.name, lambda seen: _cancel_if_running(seen, now))
            self._wanted.set()

    def get(self, source: str) -> BackFillView:
        """Return a feed's back-fill: the one that is under way, else the last.

        Raises:
            NotFoundError: there is no such feed, or it has no back-fill.
        """
        self._get_feed(source)
        state = self._stores.intervals.get(name_of(source))
        if state is None or state.backfill is None:
            raise _never(source)
        return self._show([state])[0]

    def list_running(self) -> list[BackFillView]:
        """Return all back-fills that have not ended, paused ones too, by source."""
        found = self._stores.intervals.find_backfills()
        return self._show(sorted(found, key=lambda each: each.source))

    def _change(
        self, source: str, act: Callable[[IndexerState], IndexerState | None]
    ) -> BackFillView:
        self._get_feed(source)
        name = name_of(source)
        if self._stores.intervals.get(name) is None:
            raise _never(source)
        changed = change(self._stores.intervals, name, act)
        self._wanted.set()
        return self._show([changed])[0]

    def _show(self, states: Sequence[IndexerState]) -> list[BackFillView]:
        """Return back-fills with their progress; one find for all of them."""
        wanted = {each for state in states for each in find_runs(state)}
        imports = self._stores.imports.read_many(wanted) if wanted else {}
        now = self._clock.now()
        return [show_progress(state, imports, now) for state in states]

    def _get_feed(self, source: str) -> Feed:
        feed = self._stores.feeds.get(source)
        if feed is None:
            raise NotFoundError(f"there is no feed {source[:80]!r}")
        return feed


def name_of(source: str) -> str:
    """Return the name of the indexer of a feed's back-fills."""
    return f"{source}{_SUFFIX}"


def pause(state: IndexerState) -> IndexerState:
    """Return a back-fill that takes nothing more until it is resumed. Pure.

    Raises:
        ConflictError: it has ended.
    """
    return replace(state, backfill=replace(_get_running(state), is_paused=True))


def resume(state: IndexerState, now: datetime) -> IndexerState:
    """Return a back-fill that goes on; the time left is learnt anew. Pure; raises as ``pause``."""
    backfill = _get_running(state)
    if not backfill.is_paused:
        return replace(state, due_at=now)
    return replace(state, due_at=now, backfill=replace(backfill, is_paused=False, recent=[]))


def cancel(state: IndexerState, now: datetime) -> IndexerState:
    """Return a back-fill that has ended, in a further epoch: what it has under way is stale. Pure.

    Raises as ``pause``.
    """
    ended = replace(_get_running(state), is_ended=True, outcome=CANCELLED, ended_at=now)
    return replace(state, epoch=state.epoch + 1, open=(), due_at=now, backfill=ended)


def _cancel_if_running(state: IndexerState, now: datetime) -> IndexerState | None:
    is_over = state.backfill is None or state.backfill.is_ended
    return None if is_over else cancel(state, now)


def _get_running(state: IndexerState) -> BackFill:
    if state.backfill is None:
        raise _never(state.source)
    if state.backfill.is_ended:
        raise ConflictError(f"the back-fill of {state.source!r} has ended; start another one")
    return state.backfill


def _never(source: str) -> NotFoundError:
    return NotFoundError(f"feed {source!r} has no back-fill")


def _succeed(seen: IndexerState, new: IndexerState) -> IndexerState:
    """Return a back-fill that follows an earlier one of its feed, in a further epoch."""
    if seen.backfill is not None and not seen.backfill.is_ended:
        raise ConflictError(f"a back-fill of {seen.source!r} is running; cancel it first")
    history = [*seen.history, to_history(seen)] if seen.backfill is not None else seen.history
    return replace(
        new,
        epoch=seen.epoch + 1,
        settled_epoch=seen.settled_epoch,
        history=history[-MAX_HISTORY:],
    )


def _plan(feed: Feed, from_: datetime, to: datetime | None, now: datetime) -> IndexerState:
    """Return the indexer of a feed's first back-fill.

    Raises:
        InvalidRequestError: the feed or the times do not allow it.
    """
    if not feed.urls:
        raise InvalidRequestError(f"feed {feed.source!r} has no URL to fetch")
    if from_ < FIRST_TIME:
        raise InvalidRequestError(f"from must not be before {format_time(FIRST_TIME)}")
    if from_ >= now:
        raise InvalidRequestError(f"from {format_time(from_)} must be in the past")
    begin = _plan_pages if feed.window is None else _plan_intervals
    backfill = begin(feed, _whole_ms(from_), _whole_ms(to) if to is not None else None, now)
    return IndexerState(
        name_of(feed.source),
        feed.source,
        epoch=1,
        cursor=backfill.starts_at,
        settled_epoch=1,
        due_at=now,
        backfill=backfill,
    )


def _plan_pages(feed: Feed, from_: datetime, to: datetime | None, now: datetime) -> BackFill:
    if to is not None:
        raise InvalidRequestError(
            f"feed {feed.source!r} has no window: it is read by its pages, from the newest back, "
            "so leave out to"
        )
    return BackFill(
        starts_at=1,
        until=None,
        step={"pages": True, "from": from_, "urls": list(feed.urls)},
        started_at=now,
        next_url=feed.urls[0],
        content_revision=PAGES_REVISION,
    )


def _plan_intervals(feed: Feed, from_: datetime, to: datetime | None, now: datetime) -> BackFill:
    window = _read_window(feed)
    latest = now - timedelta(seconds=window.lag_s)
    until = to or _whole_ms(min(window.starts_at, latest))
    if until > latest:
        raise InvalidRequestError(
            f"to {format_time(until)} must not be after {format_time(_whole_ms(latest))}: "
            "now, less the lag of the feed's window"
        )
    if from_ >= until:
        end = "to" if to is not None else "where the feed's window begins; name a to to read again"
        raise InvalidRequestError(
            f"from {format_time(from_)} must be before {format_time(until)}, {end}"
        )
    planned = BackFill(starts_at=from_, until=until, step=window.to_document(), started_at=now)
    if (count_intervals(planned) or 0) > MAX_INTERVALS:
        raise InvalidRequestError(
            f"from {format_time(from_)} to {format_time(until)} in steps of {window.step_s} s: "
            f"at most {MAX_INTERVALS} intervals are accepted"
        )
    return planned


def _read_window(feed: Feed) -> FeedWindow:
    try:
        window = FeedWindow.read(feed.window or {})
    except Misfit as exc:
        raise InvalidRequestError(f"feed {feed.source!r}: {exc}; give it another window") from exc
    if window.is_by_page:
        raise InvalidRequestError(
            f"feed {feed.source!r} is read by page number, so it has no times to back-fill; "
            "to read again from a page, use rollback"
        )
    return window


def _whole_ms(moment: datetime) -> datetime:
    """Return a time as the store keeps it."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
