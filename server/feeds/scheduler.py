"""The tick: each second, due feeds become imports and fetch jobs."""

import threading
from collections.abc import Sequence
from datetime import datetime

from server.feeds.claims import FeedClaims
from server.feeds.host_places import HostPlaces
from shared.clock import Clock
from shared.errors import FeedmillError
from shared.host_names import hosts_of
from shared.logs import get_logger
from shared.store import Feed, Import, Stores, Trigger
from shared.supervision import Supervisor

log = get_logger("server.feeds.scheduler")

TICK_S = 1
MAX_FEEDS_A_TICK = 500
# Each looks past the hosts that the ones before found to have enough.
MAX_ROUNDS = 16


class Scheduler:
    """Claims due feeds, longest due first, ``max_per_host`` of one host queued or fetching at most.

    Any number of servers may tick: a feed is claimed by one of them. (Ticks at the very same moment
    may claim more of a host together; the fetches of each server hold the limit themselves.)
    """

    def __init__(
        self, *, stores: Stores, claims: FeedClaims, clock: Clock, max_per_host: int
    ) -> None:
        self._stores = stores
        self._claims = claims
        self._clock = clock
        self._max_per_host = max_per_host
        self._skipped: set[str] = set()

    def start(self, supervisor: Supervisor, stop: threading.Event) -> None:
        """Tick each second until ``stop`` is set, on a supervised thread.

        A tick under way then is not waited for; what it leaves half done is healed.
        """
        supervisor.start("scheduler", self._step, stop)

    def tick(self) -> int:
        """Start imports of the feeds that are due; returns how many.

        What is due on a host that asked to be left alone is moved to a later time.

        Raises:
            StoreUnavailable, QueueUnavailable: whatever was claimed is healed by the auditor.
        """
        claimed: list[Import] = []
        try:
            self._claim_due(self._clock.now(), claimed)
        finally:
            self._claims.add_fetch_jobs(claimed)
        return len(claimed)

    def _claim_due(self, now: datetime, claimed: list[Import]) -> None:
        """Claim round by round, each past the hosts that are closed by then.

        If the rounds are not enough, the next tick goes on behind them.
        """
        skipped, self._skipped = self._skipped, set()
        due = self._stores.feeds.find_due(now, MAX_FEEDS_A_TICK, skip_hosts=skipped)
        if not due:
            return
        places = HostPlaces(self._max_per_host, self._stores.feeds.count_running_by_host())
        room = MAX_FEEDS_A_TICK
        for _ in range(MAX_ROUNDS):
            room -= self._claim_fairly(due, places, room, now, claimed)
            if len(due) < MAX_FEEDS_A_TICK or room <= 0 or places.closed <= skipped:
                return
            skipped |= places.closed
            due = self._stores.feeds.find_due(now, MAX_FEEDS_A_TICK, skip_hosts=skipped)
        self._skipped = skipped

    def _claim_fairly(
        self,
        due: Sequence[Feed],
        places: HostPlaces,
        room: int,
        now: datetime,
        claimed: list[Import],
    ) -> int:
        """Claim and defer what is due; returns how many claims were tried."""
        hosts = hosts_of(url for feed in due for url in feed.urls)
        choice = places.choose(due, self._stores.hosts.read_blocked(hosts, now), room)
        # Without what another server's tick, or a change of the feed, was faster with.
        for started in self._claims.claim_many(choice.to_claim, Trigger.SCHEDULE, scheduled=True):
            claimed.append(started)
        if self._stores.feeds.defer_many(choice.to_defer):
            log.info("feeds_deferred", feeds=len(choice.to_defer))
        return len(choice.to_claim)

    def _step(self) -> float:
        try:
            self.tick()
        except FeedmillError as exc:
            log.warning("tick_failed", error=str(exc))
        return TICK_S
