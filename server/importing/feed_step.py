"""What an import changes in its feed when it is committed or failed; and how it is failed.

The change is stored on the import first and copied from there, so that a crash in between loses
nothing and nobody copies what only his memory holds.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from server.feeds.history import FeedHistory, Response, remember
from server.feeds.next_fetch import NextFetch, next_fetch, schedule_of
from server.feeds.outcomes import Outcomes
from server.feeds.schedules import Random
from server.importing.values import DOCUMENT_URL, Failure, Fetched, Run
from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import (
    DoomedJob,
    FetchError,
    ParseError,
    RunOverdue,
    StoreUnavailable,
    UnreadableDocument,
)
from shared.logs import get_logger
from shared.queue import ClaimedJob
from shared.store import Feed, Import, StoredValidators, Stores, Trigger
from shared.store.feed_documents import validators_document
from shared.store.imports import BEFORE_COMMIT

log = get_logger("server.importing.failing")

UNCOMPUTED_PAUSE = timedelta(hours=1)
COMPUTED_FROM = ("enabled", "interval_s", "cron", "next_fetch_at")
_FEED_DELETED = ParseError(ErrorKind.FEED_DELETED, "feed deleted")


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
    history = replace(history, failures_by_hand=following.failures_by_hand)
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


class Failures:
    """Fails imports before their commit. Safe for threads, and to repeat."""

    def __init__(self, stores: Stores, outcomes: Outcomes, clock: Clock, random: Random) -> None:
        self._stores = stores
        self._outcomes = outcomes
        self._clock = clock
        self._random = random

    def fail(
        self, importing: Import, revision: int | None, failure: Failure, feed: Feed | None
    ) -> None:
        """Fail an import and finish its feed, if it has one; nothing happens after a commit.

        With a ``revision`` only while that run is the import's last.
        """
        step = None
        if feed is not None:
            step = failed_feed_step(importing, feed, failure, self._clock.now(), self._random)
        self._store(importing, revision, failure, step)

    def end_orphan(self, importing: Import, feed: Feed | None) -> None:
        """End an import before its commit that its feed, None if it was deleted, does not name.

        Where there is a feed, a scheduled one that was not begun was being withdrawn: its publisher
        was not asked, and nothing failed.
        """
        is_scheduled = feed is not None and importing.trigger == Trigger.SCHEDULE
        if is_scheduled and self._stores.imports.withdraw(importing.import_id):
            log.info("import_withdrawn", import_id=importing.import_id, reason="was cut off")
            return
        self.fail(importing, None, Failure(_FEED_DELETED), None)

    def give_up(self, job: ClaimedJob, error: BaseException) -> None:
        """Fail the import of a job that failed for good, so that its feed goes on.

        Else the import would stay ``fetching``, and its publisher be asked again and again. Only
        errors of stores pass: what they interrupted begins anew.
        """
        failure = _reason_to_give_up(error)
        import_id = find_import(job)
        importing = self._stores.imports.get(import_id) if failure and import_id else None
        if failure is None or importing is None or importing.state not in BEFORE_COMMIT:
            return
        try:
            says_nothing = importing.indexer is not None or importing.bodies_since is not None
            feed = None if says_nothing else self._stores.feeds.get(importing.source)
            self.fail(importing, importing.revision, failure, feed)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("feed_step_failed", import_id=importing.import_id)
            step = uncomputed_feed_step(failure.reason, self._clock.now())
            self._store(importing, importing.revision, failure, step)

    def _store(
        self,
        importing: Import,
        revision: int | None,
        failure: Failure,
        feed_step: dict[str, Any] | None,
    ) -> None:
        outcome: dict[str, Any] = {
            "error": failure.reason,
            "error_kind": failure.error.kind,
            "finished_at": self._clock.now(),
            "fetches": failure.fetched.fetches,
        }
        if feed_step is not None:
            outcome["feed_step"] = feed_step
        if self._stores.imports.fail(importing.import_id, revision, outcome):
            self._outcomes.report_failed(importing, failure.reason)
        # By its document: another run may have ended it with another step.
        ended = self._stores.imports.get(importing.import_id)
        if ended is not None and ended.state not in BEFORE_COMMIT:
            finish_feed(self._stores, ended)


def finish_feed(stores: Stores, ended: Import) -> None:
    """Do the feed step of an import that is committed or failed, as its document holds it.

    No feed names the import of an interval: the dispatcher shows how that ended.
    """
    if ended.indexer is None:
        stores.feeds.finish(ended)
    if ended.has_document:
        stores.documents.delete(ended.import_id)


def find_import(job: ClaimedJob) -> str | None:
    """Return the import that a fetch job names, None if it names none."""
    try:
        named = orjson.loads(job.raw_data)["import_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return named if isinstance(named, str) else None


def _reason_to_give_up(error: BaseException) -> Failure | None:
    """Return why a job's import is to fail; None when a store was to blame."""
    if isinstance(error, RunOverdue):
        return Failure(FetchError("", ErrorKind.TIMEOUT, str(error)))
    if isinstance(error, DoomedJob):
        reason = "its server stopped, or lost its lock, in each of its runs; see the servers' logs"
        return Failure(ParseError(ErrorKind.RUN_LOST, reason))
    if isinstance(error, UnreadableDocument):
        return Failure(ParseError(ErrorKind.UNREADABLE_RECORD, str(error)))
    if getattr(error, "retryable", False):
        return None
    reason = f"an error of Feedmill's own, please report it: {error!r}"
    return Failure(ParseError(ErrorKind.INTERNAL, reason))
