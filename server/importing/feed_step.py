"""What an import changes in its feed when it is committed or failed. Pure.

It is stored on the import first and copied from there, so that a crash in between loses nothing
and nobody copies what only his memory holds.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from server.feeds.history import FeedHistory, Response, remember
from server.feeds.next_fetch import NextFetch, next_fetch, schedule_of
from server.feeds.schedules import Random
from server.importing.values import DOCUMENT_URL, Failure, Fetched, Run
from shared.store import Feed, Import, StoredValidators, Trigger
from shared.store.feed_documents import validators_document

UNCOMPUTED_PAUSE = timedelta(hours=1)
COMPUTED_FROM = ("enabled", "interval_s", "cron", "next_fetch_at")


def imported_feed_step(run: Run, fetched: Fetched, now: datetime, random: Random) -> dict[str, Any]:
    """Return what a successful fetch changes in its feed."""
    importing, feed = run.importing, run.feed
    response = Response(
        max_age_s=fetched.max_age_s,
        retry_after_s=fetched.retry_after_s,
        is_explicit=importing.trigger != Trigger.SCHEDULE,
    )
    step = _common_step(importing, feed, fetched, response, None, now, random)
    if fetched.validators or not fetched.is_not_modified:
        step["validators"] = validators_document(_next_validators(importing, feed, fetched))
    return step


def failed_feed_step(
    importing: Import, feed: Feed, failure: Failure, now: datetime, random: Random
) -> dict[str, Any]:
    """Return what a failed fetch changes in its feed: never its validators."""
    response = Response(
        error_kinds=failure.kinds,
        is_outage=failure.is_outage,
        was_paused=failure.was_paused,
        max_age_s=failure.fetched.max_age_s,
        retry_after_s=failure.fetched.retry_after_s,
        is_explicit=importing.trigger != Trigger.SCHEDULE,
    )
    return _common_step(importing, feed, failure.fetched, response, failure.reason, now, random)


def uncomputed_feed_step(error: str, now: datetime) -> dict[str, Any]:
    """Return what a failed fetch changes in a feed whose next fetch cannot be computed.

    It must not be due at once again, and again.
    """
    return {
        "error": error,
        "next_fetch_at": now + UNCOMPUTED_PAUSE,
        "next_fetch_reason": "its schedule could not be computed; it is tried again then",
    }


def _common_step(
    importing: Import,
    feed: Feed,
    fetched: Fetched,
    response: Response,
    error: str | None,
    now: datetime,
    random: Random,
) -> dict[str, Any]:
    known = _known_history(feed, fetched)
    if importing.has_document and feed.urls:
        # Nobody was asked: it says nothing about the URLs.
        return {"history": known.write()}
    history = remember(known, response, now)
    following = next_fetch(now, schedule_of(feed), history, response, random)
    if following.is_disabled:
        # Whoever enables the feed gives it another two tries.
        history = replace(history, gone_since=None)
    return {
        "consecutive_failures": following.consecutive_failures,
        "error": error,
        "history": history.write(),
    } | _schedule_step(feed, following)


def _known_history(feed: Feed, fetched: Fetched) -> FeedHistory:
    """Return the feed's history with what its URLs answered; one that did not keeps its own."""
    history = FeedHistory.read(feed.history)
    known = {**history.urls, **fetched.histories}
    kept = (*feed.urls, DOCUMENT_URL)
    return replace(history, urls={url: known[url] for url in kept if url in known})


def _schedule_step(feed: Feed, following: NextFetch) -> dict[str, Any]:
    """Return the change of the schedule, with what it was computed from; nothing without one."""
    decided: dict[str, Any] = {"next_fetch_at": following.at, "next_fetch_reason": following.reason}
    if following.is_disabled:
        decided["enabled"] = False
    changed = {name for name, value in decided.items() if value != getattr(feed, name)}
    if not feed.enabled or not changed:
        return {}
    return {**decided, "seen": {name: getattr(feed, name) for name in COMPUTED_FROM}}


def _next_validators(
    importing: Import, feed: Feed, fetched: Fetched
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
    return known | fetched.validators
