"""The tick: as soon as feeds are due they become imports and fetch jobs, fairly for every host."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.feeds.retry_after import explain_pause
from server.feeds.service import FeedChanges
from server.feeds.starter import FeedReservations
from shared.clock import Clock
from shared.errors import FeedmillError
from shared.logs import get_logger
from shared.store import Deferral, Feed, Import, Stores, Trigger
from shared.supervision import Supervisor
from shared.urls import hosts_of

log = get_logger("server.feeds.scheduler")

# Between ticks while feeds are due, and before a change is taken up.
TICK_S = 1.0
# As long while nothing is: what other programs change in MongoDB is seen then.
IDLE_TICK_S = 5.0
MAX_FEEDS_A_TICK = 500
# Each looks past the hosts that the ones before found to have enough.
MAX_ROUNDS = 16
# Between feeds of a host that asked to be left alone: not all may come at the second it named.
DEFERRAL_GAP = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Choice:
    """Due feeds, sorted: to reserve, or to move to a later time; of full hosts they stay due."""

    to_reserve: list[Feed]
    to_defer: list[Deferral]


class HostLimits:
    """What one tick knows of hosts: how many more feeds each may be asked for, and which pause.

    ``running`` is how many feeds of each host are queued or fetching already.
    """

    def __init__(self, max_per_host: int, running: Mapping[str, int]) -> None:
        self._max_per_host = max_per_host
        self._taken = dict(running)
        self._blocked: dict[str, datetime] = {}
        self._deferred: dict[str, int] = {}

    @property
    def closed(self) -> set[str]:
        """Return the hosts whose feeds cannot be reserved."""
        full = {host for host, taken in self._taken.items() if taken >= self._max_per_host}
        return full | set(self._blocked)

    def choose(self, due: Iterable[Feed], blocked: Mapping[str, datetime], limit: int) -> Choice:
        """Sort due feeds, at most ``limit`` to reserve; what is chosen is counted from then on.

        ``blocked`` says until when hosts are not to be asked. A feed is deferred only when that
        holds for all hosts of its URLs, until the first of them may be asked.
        """
        self._blocked |= blocked
        to_reserve: list[Feed] = []
        to_defer: list[Deferral] = []
        for feed in due:
            pause = self._find_pause(feed)
            if pause is not None:
                to_defer.append(self._defer(feed, *pause))
            elif len(to_reserve) < limit and self._take(feed.host):
                to_reserve.append(feed)
        return Choice(to_reserve, to_defer)

    def _find_pause(self, feed: Feed) -> tuple[datetime, str] | None:
        """Return until when no host of a feed may be asked, and which one will be the first."""
        hosts = hosts_of(feed.urls)
        pauses = [(self._blocked[host], host) for host in hosts if host in self._blocked]
        return min(pauses) if pauses and len(pauses) == len(hosts) else None

    def _defer(self, feed: Feed, until: datetime, host: str) -> Deferral:
        before = self._deferred.get(host, 0)
        self._deferred[host] = before + 1
        return Deferral(feed, until + before * DEFERRAL_GAP, explain_pause(host, until))

    def _take(self, host: str | None) -> bool:
        if host is None:
            return True
        taken = self._taken.get(host, 0)
        if taken >= self._max_per_host:
            return False
        self._taken[host] = taken + 1
        return True


class Scheduler:
    """Reserves due feeds, longest due first, at most ``max_per_host`` of a host queued or fetching.

    Any number of servers may tick: a feed is reserved by one of them. (Ticks at the very same
    moment may reserve more of a host together; the fetches of each server keep the limit anyway.)
    """

    def __init__(
        self,
        *,
        stores: Stores,
        reservations: FeedReservations,
        changes: FeedChanges,
        clock: Clock,
        max_per_host: int,
    ) -> None:
        self._stores = stores
        self._reservations = reservations
        self._clock = clock
        self._max_per_host = max_per_host
        self._skipped: set[str] = set()
        self._changes = changes

    def start(self, supervisor: Supervisor, stop: threading.Event) -> None:
        """Tick whenever a feed is due until ``stop`` is set, on a supervised thread.

        A change by this process is taken up within a second, as is a feed whose time comes; what
        others change, within 5 s.
        A tick under way then is not waited for; what it leaves half done is repaired.
        """
        supervisor.start("scheduler", self._step, stop)

    def tick(self) -> int:
        """Start imports of the feeds that are due; returns how many.

        What is due on a host that asked to be left alone is moved to a later time.

        Raises:
            StoreUnavailable, QueueUnavailable: whatever was reserved is repaired by the auditor.
        """
        now = self._clock.now()
        return self._start(self._find_due(now), now)

    def step(self) -> float:
        """Tick; return after how many seconds the next tick is worth while, 1 to 5.

        One query finds what is due and what will be next: an idle server makes no other. A store
        or queue that is away is logged.
        """
        now, is_skipping = self._clock.now(), bool(self._skipped)
        try:
            coming = self._find_due(now + timedelta(seconds=IDLE_TICK_S))
            due = [feed for feed in coming if feed.next_fetch_at and feed.next_fetch_at <= now]
            self._start(due, now)
        except FeedmillError as exc:
            log.warning("tick_failed", error=str(exc))
            return TICK_S
        if due or is_skipping:
            return TICK_S
        next_at = coming[0].next_fetch_at if coming else None
        return IDLE_TICK_S if next_at is None else max(TICK_S, (next_at - now).total_seconds())

    def _step(self) -> float:
        self._clock.wait(self._changes, self.step() - TICK_S)
        self._changes.clear()
        return TICK_S

    def _find_due(self, moment: datetime) -> list[Feed]:
        return self._stores.feeds.find_due(moment, MAX_FEEDS_A_TICK, skip_hosts=self._skipped)

    def _start(self, due: Sequence[Feed], now: datetime) -> int:
        reserved: list[Import] = []
        try:
            self._reserve_due(due, now, reserved)
        finally:
            self._reservations.add_fetch_jobs(reserved)
        return len(reserved)

    def _reserve_due(self, due: Sequence[Feed], now: datetime, reserved: list[Import]) -> None:
        """Reserve round by round, each past the hosts that are closed by then.

        If the rounds are not enough, the next tick goes on behind them.
        """
        skipped, self._skipped = self._skipped, set()
        if not due:
            return
        limits = HostLimits(self._max_per_host, self._stores.feeds.count_running_by_host())
        left = MAX_FEEDS_A_TICK
        for _ in range(MAX_ROUNDS):
            left -= self._reserve_fairly(due, limits, left, now, reserved)
            if len(due) < MAX_FEEDS_A_TICK or left <= 0 or limits.closed <= skipped:
                return
            skipped |= limits.closed
            due = self._stores.feeds.find_due(now, MAX_FEEDS_A_TICK, skip_hosts=skipped)
        self._skipped = skipped

    def _reserve_fairly(
        self,
        due: Sequence[Feed],
        limits: HostLimits,
        limit: int,
        now: datetime,
        reserved: list[Import],
    ) -> int:
        """Reserve and defer what is due; returns how many reservations were tried."""
        hosts = hosts_of(url for feed in due for url in feed.urls)
        choice = limits.choose(due, self._stores.hosts.read_blocked(hosts, now), limit)
        # Without what another server's tick, or a change of the feed, was faster with.
        for one in self._reservations.reserve_many(
            choice.to_reserve, Trigger.SCHEDULE, scheduled=True
        ):
            reserved.append(one)
        if self._stores.feeds.defer_many(choice.to_defer):
            log.info("feeds_deferred", feeds=len(choice.to_defer))
        return len(choice.to_reserve)
