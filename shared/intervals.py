"""Hands out intervals, of time or of numbers, one after the other; knows no queue.

An indexer's state is one document: whoever changes it replaces it as it was read, or tries again.
So any number of programs may take intervals from it at once: no two are given the same one, none
overlap, and none is left out.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from shared.errors import (
    InFlightLimit,
    InvalidRequestError,
    NotFoundError,
)
from shared.store.intervals import IndexerState, IntervalStore, OpenInterval, Position

Step: TypeAlias = Callable[[Any], Any]
# Open intervals beyond this would make the document large, and each change of it slow.
MAX_OPEN = 64


class Interval(NamedTuple):
    """What an indexer hands out: from ``start`` to just before ``ended``."""

    start: Any
    ended: Any
    epoch: int


class RolledBack(NamedTuple):
    """Where an indexer stands after a rollback."""

    epoch: int
    cursor: Any


def take(
    state: IndexerState, step: Step, now: datetime, *, in_flight: int | None
) -> tuple[IndexerState, Interval]:
    """Return the state without its next interval, and that interval. Pure.

    ``step`` is given the cursor and returns where the interval ends. With ``in_flight`` the
    interval is kept among the open ones, of which there may be so many; None keeps none.

    Raises:
        ReachedLatest: there is none just now; ``step`` raises it.
        InFlightLimit: as many are open as may be.
        ValueError: the step does not lead forward.
    """
    if in_flight is not None and len(state.open) >= min(in_flight, MAX_OPEN):
        raise InFlightLimit(f"{len(state.open)} intervals of {state.name!r} are open")
    ended = step(state.cursor)
    if ended <= state.cursor:
        raise ValueError(
            f"the step of {state.name!r} leads from {state.cursor!r} to {ended!r}, not forward"
        )
    taken = Interval(state.cursor, ended, state.epoch)
    kept = () if in_flight is None else (OpenInterval(*taken, taken_at=now),)
    return replace(state, cursor=ended, open=(*state.open, *kept)), taken


def complete(state: IndexerState, interval: Interval) -> IndexerState | None:
    """Return the state without an open interval; None when it is not open. Pure."""
    left = tuple(
        each for each in state.open if (each.start, each.ended, each.epoch) != tuple(interval)
    )
    return replace(state, open=left) if len(left) < len(state.open) else None


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
    return replace(state, epoch=state.epoch + 1, cursor=cursor, open=(), rolled_back_to=to)


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
