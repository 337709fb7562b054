"""The end of an import of which nothing could be had: failed, and its feed goes on."""

from typing import Any

import orjson

from server.feeds.outcomes import Outcomes
from server.feeds.schedules import Random
from server.importing.feed_step import failed_feed_step, uncomputed_feed_step
from server.importing.values import Failure
from shared.clock import Clock
from shared.errors import (
    DoomedJob,
    ErrorKind,
    FetchError,
    ParseError,
    RunOverdue,
    StoreUnavailable,
    UnreadableDocument,
)
from shared.logs import get_logger
from shared.queue import ClaimedJob
from shared.store import Feed, Import, Stores
from shared.store.imports import BEFORE_COMMIT

log = get_logger("server.importing.failing")


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
            feed = self._stores.feeds.get(importing.source)
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
    """Do the feed step of an import that is committed or failed, as its document holds it."""
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
