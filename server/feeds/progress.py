"""How far a back-fill is, as people see it. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from server.feeds.pulls import pull_import_id
from shared.store import Import
from shared.store.database import Document
from shared.store.imports import BEFORE_COMMIT
from shared.store.intervals import BackFill, IndexerState, OpenInterval

CANCELLED = "cancelled"
DONE = "done"
# Closings from which the time left is told: of one alone nobody knows the pace.
_FEWEST = 3

State: TypeAlias = Literal["running", "paused", "completed", "cancelled"]


@dataclass(frozen=True, slots=True)
class BackFillView:
    """A back-fill as people see it.

    It covers ``starts_at`` to ``until`` (None: from today's first page back). ``total`` is None
    while nobody knows how many pages there are. ``in_flight`` are not committed yet, ``failing``
    wait for another try, and ``error`` is why, or why it ended early. ``seconds_left`` is None
    while that cannot be told. ``history`` are the feed's earlier back-fills, newest first.
    """

    source: str
    starts_at: datetime
    until: datetime | None
    state: State
    epoch: int
    started_at: datetime
    ended_at: datetime | None
    done: int
    in_flight: int
    failing: int
    fetched: int
    new: int
    dead: int
    total: int | None = None
    seconds_left: float | None = None
    error: str | None = None
    history: Sequence[Document] = field(default_factory=list)


def find_runs(state: IndexerState) -> Iterator[str]:
    """Yield the ids of the imports that show how a back-fill's open intervals are."""
    for one in state.open:
        yield pull_import_id(state.name, one)
        if one.tries:
            yield _failed_run(state, one)


def show_progress(
    state: IndexerState, imports: Mapping[str, Import], now: datetime
) -> BackFillView:
    """Return a back-fill with its progress and time left; ``imports`` are its open ones. Pure."""
    backfill = state.backfill
    assert backfill is not None
    failing = [each for each in state.open if each.tries]
    total = count_intervals(backfill)
    return BackFillView(
        source=state.source,
        starts_at=_start_of(backfill),
        until=backfill.until,
        state=state_of(backfill),
        epoch=state.epoch,
        started_at=backfill.started_at,
        ended_at=backfill.ended_at,
        done=backfill.done,
        in_flight=sum(_is_in_flight(state, each, imports) for each in state.open),
        failing=len(failing),
        fetched=backfill.items,
        new=backfill.new,
        dead=backfill.dead,
        total=total,
        seconds_left=_estimate_s(backfill, total, now),
        error=_find_error(state, backfill, failing, imports),
        history=list(reversed(state.history)),
    )


def to_history(state: IndexerState) -> Document:
    """Return a back-fill that has ended as later ones show it."""
    backfill = state.backfill
    assert backfill is not None
    return {
        "from": _start_of(backfill),
        "to": backfill.until,
        "state": state_of(backfill),
        "started_at": backfill.started_at,
        "ended_at": backfill.ended_at,
        "intervals": backfill.done,
        "items": backfill.items,
    }


def state_of(backfill: BackFill) -> State:
    """Return what a back-fill is up to."""
    if backfill.is_ended:
        return "completed" if backfill.outcome == DONE else "cancelled"
    return "paused" if backfill.is_paused else "running"


def count_intervals(backfill: BackFill) -> int | None:
    """Return how many intervals there are in all; None for pages, that nobody has counted."""
    if backfill.until is None:
        return None
    span: timedelta = backfill.until - backfill.starts_at
    return math.ceil(span / timedelta(seconds=backfill.step["step_s"]))


def _start_of(backfill: BackFill) -> Any:
    return backfill.starts_at if backfill.until is not None else backfill.step["from"]


def _failed_run(state: IndexerState, one: OpenInterval) -> str:
    """Return the id of the last import of an interval that failed."""
    return pull_import_id(state.name, replace(one, tries=one.tries - 1))


def _is_in_flight(state: IndexerState, one: OpenInterval, imports: Mapping[str, Import]) -> bool:
    if one.retry_at is not None:
        return False
    found = imports.get(pull_import_id(state.name, one))
    return found is None or found.state in BEFORE_COMMIT


def _estimate_s(backfill: BackFill, total: int | None, now: datetime) -> float | None:
    """Return the time left at the pace of the last closings; it grows while none comes."""
    if state_of(backfill) != "running" or total is None or len(backfill.recent) < _FEWEST:
        return None
    took_s = (now - backfill.recent[0]).total_seconds()
    each_s = max(0.0, took_s) / (len(backfill.recent) - 1)
    return round(each_s * max(0, total - backfill.done), 1)


def _find_error(
    state: IndexerState,
    backfill: BackFill,
    failing: Sequence[OpenInterval],
    imports: Mapping[str, Import],
) -> str | None:
    """Return why it ended early, or why the latest of its failing intervals fails."""
    if backfill.is_ended:
        return backfill.outcome if backfill.outcome not in (DONE, CANCELLED) else None
    found = [imports.get(_failed_run(state, each)) for each in failing]
    ended = [each for each in found if each is not None and each.error is not None]
    latest = max(ended, key=lambda each: each.finished_at or each.requested_at, default=None)
    return latest.error if latest is not None else None
