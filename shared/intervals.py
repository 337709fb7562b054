"""Gives out intervals, of time or of numbers, one after the other; knows no queue.

An indexer's state is one document: whoever changes it replaces it as it was read, or tries again.
So any number of programs may take intervals from it at once: no two are given the same one, none
overlap, and none is left out.
"""

import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from shared.clock import Clock, SystemClock
from shared.errors import (
    InFlightLimit,
    InvalidRequestError,
    NotFoundError,
    ReachedLatest,
    StaleEpoch,
)
from shared.store.database import Document, open_database
from shared.store.intervals import IndexerState, IntervalStore, OpenInterval, Position

__all__ = [
    "MAX_OPEN",
    "InFlightLimit",
    "Interval",
    "IntervalIndexer",
    "ReachedLatest",
    "RolledBack",
    "StaleEpoch",
    "change",
    "complete",
    "every",
    "pages",
    "roll_back",
    "sequence",
    "take",
]

# Given where an interval starts, returns where it ends, or raises ReachedLatest. It is called again
# whenever another program was faster, so it must change nothing.
Step: TypeAlias = Callable[[Any], Any]
# Open intervals beyond this would make the document large, and each change of it slow.
MAX_OPEN = 64
# Who lost the answer to a take recognises it among so many.
KEPT_TAKES = 32
# Sources of feeds have no colon: a program's indexers and those of feeds are never the same ones.
_OWN = "own:"
_CLOCK = SystemClock()


class Interval(NamedTuple):
    """What an indexer gives out: from ``start`` to just before ``ended``."""

    start: Any
    ended: Any
    epoch: int


class RolledBack(NamedTuple):
    """Where an indexer stands after a rollback."""

    epoch: int
    cursor: Any


class IntervalIndexer:
    """A program's indexer: gives out intervals under a name. Safe for threads.

    ``on_handle_step`` says where the interval that starts at a position ends. The first one starts
    at ``start``; positions are times (kept in whole milliseconds), numbers or texts.

    With ``in_flight`` an interval stays open until :meth:`complete`, so many at a time, 64 at most:
    then none is forgotten, however programs end. Without, nobody says that an interval is done.

    Every call raises StoreUnavailable when MongoDB cannot serve, and may have had its effect then.
    All but :meth:`rollback` may simply be repeated; that one may until the next interval is taken.
    """

    def __init__(
        self,
        store: IntervalStore,
        name: str,
        on_handle_step: Step,
        *,
        start: Position,
        in_flight: int | None = None,
        clock: Clock = _CLOCK,
    ) -> None:
        if in_flight is not None and in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, not {in_flight}")
        self.name = name
        self._id = _OWN + name
        self._store = store
        self._step = on_handle_step
        self._start = _fit(start)
        self._in_flight = in_flight
        self._clock = clock
        # Of takes that did not end, or that nobody knows the end of: each is used once more.
        self._tags: deque[str] = deque()

    @classmethod
    def open(
        cls,
        mongodb_url: str,
        name: str,
        on_handle_step: Step,
        *,
        start: Position,
        in_flight: int | None = None,
    ) -> "IntervalIndexer":
        """Make an indexer with a connection of its own, for as long as the program runs.

        Raises:
            StoreError: the URL is none of MongoDB's. Whether it answers, the first call shows.
        """
        store = IntervalStore(open_database(mongodb_url, app_name="feedmill-indexer"))
        return cls(store, name, on_handle_step, start=start, in_flight=in_flight)

    def atomic(self) -> Interval:
        """Take the next interval: behind the one before, and nobody else's.

        When the answer is lost, the next call of this object returns the interval that was taken,
        if it was: unless others have taken 32 meanwhile. One that is open :meth:`hand_out` yields
        in any case, also after the program has crashed.

        Raises:
            ReachedLatest: there is none just now; ``on_handle_step`` says so.
            InFlightLimit: as many are open as may be.
            ValueError: the step does not lead forward, or to a time without a zone.
        """
        try:
            tag = self._tags.popleft()
        except IndexError:
            tag = uuid.uuid4().hex
        try:
            return self._take(tag)
        except BaseException:
            # Also when it was not found: the write may be under way yet.
            self._tags.append(tag)
            raise

    def hand_out(self) -> Iterator[Interval]:
        """Yield what is open, then take further intervals, until there is none just now.

        For a queue that takes a job once, by its id: what was taken by a program that ended before
        it had added the job is handed out again, and so is what waits or is worked on.
        """
        for each in self.read().open:
            yield Interval(each.start, each.ended, each.epoch)
        with suppress(ReachedLatest):
            while True:
                yield self.atomic()

    def validate(self, epoch: int) -> None:
        """Do nothing if an epoch's intervals are still to be worked on.

        Ask before the work, and once more before its result is written.

        Raises:
            StaleEpoch: it was rolled back. Trying again does not help.
            UnreadableDocument: somebody has spoilt the indexer.
        """
        current = self._store.read_epochs([self._id]).get(self._id)
        if current != epoch:
            raise StaleEpoch(self.name, epoch, current)

    def complete(self, interval: tuple[Any, Any, int]) -> bool:
        """Say that an interval is done; False when it is not open: completed before, or stale."""
        seen = self.read()
        while (left := complete(seen, Interval(*interval))) is not None:
            if self._store.swap(seen, left) is not None:
                return True
            seen = self.read()
        return False

    def rollback(self, to: Position) -> RolledBack:
        """Begin a new epoch at ``to``, which may lie before the first start, too.

        All intervals handed out so far are stale from then on. Those that were open before ``to``
        are handed out again, too, so the cursor may be earlier than ``to``. Asked for once more
        before anything was taken, it changes nothing.

        Raises:
            InvalidRequestError: ``to`` is ahead of the cursor.
        """
        target = _fit(to)

        def act(state: IndexerState) -> IndexerState | None:
            return None if state.rolled_back_to == target else roll_back(state, target)

        state = change(self._store, self.read().name, act)
        return RolledBack(state.epoch, state.cursor)

    def read(self) -> IndexerState:
        """Return the indexer as stored; it begins with the first call that needs it."""
        while (found := self._store.get(self._id)) is None:
            self._store.insert(
                IndexerState(self._id, "", epoch=1, settled_epoch=1, cursor=self._start)
            )
        return found

    def _take(self, tag: str) -> Interval:
        while True:
            seen = self.read()
            if (found := _find_take(seen, tag)) is not None:
                return found
            wanted, taken = take(
                seen, self._step, self._clock.now(), in_flight=self._in_flight, tag=tag
            )
            if self._store.swap(seen, wanted) is not None:
                return taken


def every(seconds: float, *, lag_s: float = 0, now: Callable[[], datetime] = _CLOCK.now) -> Step:
    """Return the step of time: ``seconds`` further, as soon as they passed ``lag_s`` ago."""
    length, lag = timedelta(seconds=seconds), timedelta(seconds=lag_s)

    def step(current: datetime) -> datetime:
        ended = current + length
        if ended + lag > now():
            raise ReachedLatest(f"{ended.isoformat()} is not over yet", retry_at=ended + lag)
        return ended

    return step


def sequence(size: int, latest: Callable[[], int] | None = None) -> Step:
    """Return the step of numbers: ``size`` of them, or fewer at the end.

    ``latest`` returns the last number that there is; None: there is no last one.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")

    def step(current: int) -> int:
        ended = current + size if latest is None else min(current + size, latest() + 1)
        if ended <= current:
            raise ReachedLatest(f"there is no number {current} yet")
        return ended

    return step


def pages(latest: Callable[[], int] | None = None) -> Step:
    """Return the step of pages, one at a time; ``latest`` returns the number of the last page."""
    return sequence(1, latest)


def take(
    state: IndexerState, step: Step, now: datetime, *, in_flight: int | None, tag: str | None = None
) -> tuple[IndexerState, Interval]:
    """Return the state without its next interval, and that interval. Pure.

    ``step`` is given the cursor and returns where the interval ends. With ``in_flight`` the
    interval is kept among the open ones, of which there may be so many; None keeps none. By
    ``tag`` it is recognised when the answer to the write is lost.

    Raises:
        ReachedLatest: there is none just now; ``step`` raises it.
        InFlightLimit: as many are open as may be.
        ValueError: the step does not lead forward, or to a time without a zone.
    """
    if in_flight is not None and len(state.open) >= min(in_flight, MAX_OPEN):
        raise InFlightLimit(f"{len(state.open)} intervals of {state.name!r} are open")
    ended = _fit(step(state.cursor))
    if ended <= state.cursor:
        raise ValueError(
            f"the step of {state.name!r} leads from {state.cursor!r} to {ended!r}, not forward"
        )
    taken = Interval(state.cursor, ended, state.epoch)
    kept = () if in_flight is None else (OpenInterval(*taken, taken_at=now),)
    takes = [*state.takes, {"tag": tag, **taken._asdict()}][-KEPT_TAKES:] if tag else state.takes
    # A rollback that is asked for again after this is another one.
    left = replace(state, cursor=ended, open=(*state.open, *kept), takes=takes, rolled_back_to=None)
    return left, taken


def complete(state: IndexerState, interval: Interval) -> IndexerState | None:
    """Return the state without an open interval; None when it is not open. Pure."""
    left = tuple(
        each for each in state.open if (each.start, each.ended, each.epoch) != tuple(interval)
    )
    takes = [each for each in state.takes if each["start"] != interval.start]
    return replace(state, open=left, takes=takes) if len(left) < len(state.open) else None


def roll_back(state: IndexerState, to: Position) -> IndexerState:
    """Return the state in its next epoch, with the cursor at ``to``. Pure.

    Or where the earliest open interval starts, if that is before: what was not done before ``to``
    is done again too.

    Raises:
        InvalidRequestError: ``to`` is not behind the cursor.
    """
    if to > state.cursor:
        raise InvalidRequestError(f"{to} is ahead of the cursor of {state.name!r}, {state.cursor}")
    cursor: Any = min([to, *(each.start for each in state.open)])
    return replace(
        state, epoch=state.epoch + 1, cursor=cursor, open=(), takes=[], rolled_back_to=to
    )


def change(
    store: IntervalStore, name: str, act: Callable[[IndexerState], IndexerState | None]
) -> IndexerState:
    """Read an indexer, let ``act`` change it, and replace it; again while others are faster.

    ``act`` must be pure; it returns None when there is nothing to change. Returns the indexer as
    it is stored then. Each lost race means that somebody else made progress.

    Raises:
        NotFoundError: there is no such indexer.
    """
    while True:
        seen = store.get(name)
        if seen is None:
            raise NotFoundError(f"there is no indexer {name[:80]!r}")
        wanted = act(seen)
        if wanted is None:
            return seen
        stored = store.swap(seen, wanted)
        if stored is not None:
            return stored


def _find_take(state: IndexerState, tag: str) -> Interval | None:
    found: list[Document] = [each for each in state.takes if each["tag"] == tag]
    return Interval(found[0]["start"], found[0]["ended"], found[0]["epoch"]) if found else None


def _fit(position: Any) -> Any:
    """Return a position as MongoDB keeps it: a time in UTC and whole milliseconds."""
    if not isinstance(position, datetime):
        return position
    if position.tzinfo is None:
        raise ValueError(f"the time {position} has no time zone")
    utc = position.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)
