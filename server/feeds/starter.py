"""Starts imports on request: of all feeds, some feeds, a URL or a document that is handed in."""

from collections.abc import Sequence

from server.feeds.claims import FeedClaims
from server.feeds.service import FeedService
from shared.clock import Clock
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.models import is_source
from shared.store import Feed, Import, Stores, Trigger, new_import_id
from shared.store.imports import BEFORE_COMMIT


class ImportStarter:
    """Starts imports now; the schedule of the feeds is not moved.

    A feed whose import is still queued or fetching answers with that import, so a repeated call
    starts nothing twice.
    """

    def __init__(
        self, stores: Stores, claims: FeedClaims, feeds: FeedService, clock: Clock
    ) -> None:
        self._stores = stores
        self._claims = claims
        self._feeds = feeds
        self._clock = clock

    def start_all(self, *, force: bool = False, trigger: Trigger = Trigger.API) -> list[Import]:
        """Start an import of every enabled feed that has a URL; none is an empty list."""
        return self._start(self._stores.feeds.find_enabled(), force=force, trigger=trigger)

    def start_sources(
        self, sources: Sequence[str], *, force: bool = False, trigger: Trigger = Trigger.API
    ) -> list[Import]:
        """Start imports of these feeds, in this order, each once; nothing starts if one is unfit.

        Raises:
            NotFoundError: a source that no feed has.
            InvalidRequestError: a feed without URL: only documents can be handed in for it.
        """
        wanted = list(dict.fromkeys(sources))
        found = self._stores.feeds.read_many(wanted)
        for source in wanted:
            if source not in found:
                raise NotFoundError(f"there is no feed {source[:80]!r}")
            if not found[source].urls:
                raise InvalidRequestError(
                    f"feed {source!r} has no URL: hand in a document, or give it one first"
                )
        return self._start([found[source] for source in wanted], force=force, trigger=trigger)

    def start_url(
        self,
        url: str,
        source: str | None = None,
        *,
        force: bool = False,
        trigger: Trigger = Trigger.API,
    ) -> list[Import]:
        """Start an import of a URL: by the feed that has exactly it, else by a new one.

        The new feed is not scheduled. ``source`` names the feed to use or to make.

        Raises:
            InvalidRequestError: not a URL that may be fetched.
            ConflictError: the source is taken by a feed with another URL.
        """
        feed = self._feeds.find_or_add_unscheduled(url, source)
        return self._start([feed], force=force, trigger=trigger)

    def start_document(
        self, document: bytes, source: str, *, force: bool = False, trigger: Trigger = Trigger.API
    ) -> list[Import]:
        """Start an import of a feed document itself; it is safe in MongoDB when this returns.

        A new source becomes a feed without URL, not scheduled; an existing one keeps its URLs.

        Raises:
            ConflictError: an import of the source is queued or fetching.
        """
        if not is_source(source):
            raise InvalidRequestError(f"source {source[:80]!r} must be 1 to 64 of a-z 0-9 - _ .")
        feed = self._feeds.get_or_add_without_url(source)
        self._refuse_running(feed)
        import_id = new_import_id(self._clock.now())
        # Before the claim: whoever finds the claim without its import can tell that it has one.
        self._stores.documents.insert(import_id, document)
        try:
            started = self._claim_for_document(feed, import_id, force=force, trigger=trigger)
        except (ConflictError, NotFoundError):
            self._stores.documents.delete(import_id)
            raise
        self._claims.add_fetch_jobs([started])
        return [started]

    def _claim_for_document(
        self, feed: Feed, import_id: str, *, force: bool, trigger: Trigger
    ) -> Import:
        started, is_new = self._claims.claim(
            feed, trigger, force=force, has_document=True, import_id=import_id
        )
        if not is_new:
            raise _running_conflict(feed.source, started.import_id)
        return started

    def _refuse_running(self, feed: Feed) -> None:
        """Refuse early, before a large document is stored for nothing."""
        if feed.running_import is None:
            return
        running = self._stores.imports.get(feed.running_import)
        if running is not None and running.state in BEFORE_COMMIT:
            raise _running_conflict(feed.source, running.import_id)

    def _start(self, feeds: Sequence[Feed], *, force: bool, trigger: Trigger) -> list[Import]:
        started: list[Import] = []
        try:
            # Without those deleted since: as if they had been deleted a moment earlier.
            for claimed in self._claims.claim_many(feeds, trigger, force=force):
                started.append(claimed)
        finally:
            # Also of those that were claimed before the store went away.
            self._claims.add_fetch_jobs(started)
        return started


def _running_conflict(source: str, import_id: str) -> ConflictError:
    return ConflictError(
        f"import {import_id} of {source!r} is queued or fetching; wait for its end"
    )
