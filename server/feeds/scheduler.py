"""The tick: each second, due feeds become imports and fetch jobs."""

from apscheduler.schedulers.background import BackgroundScheduler

from server.feeds.claims import FeedClaims
from shared.clock import Clock
from shared.errors import ConflictError, FeedmillError, NotFoundError
from shared.logs import get_logger
from shared.store import Feed, Import, Stores

log = get_logger("server.feeds.scheduler")

TICK_S = 1
MAX_FEEDS_A_TICK = 500
TRIGGER = "schedule"


class Scheduler:
    """Claims due feeds. Any number of servers may tick: a feed is claimed by one of them."""

    def __init__(self, *, stores: Stores, claims: FeedClaims, clock: Clock) -> None:
        self._stores = stores
        self._claims = claims
        self._clock = clock
        self._scheduler = BackgroundScheduler(timezone="UTC")

    def start(self) -> None:
        """Begin to tick, on a thread of its own."""
        self._scheduler.add_job(
            self._tick_safely,
            "interval",
            seconds=TICK_S,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.start()

    def stop(self) -> None:
        """End; a tick under way is not waited for, what it leaves half done is healed."""
        self._scheduler.shutdown(wait=False)

    def tick(self) -> int:
        """Start imports of the feeds that are due, longest due first; returns how many.

        Raises:
            StoreUnavailable, QueueUnavailable: whatever was claimed is healed by the auditor.
        """
        claimed: list[Import] = []
        try:
            for feed in self._stores.feeds.find_due(self._clock.now(), MAX_FEEDS_A_TICK):
                started = self._claim(feed)
                if started is not None:
                    claimed.append(started)
        finally:
            self._claims.add_fetch_jobs(claimed)
        return len(claimed)

    def _claim(self, feed: Feed) -> Import | None:
        try:
            return self._claims.claim(feed, TRIGGER, scheduled=True)[0]
        except (ConflictError, NotFoundError):
            # Another server's tick, or a change of the feed, was faster.
            return None

    def _tick_safely(self) -> None:
        try:
            self.tick()
        except FeedmillError as exc:
            log.warning("tick_failed", error=str(exc))
        except Exception:
            log.exception("tick_error")
