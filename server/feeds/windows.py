"""Windows: feeds that are read interval by interval, by time or by page number."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from server.feeds.outcomes import Outcomes
from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import InvalidRequestError, ReachedLatest
from shared.intervals import Interval, change
from shared.models import format_time
from shared.store import Feed, Stores
from shared.store.database import Document
from shared.store.imports import BEFORE_COMMIT
from shared.store.intervals import IndexerState, Position
from shared.store.reading import Misfit, read_fields

# Set when there may be intervals to take that no dispatcher of this process knows of.
PullsWanted = threading.Event

START, ENDED, PAGE = "{start}", "{ended}", "{page}"
MAX_STEP_S = 366 * 86400
MAX_IN_FLIGHT = 32
# Of a start: no step, lag or overlap leads out of the years that can be computed with.
MIN_YEAR, MAX_YEAR = 1000, 2200
FORMATS = ("rfc3339", "epoch_s", "epoch_ms", "page")
_STORED = {"starts_at": "from", "step_s": "step_s"}
_OPTIONAL = ("in_flight", "overlap_s", "lag_s", "format", "first_page")


@dataclass(frozen=True, slots=True)
class FeedWindow:
    """How a feed is read by intervals.

    The first starts at ``starts_at``, each is ``step_s`` long, none ends later than ``lag_s``
    before now, and at most ``in_flight`` are fetched at a time. ``overlap_s``: so much earlier a
    URL's ``{start}`` is than its interval. ``format`` is how a URL's times are written; with
    ``page`` the intervals are page numbers from ``first_page`` on, and ``step_s`` is how long the
    last page is left alone before it is read again.
    """

    starts_at: datetime
    step_s: int
    in_flight: int = 1
    overlap_s: int = 0
    lag_s: int = 0
    format: str = "rfc3339"
    first_page: int = 1

    @classmethod
    def read(cls, document: Document) -> "FeedWindow":
        """Return the window that a feed or a back-fill is stored with.

        Raises:
            Misfit: it is none, as if somebody had changed it by hand.
        """
        missing = [stored for stored in _STORED.values() if document.get(stored) is None]
        if missing:
            raise Misfit(f"the window has no {missing[0]}")
        values = {name: document[stored] for name, stored in _STORED.items()}
        values |= {name: document[name] for name in _OPTIONAL if document.get(name) is not None}
        window = read_fields(cls, values)
        if (fault := window.find_fault()) is not None:
            raise Misfit(f"the window's {fault}")
        return window

    def to_document(self) -> Document:
        """Return the window as it is stored and shown."""
        plain = {stored: getattr(self, name) for name, stored in _STORED.items()}
        return plain | {name: getattr(self, name) for name in _OPTIONAL}

    def find_fault(self) -> str | None:
        """Return which field does not go with what, and why; None when the window is fit."""
        if self.format not in FORMATS:
            return f"format must be one of {', '.join(FORMATS)}"
        if not self.is_by_page and not MIN_YEAR <= self.starts_at.year <= MAX_YEAR:
            years = f"the years {MIN_YEAR} to {MAX_YEAR}"
            return f"from must be in {years}, not {self.starts_at.date()}"
        if not 1 <= self.step_s <= MAX_STEP_S:
            return f"step_s must be 1 to {MAX_STEP_S}, not {self.step_s}"
        if not 1 <= self.in_flight <= MAX_IN_FLIGHT:
            return f"in_flight must be 1 to {MAX_IN_FLIGHT}, not {self.in_flight}"
        if self.is_by_page and self.in_flight > 1:
            return f"in_flight must be 1 with format page, not {self.in_flight}"
        if not 0 <= self.overlap_s < self.step_s * 100:
            return f"overlap_s must be at least 0 and less than 100 steps, not {self.overlap_s}"
        if not 0 <= self.lag_s <= MAX_STEP_S:
            return f"lag_s must be 0 to {MAX_STEP_S}, not {self.lag_s}"
        return None if self.first_page >= 0 else "first_page must be at least 0"

    @property
    def is_by_page(self) -> bool:
        """Whether its intervals are page numbers."""
        return self.format == "page"

    @property
    def first(self) -> Position:
        """Where the first interval starts."""
        return self.first_page if self.is_by_page else self.starts_at

    def on_handle_step(self, now: datetime, until: Any = None) -> Callable[[Any], Any]:
        """Return what says where the interval ends that starts at a position: not after ``until``.

        Of the end of a time interval it says, with ReachedLatest, when that will have passed.
        """

        def next_page(current: int) -> int:
            if until is not None and current >= until:
                raise ReachedLatest(f"all is taken before page {until}")
            return current + 1

        def next_time(current: datetime) -> datetime:
            if until is not None and current >= until:
                raise ReachedLatest(f"all is taken until {format_time(until)}")
            ended = current + timedelta(seconds=self.step_s)
            if until is not None:
                ended = min(ended, until)
            retry_at = ended + timedelta(seconds=self.lag_s)
            if retry_at > now:
                raise ReachedLatest(f"{format_time(ended)} is not over yet", retry_at=retry_at)
            return ended

        return next_page if self.is_by_page else next_time

    def render(self, url: str, interval: Interval) -> str:
        """Return a URL with an interval's start and end in it; ``{page}`` is left as it is."""
        start = interval.start
        if not self.is_by_page:
            start -= timedelta(seconds=self.overlap_s)
        return url.replace(START, self._show(start)).replace(ENDED, self._show(interval.ended))

    def _show(self, position: Any) -> str:
        if self.is_by_page:
            return str(position)
        if self.format == "rfc3339":
            return format_time(position).replace(".000Z", "Z")
        epoch_ms = round(position.timestamp() * 1000)
        return str(epoch_ms if self.format == "epoch_ms" else epoch_ms // 1000)


def read_window(feed: Feed) -> FeedWindow | None:
    """Return a feed's window; None when it has none, or one that nobody can read."""
    try:
        return FeedWindow.read(feed.window) if feed.window is not None else None
    except Misfit:
        return None


def check_window(urls: Sequence[str], window: FeedWindow | None) -> None:
    """Refuse a window that is not fit for a feed's URLs.

    Raises:
        InvalidRequestError: a field of it is wrong, or a URL has no place for an interval.
    """
    if window is None:
        return
    if (fault := window.find_fault()) is not None:
        raise InvalidRequestError(f"window: {fault}")
    for url in urls:
        if not is_template(url):
            raise InvalidRequestError(
                f"window: the URL must contain {START} or {ENDED} for an interval's times: {url}"
            )


def is_template(url: str) -> bool:
    """Return whether a URL has a place for an interval's start or end."""
    return START in url or ENDED in url


class Windows:
    """Begins and ends the indexers of feeds with a window. Safe for threads.

    A feed's indexer bears the feed's source as its name, and outlives the feed: one that begins
    anew does so in a higher epoch, so that nothing of its first life counts in its second.
    """

    def __init__(
        self, stores: Stores, clock: Clock, outcomes: Outcomes, wanted: PullsWanted
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._outcomes = outcomes
        self._wanted = wanted

    def begin(self, feed: Feed) -> None:
        """Begin a feed's window at its start: of a feed that was added, or that had none before.

        After the feed is stored. What an earlier window of this source still has under way is
        stale from then on.
        """
        window = _window_of(feed)
        now = self._clock.now()
        new = IndexerState(
            feed.source, feed.source, epoch=1, cursor=window.first, settled_epoch=1, due_at=now
        )
        if not self._stores.intervals.insert(new):
            change(self._stores.intervals, feed.source, lambda state: _restart(state, window, now))
        self._wanted.set()

    def ensure(self, feed: Feed) -> bool:
        """Begin a feed's window if a crash kept it from that; False when it goes on already."""
        state = self._stores.intervals.get(feed.source)
        if state is not None and state.is_active:
            return False
        self.begin(feed)
        return True

    def change_start(self, feed: Feed, window: FeedWindow) -> None:
        """Move the start of a feed's window, before the feed is stored with it.

        Raises:
            InvalidRequestError: intervals were taken already.
        """
        first = _window_of(feed).first

        def move(state: IndexerState) -> IndexerState:
            if state.is_active and (state.cursor != first or state.open):
                raise InvalidRequestError(
                    f"the window of {feed.source!r} has begun, so its from cannot be changed; "
                    "use rollback to read again, or a back-fill for older items"
                )
            return replace(state, cursor=window.first, due_at=self._clock.now())

        if self._stores.intervals.get(feed.source) is None:
            return
        change(self._stores.intervals, feed.source, move)
        self._wanted.set()

    def wake(self, source: str) -> None:
        """Let a dispatcher look at a feed's window now: it was changed, or enabled."""
        if self._stores.intervals.get(source) is None:
            return
        now = self._clock.now()
        change(
            self._stores.intervals,
            source,
            lambda state: replace(state, due_at=now) if state.is_active else None,
        )
        self._wanted.set()

    def end(self, source: str) -> None:
        """End what is left of a feed's window: the feed was deleted, or lost its window.

        After the feed is stored so: a crash before that changes nothing, and one behind it leaves
        the end to a dispatcher's next look. What is not committed fails, what is goes on to its
        end. Safe to repeat; does nothing while the feed has a window.
        """
        while (state := self._stores.intervals.get(source)) is not None:
            # Read later than the indexer: a window that comes meanwhile is stored at its feed
            # first, and its beginning lets the swap fail.
            feed = self._stores.feeds.get(source)
            if feed is not None and feed.window is not None:
                return
            # Ended already: by a dispatcher's round that came first, and fails nothing.
            is_ended = not state.is_active
            if is_ended or self._stores.intervals.swap(
                state, end_indexer(state, self._clock.now())
            ):
                self._fail_uncommitted(source)
                return

    def _fail_uncommitted(self, source: str) -> None:
        error = f"{ErrorKind.FEED_DELETED}: the feed was deleted, or lost its window"
        outcome = {
            "error": error,
            "error_kind": ErrorKind.FEED_DELETED,
            "finished_at": self._clock.now(),
        }
        for found in self._stores.imports.find_open(source):
            if found.indexer != source or found.state not in BEFORE_COMMIT:
                continue
            if self._stores.imports.fail(found.import_id, None, outcome):
                self._outcomes.report_failed(found, error)


def end_indexer(state: IndexerState, now: datetime) -> IndexerState:
    """Return an indexer that takes nothing any more; due only while it is not settled. Pure."""
    is_settled = state.settled_epoch >= state.epoch
    return replace(state, is_active=False, open=(), due_at=None if is_settled else now)


def _restart(state: IndexerState, window: FeedWindow, now: datetime) -> IndexerState:
    return replace(
        state,
        epoch=state.epoch + 1,
        cursor=window.first,
        open=(),
        rolled_back_to=None,
        is_active=True,
        next_take_at=None,
        due_at=now,
    )


def _window_of(feed: Feed) -> FeedWindow:
    if feed.window is None:
        raise InvalidRequestError(f"feed {feed.source!r} has no window")
    return FeedWindow.read(feed.window)
