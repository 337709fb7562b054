"""What an import tells its feed when it is committed or failed. Pure.

It is stored on the import first and copied from there, so that a crash in between loses nothing
and nobody copies what only he remembers.
"""

from datetime import datetime, timedelta
from typing import Any

from server.feeds.schedule import next_regular_fetch
from server.importing.gathering import DOCUMENT_URL, Gathered
from shared.store import Feed, Import, StoredValidators
from shared.store.feeds import validators_document

SCHEDULED = "schedule"
MAX_BACKOFF = timedelta(days=1)


def imported_feed_step(
    importing: Import, feed: Feed, gathered: Gathered, now: datetime
) -> dict[str, Any]:
    """Return what a successful fetch changes in its feed."""
    step: dict[str, Any] = {
        "consecutive_failures": 0,
        "error": None,
        "history": _history(feed, gathered, now),
    }
    if gathered.validators or not gathered.is_not_modified:
        step["validators"] = validators_document(_next_validators(importing, feed, gathered))
    return step | _next_fetch(importing, feed, now, failures=0)


def failed_feed_step(
    importing: Import, feed: Feed, error: str, gathered: Gathered | None, now: datetime
) -> dict[str, Any]:
    """Return what a failed fetch changes in its feed: never its validators."""
    failures = feed.consecutive_failures + 1
    return {
        "consecutive_failures": failures,
        "error": error,
        "history": _history(feed, gathered, now),
    } | _next_fetch(importing, feed, now, failures=failures)


def _next_validators(
    importing: Import, feed: Feed, gathered: Gathered
) -> dict[str, StoredValidators]:
    """Return the validators of every URL; one that did not answer whole keeps its old ones.

    What came from a document and what came from URLs put one another's out of date: the last one
    imported must not hide that the other would change it back.
    """
    if importing.has_document:
        kept = {DOCUMENT_URL: feed.validators.get(DOCUMENT_URL)}
    else:
        kept = {url: feed.validators.get(url) for url in feed.urls}
    known = {url: entry for url, entry in kept.items() if entry is not None}
    return known | gathered.validators


def _history(feed: Feed, gathered: Gathered | None, now: datetime) -> dict[str, Any]:
    history = dict(feed.history)
    history.pop("retry_after_until", None)
    if gathered is not None:
        if gathered.items:
            history["had_items"] = True
        if gathered.retry_after_s is not None:
            history["retry_after_until"] = now + timedelta(seconds=gathered.retry_after_s)
    return history


def _next_fetch(importing: Import, feed: Feed, now: datetime, *, failures: int) -> dict[str, Any]:
    """Return time and reason of the next fetch; an explicit start does not move the schedule."""
    if importing.trigger != SCHEDULED:
        return {}
    regular = next_regular_fetch(feed.interval_s, feed.cron, now)
    if regular is None:
        return {"next_fetch_at": None, "next_fetch_reason": "not scheduled"}
    if failures == 0:
        return {"next_fetch_at": regular, "next_fetch_reason": "regular schedule"}
    delay = min(MAX_BACKOFF, (regular - now) * 2 ** min(failures - 1, 10))
    return {
        "next_fetch_at": now + delay,
        "next_fetch_reason": f"backing off after {failures} failures in a row",
    }
