"""Starts imports: reserves their feeds, inserts them and adds their fetch jobs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from server.feeds.fetch_jobs import HEAVY_WEIGHT, alternate_hosts, fetch_job
from server.feeds.service import FeedService
from shared.clock import Clock
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.models import format_time, is_source
from shared.queue import JobQueue
from shared.store import Feed, Import, ImportState, Stores, Trigger, new_import_id
from shared.store.imports import BEFORE_COMMIT

_FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
# Each lost race means that another caller made progress with this feed.
_MAX_TRIES = 8
_JOBS_PER_CALL = 500
# A reserved feed whose import is not inserted yet looks like one that a crash left so.
_RESERVED_PER_CALL = 100


class FeedReservations:
    """Reserves feeds for imports; the API, the tick and the auditor all go through here.

    A feed is reserved by a compare-and-set on its document, so of any number of callers on any
    number of servers one makes the import and the others are given that import. What a crash
    left behind is repaired on the way.
    """

    def __init__(
        self,
        stores: Stores,
        fetch_queue: JobQueue,
        clock: Clock,
        *,
        keep_completed: int = 100,
        keep_failed: int = 500,
    ) -> None:
        self._stores = stores
        self._fetch_queue = fetch_queue
        self._clock = clock
        self._keep_completed = keep_completed
        self._keep_failed = keep_failed

    def reserve(
        self,
        feed: Feed,
        trigger: Trigger,
        force: bool = False,
        scheduled: bool = False,
        has_document: bool = False,
        import_id: str | None = None,
        bodies_since: datetime | None = None,
    ) -> tuple[Import, bool]:
        """Return the feed's import that is queued or fetching, and whether this call made it.

        What a crash left is repaired first. ``scheduled``: only while the feed is enabled and due
        as it was seen. ``import_id`` is the new import's id, where something is stored under it
        already. ``bodies_since`` makes it read kept bodies. The fetch job is not added: see
        :meth:`add_fetch_jobs`.

        Raises:
            NotFoundError: the feed was deleted.
            ConflictError: no longer due as it was seen, or others kept reserving it.
        """
        seen = feed
        for _ in range(_MAX_TRIES):
            if seen.running_import is None:
                new = self._new_import(seen, trigger, force, has_document, import_id)
                new = replace(new, bodies_since=bodies_since)
                if self._stores.feeds.reserve(seen, new.import_id, scheduled=scheduled):
                    self._stores.imports.insert(new)
                    return new, True
            elif (running := self._find_running(seen, seen.running_import, trigger)) is not None:
                return running, False
            seen = self._read_again(feed, scheduled=scheduled)
        raise ConflictError(f"another request is starting feed {feed.source!r}; try again")

    def reserve_many(
        self,
        feeds: Sequence[Feed],
        trigger: Trigger,
        *,
        force: bool = False,
        scheduled: bool = False,
    ) -> Iterator[Import]:
        """Yield the imports of feeds as :meth:`reserve` would return them, in their order.

        Feeds that were deleted meanwhile are left out, and so are, if ``scheduled``, those that are
        no longer due as they were seen. Reserved is what was yielded, and up to 99 more.

        Raises:
            ConflictError: not scheduled, and others kept reserving a feed.
        """
        skipped = (NotFoundError, ConflictError) if scheduled else (NotFoundError,)
        for start in range(0, len(feeds), _RESERVED_PER_CALL):
            some = feeds[start : start + _RESERVED_PER_CALL]
            made = self._reserve_free(some, trigger, force, scheduled)
            for feed in some:
                with suppress(*skipped):
                    yield (
                        made.get(feed.source)
                        or self.reserve(feed, trigger, force=force, scheduled=scheduled)[0]
                    )

    def _reserve_free(
        self, feeds: Sequence[Feed], trigger: Trigger, force: bool, scheduled: bool
    ) -> dict[str, Import]:
        """Reserve those feeds that name no import; return the new imports by source."""
        free = [feed for feed in feeds if feed.running_import is None]
        new = {feed.source: self._new_import(feed, trigger, force, False, None) for feed in free}
        reserved = self._stores.feeds.reserve_many(
            [(feed, new[feed.source].import_id) for feed in free], scheduled=scheduled
        )
        made = {source: new[source] for source in reserved}
        self._stores.imports.insert_many(made.values())
        return made

    def add_fetch_jobs(self, imports: Iterable[Import]) -> None:
        """Add the fetch jobs of those that are not committed, so that their hosts take turns.

        Safe to repeat: one job a feed.

        Raises:
            QueueUnavailable: some may not have been added; the auditor adds them later.
        """
        jobs = [
            fetch_job(
                queued.source,
                queued.import_id,
                keep_completed=self._keep_completed,
                keep_failed=self._keep_failed,
            )
            for queued in alternate_hosts(imports)
            if queued.state in BEFORE_COMMIT
        ]
        for start in range(0, len(jobs), _JOBS_PER_CALL):
            self._fetch_queue.add_many(jobs[start : start + _JOBS_PER_CALL])

    def _find_running(self, feed: Feed, import_id: str, trigger: Trigger) -> Import | None:
        """Return the import that the feed names and waits for; None once the feed is free."""
        running = self._stores.imports.get(import_id)
        if running is None:
            # Named by the feed as it was seen; one that was withdrawn since is not to come back.
            is_named = self._stores.feeds.read_running_import(feed.source) == import_id
            return self._insert_missing(feed, import_id, trigger) if is_named else None
        if running.state in BEFORE_COMMIT:
            return running
        self._stores.feeds.finish(running)
        return None

    def _insert_missing(self, feed: Feed, import_id: str, trigger: Trigger) -> Import | None:
        """Insert an import that was reserved and never inserted; None if somebody just did."""
        # Handed-in documents are stored before their feed is reserved.
        has_document = import_id in self._stores.documents.read_import_ids()
        missing = self._new_import(feed, trigger, False, has_document, import_id)
        return missing if self._stores.imports.insert(missing) else None

    def _new_import(
        self, feed: Feed, trigger: Trigger, force: bool, has_document: bool, import_id: str | None
    ) -> Import:
        now = self._clock.now()
        return Import(
            import_id=import_id or new_import_id(now),
            source=feed.source,
            urls=feed.urls,
            trigger=trigger,
            state=ImportState.QUEUED,
            requested_at=now,
            force=force,
            has_document=has_document,
            is_heavy_feed=feed.weight == HEAVY_WEIGHT,
        )

    def _read_again(self, seen: Feed, *, scheduled: bool) -> Feed:
        found = self._stores.feeds.get(seen.source)
        if found is None:
            raise NotFoundError(f"there is no feed {seen.source!r}")
        if scheduled and not (found.enabled and found.next_fetch_at == seen.next_fetch_at):
            raise ConflictError(f"feed {seen.source!r} is no longer due")
        return found


class ImportStarter:
    """Starts imports now; the schedule of the feeds is not moved.

    A feed with a window answers with the imports of its next intervals, by ``pull``.

    A feed whose import is still queued or fetching answers with that import, so a repeated call
    starts nothing twice.
    """

    def __init__(
        self,
        stores: Stores,
        reservations: FeedReservations,
        feeds: FeedService,
        pull: Callable[[str], list[Import]],
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._reservations = reservations
        self._feeds = feeds
        self._pull = pull
        self._clock = clock

    def start_all(self, *, force: bool = False, trigger: Trigger = Trigger.API) -> list[Import]:
        """Start an import of every enabled feed that has a URL; none is an empty list.

        Those with a window are left out: they are read as their intervals come.
        """
        found = [feed for feed in self._stores.feeds.find_enabled() if feed.window is None]
        return self._start(found, force=force, trigger=trigger)

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
                    f"feed {source!r} has no URL: upload a document, or give it a URL first"
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
        # Before the reservation: whoever finds it without its import can tell that it has one.
        self._stores.documents.insert(import_id, document)
        try:
            started = self._reserve_for_document(feed, import_id, force=force, trigger=trigger)
        except (ConflictError, NotFoundError):
            self._stores.documents.delete(import_id)
            raise
        self._reservations.add_fetch_jobs([started])
        return [started]

    def start_reparse(
        self, source: str, since: datetime | None = None, *, trigger: Trigger = Trigger.API
    ) -> list[Import]:
        """Start an import of a feed's bodies that were fetched ``since`` and kept; of all of them.

        Its publisher is not asked, and nothing that came later is written over.

        Raises:
            NotFoundError: there is no such feed.
            ConflictError: an import of it is queued or fetching.
            InvalidRequestError: none of its bodies is kept.
        """
        feed = self._feeds.get(source)
        since = since or _FIRST_MOMENT
        if not self._stores.bodies.find_keys(source, since):
            raise InvalidRequestError(
                f"no document of feed {source!r} fetched since {format_time(since)} is kept: "
                "give an earlier time, or import the feed from its URL (KEEP_BODIES)"
            )
        started, is_new = self._reservations.reserve(feed, trigger, bodies_since=since)
        if not is_new:
            raise _running_conflict(source, started.import_id)
        self._reservations.add_fetch_jobs([started])
        return [started]

    def _reserve_for_document(
        self, feed: Feed, import_id: str, *, force: bool, trigger: Trigger
    ) -> Import:
        started, is_new = self._reservations.reserve(
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
        windowed = [feed for feed in feeds if feed.window is not None]
        plain = [feed for feed in feeds if feed.window is None]
        started: list[Import] = []
        try:
            # Without those deleted since: as if they had been deleted a moment earlier.
            for one in self._reservations.reserve_many(plain, trigger, force=force):
                started.append(one)
        finally:
            # Also of those that were reserved before the store went away.
            self._reservations.add_fetch_jobs(started)
        return [*started, *(one for feed in windowed for one in self._pull(feed.source))]


def _running_conflict(source: str, import_id: str) -> ConflictError:
    return ConflictError(
        f"import {import_id} of {source!r} is queued or fetching; wait until it has ended"
    )
