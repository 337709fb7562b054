"""The first step of every import: one feed, claimed for one import, whatever crashed before."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from server.feeds.fetch_jobs import alternate_hosts, fetch_job
from shared.clock import Clock
from shared.errors import ConflictError, NotFoundError
from shared.queue import JobQueue
from shared.store import Feed, Import, ImportState, Stores, Trigger, new_import_id
from shared.store.imports import BEFORE_COMMIT

HEAVY_WEIGHT = "heavy"
# Each lost race means that another caller made progress with this feed.
_MAX_TRIES = 8
_JOBS_PER_CALL = 500
# A claimed feed whose import is not inserted yet looks like one that a crash left so.
_CLAIMS_PER_CALL = 100


class FeedClaims:
    """Claims feeds for imports; the API, the tick and the auditor all go through here.

    A feed is claimed by a compare-and-set on its document, so of any number of callers on any
    number of servers one makes the import and the others are given that import. What a crash
    left behind is healed on the way.
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

    def claim(
        self,
        feed: Feed,
        trigger: Trigger,
        force: bool = False,
        scheduled: bool = False,
        has_document: bool = False,
        import_id: str | None = None,
    ) -> tuple[Import, bool]:
        """Return the feed's import that is queued or fetching, and whether this call made it.

        An import that the feed names and that was never inserted is inserted; one that is past
        its commit, or failed, hands the feed what it has to, then a new one is made.
        ``scheduled``: only while the feed is enabled and due as it was seen. ``import_id`` is the
        id for a new import, drawn before because something is stored under it already.
        The fetch job is not added: see :meth:`add_fetch_jobs`.

        Raises:
            NotFoundError: the feed was deleted.
            ConflictError: scheduled, and it is no longer due as it was seen; or others kept
                claiming it.
        """
        seen = feed
        for _ in range(_MAX_TRIES):
            if seen.running_import is None:
                new = self._new_import(seen, trigger, force, has_document, import_id)
                if self._stores.feeds.claim(seen, new.import_id, scheduled=scheduled):
                    self._stores.imports.insert(new)
                    return new, True
            else:
                held = self._meet_running(seen, seen.running_import, trigger)
                if held is not None:
                    return held, False
            seen = self._read_again(feed, scheduled=scheduled)
        raise ConflictError(f"feed {feed.source!r} is being claimed by others; try again")

    def claim_many(
        self,
        feeds: Sequence[Feed],
        trigger: Trigger,
        *,
        force: bool = False,
        scheduled: bool = False,
    ) -> Iterator[Import]:
        """Yield the imports of feeds as :meth:`claim` would return them, in their order.

        Feeds that were deleted meanwhile are left out, and so are, if ``scheduled``, those that are
        no longer due as they were seen. Claimed is what was yielded, and up to 99 more.

        Raises:
            ConflictError: not scheduled, and others kept claiming a feed.
        """
        skipped = (NotFoundError, ConflictError) if scheduled else (NotFoundError,)
        for start in range(0, len(feeds), _CLAIMS_PER_CALL):
            some = feeds[start : start + _CLAIMS_PER_CALL]
            made = self._claim_free(some, trigger, force, scheduled)
            for feed in some:
                with suppress(*skipped):
                    yield (
                        made.get(feed.source)
                        or self.claim(feed, trigger, force=force, scheduled=scheduled)[0]
                    )

    def _claim_free(
        self, feeds: Sequence[Feed], trigger: Trigger, force: bool, scheduled: bool
    ) -> dict[str, Import]:
        """Claim those feeds that name no import; return the new imports by source."""
        free = [feed for feed in feeds if feed.running_import is None]
        new = {feed.source: self._new_import(feed, trigger, force, False, None) for feed in free}
        claimed = self._stores.feeds.claim_many(
            [(feed, new[feed.source].import_id) for feed in free], scheduled=scheduled
        )
        made = {source: new[source] for source in claimed}
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

    def _meet_running(self, feed: Feed, import_id: str, trigger: Trigger) -> Import | None:
        """Return the import the feed names if it holds the feed; None once the feed is free."""
        held = self._stores.imports.get(import_id)
        if held is None:
            return self._insert_missing(feed, import_id, trigger)
        if held.state in BEFORE_COMMIT:
            return held
        self._stores.feeds.finish(held)
        return None

    def _insert_missing(self, feed: Feed, import_id: str, trigger: Trigger) -> Import | None:
        """Insert an import that was claimed and never inserted; None if somebody just did."""
        # Handed-in documents are stored before their feed is claimed.
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
