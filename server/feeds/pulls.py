"""Pull imports: the import of one interval, its fetch job, and their ids. Pure."""

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Any

from server.feeds.fetch_jobs import FETCH_ATTEMPTS, FETCH_BACKOFF_MS, FETCH_JOB_NAME, HEAVY_WEIGHT
from server.feeds.windows import FeedWindow
from shared.intervals import Interval
from shared.models import format_time
from shared.queue import NewJob
from shared.store import Feed, Import, ImportState, Trigger
from shared.store.database import Document
from shared.store.intervals import IndexerState, OpenInterval, Position
from shared.store.reading import check_urls
from shared.urls import is_same_site, with_login


def pull_import_id(name: str, one: OpenInterval) -> str:
    """Return the id of an interval's import; each further try has one of its own."""
    named = f"{name}#{one.epoch}#{show_position(one.start)}#{one.tries}"
    digest = hashlib.sha256(named.encode()).hexdigest()
    return f"{int(one.taken_at.timestamp() * 1000):012x}{digest[:16]}"


def pull_job_id(name: str, epoch: int, start: Position) -> str:
    """Return the id of an interval's fetch job: one at a time for each interval."""
    shown = int(start.timestamp() * 1000) if isinstance(start, datetime) else start
    return f"feed#{name}#{epoch}#{shown}"


def of_interval(importing: Import, state: IndexerState, one: OpenInterval) -> Import:
    """Return the stored import of an interval with what its indexer says of it.

    Somebody may have changed that in the import's document; a job has to be the interval's.
    """
    interval = {**(importing.interval or {}), "start": one.start, "ended": one.ended}
    return replace(
        importing, source=state.source, indexer=state.name, epoch=one.epoch, interval=interval
    )


def job_id_of(importing: Import) -> str:
    """Return the id of a fetch job, of an import as ``pull_import`` or ``of_interval`` gives it."""
    assert importing.indexer is not None
    assert importing.epoch is not None
    return pull_job_id(importing.indexer, importing.epoch, (importing.interval or {})["start"])


def read_pull_job_id(job_id: str) -> tuple[str, int] | None:
    """Return the indexer and the epoch of a fetch job; None when it is no interval's."""
    name, *rest = job_id.removeprefix("feed#").rsplit("#", 2)
    if len(rest) != 2 or not rest[0].isdecimal():
        return None
    return name, int(rest[0])


def pull_import(state: IndexerState, one: OpenInterval, feed: Feed, now: datetime) -> Import:
    """Return the import of an interval, with its URLs as they are to be fetched.

    Raises:
        Misfit: the window is not fit for anything, or one of the URLs is malformed.
    """
    backfill = state.backfill
    interval = Interval(one.start, one.ended, one.epoch)
    window = window_of(state, feed)
    urls = [window.render(url, interval) for url in feed.urls]
    shown: Document = {"start": one.start, "ended": one.ended}
    if backfill is not None and is_paged(state):
        page = backfill.next_url or ""
        urls = [next((with_login(page, own) for own in feed.urls if is_same_site(page, own)), page)]
        # Where the pages are older than that, its reader ends.
        shown["from"] = backfill.step["from"]
    check_urls(urls)
    return Import(
        import_id=pull_import_id(state.name, one),
        source=feed.source,
        urls=list(dict.fromkeys(urls)),
        trigger=Trigger.PULL,
        state=ImportState.QUEUED,
        requested_at=now,
        is_heavy_feed=backfill is not None or feed.weight == HEAVY_WEIGHT,
        indexer=state.name,
        epoch=one.epoch,
        interval=shown,
        content_revision=backfill.content_revision if backfill is not None else None,
    )


def pull_job(importing: Import, *, keep_completed: int = 100, keep_failed: int = 500) -> NewJob:
    """Return the fetch job of a pull import."""
    interval = importing.interval or {}
    return NewJob(
        id=job_id_of(importing),
        name=FETCH_JOB_NAME,
        data={
            "source": importing.source,
            "import_id": importing.import_id,
            "indexer": importing.indexer,
            "start": show_position(interval["start"]),
            "ended": show_position(interval["ended"]),
            "epoch": importing.epoch,
        },
        attempts=FETCH_ATTEMPTS,
        backoff_ms=FETCH_BACKOFF_MS,
        keep_completed=keep_completed,
        keep_failed=keep_failed,
    )


def show_position(position: Any) -> Any:
    """Return a position as JSON has it: a time as RFC 3339."""
    return format_time(position) if isinstance(position, datetime) else position


def is_paged(state: IndexerState) -> bool:
    """Return whether an indexer is a back-fill by the pages that name one another."""
    return state.backfill is not None and bool(state.backfill.step.get("pages"))


def window_of(state: IndexerState, feed: Feed) -> FeedWindow:
    """Return the window that an indexer goes by: its back-fill's own, as that began, or its feed's.

    Raises:
        Misfit: it is not fit for anything, or is missing.
    """
    if state.backfill is not None and is_paged(state):
        return FeedWindow(state.backfill.started_at, step_s=1, format="page")
    return FeedWindow.read((state.backfill.step if state.backfill else feed.window) or {})
