"""Weeks of the real server side on a simulated clock, step by step, each step at its time."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from server.composition import make_web
from server.feeds.scheduler import TICK_S
from server.process import ServerProcess
from shared.errors import ServiceError
from shared.queue import JobState, RedisConnection
from shared.settings import Settings
from shared.store import Import, Stores
from tests.fakes import FakeClock
from tests.politeness.log import HOUR, Log
from tests.politeness.publisher import LOOPBACK, Publisher
from tests.politeness.scenarios import make_scenarios
from tests.politeness.versions import Span

# A Monday, at the first second of it: skipped hours and days begin to count after the first polls.
BEGAN_AT = datetime(2026, 11, 2, tzinfo=UTC)
WEEK = timedelta(days=7)
# Their periods share nothing with a day's, so that they come at all its hours.
_RESTART_EVERY = timedelta(hours=29, minutes=13)
_MANUAL_EVERY = timedelta(hours=83, minutes=41)
_AUDIT_EVERY = 6 * HOUR
_MAX_ROUNDS = 600
_CLOSE_TIMEOUT_S = 60.0
_PAGE = 500
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of a simulation: the publisher's log, and how much there was of everything."""

    log: Log
    weeks: int
    feeds: int
    restarts: int
    manual_rounds: int
    imports: int


@dataclass(slots=True)
class _Recurring:
    """Something that happens every so often."""

    every: timedelta
    act: Callable[[], None]
    due_at: datetime
    count: int = 0

    def run_if_due(self, now: datetime) -> None:
        if now >= self.due_at:
            self.act()
            self.due_at += self.every
            self.count += 1


class Simulation:
    """One server on given stores, whose items a running worker stores: ``check`` raises if not.

    Restarts make all its parts anew; what is manual is an import of all feeds, as an operator or
    the API starts it.
    """

    def __init__(
        self,
        settings: Settings,
        redis: RedisConnection,
        stores: Stores,
        *,
        weeks: int,
        check: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._stores = stores
        self._weeks = weeks
        self._check = check
        self._span = Span(BEGAN_AT, BEGAN_AT + weeks * WEEK)
        self._clock = FakeClock(BEGAN_AT)
        self._scenarios = make_scenarios(self._span)
        self._publisher = Publisher(self._scenarios.scripts, self._clock)
        self._threads = ThreadPoolExecutor(settings.fetch_concurrency, "fetch")
        self._server = self._build_server()
        self._restarts = self._recurring(_RESTART_EVERY, self._restart)
        self._manual = self._recurring(_MANUAL_EVERY, self._import_all)
        self._audits = self._recurring(_AUDIT_EVERY, self._audit)

    def run(self) -> Simulated:
        """Let the weeks pass.

        Raises:
            StoreError, QueueError: a store went away.
            ServiceError: the worker does not store the items.
        """
        with self._publisher, self._threads:
            try:
                self._stores.ensure_indexes()
                self._subscribe()
                while self._clock.now() < self._span.ended_at:
                    self._step()
                self._close_imports()
            finally:
                self._server.close()
        return Simulated(
            log=self._read_log(),
            weeks=self._weeks,
            feeds=len(self._scenarios.subscriptions),
            restarts=self._restarts.count,
            manual_rounds=self._manual.count,
            imports=sum(1 for _ in self._read_imports()),
        )

    def _subscribe(self) -> None:
        for source, place in self._scenarios.subscriptions.items():
            host, _, path = place.partition("/")
            self._server.services.feeds.add(
                [f"http://{host}:{self._publisher.port}/{path}"],
                source=source,
                interval_s=self._settings.fetch_interval_s,
            )

    def _step(self) -> None:
        """Go to the next moment at which anything is due, and do it."""
        self._clock.advance_to(self._next_moment())
        for recurring in (self._restarts, self._manual, self._audits):
            recurring.run_if_due(self._clock.now())
        if self._server.scheduler.tick():
            self._fetch_all()

    def _next_moment(self) -> datetime:
        due = [
            feed.next_fetch_at
            for feed in self._stores.feeds.find_enabled()
            if feed.next_fetch_at is not None
        ]
        planned = [recurring.due_at for recurring in (self._restarts, self._manual, self._audits)]
        # Between two ticks there is a second.
        soonest = self._clock.now() + timedelta(seconds=TICK_S)
        return max(soonest, min([*due, *planned, self._span.ended_at]))

    def _import_all(self) -> None:
        self._publisher.is_manual = True
        self._server.services.starter.start_all()
        self._fetch_all()
        self._publisher.is_manual = False

    def _fetch_all(self) -> None:
        """Work the fetch queue until it is empty; time passes only for what is to be tried again.

        Raises:
            ServiceError: it does not get empty.
        """
        queue = self._server.services.fetch_queue
        for _ in range(_MAX_ROUNDS):
            counts = queue.counts()
            if counts[JobState.DELAYED]:
                self._clock.advance(seconds=TICK_S)
                queue.promote_due()
            elif not counts[JobState.WAITING]:
                return
            # As many at a time as the server's own threads would take on.
            parallel = min(counts[JobState.WAITING], self._settings.fetch_concurrency)
            list(self._threads.map(self._fetch_some, range(max(1, parallel))))
        raise ServiceError(f"the fetch queue is not empty after {_MAX_ROUNDS} seconds")

    def _fetch_some(self, _number: int) -> None:
        while self._server.fetch_one():
            pass

    def _audit(self) -> None:
        self._check()
        self._server.auditor.look()

    def _restart(self) -> None:
        self._server.close()
        self._server = self._build_server()

    def _build_server(self) -> ServerProcess:
        return ServerProcess(
            self._settings,
            self._redis,
            self._stores,
            self._clock,
            web=make_web(self._settings, self._clock, resolver=lambda _host, _port: [LOOPBACK]),
        )

    def _recurring(self, every: timedelta, act: Callable[[], None]) -> _Recurring:
        return _Recurring(every, act, self._span.began_at + every)

    def _close_imports(self) -> None:
        """Wait, in real time, until the worker has stored what was fetched last."""
        give_up_at = time.monotonic() + _CLOSE_TIMEOUT_S
        while self._stores.imports.find_open():
            if time.monotonic() > give_up_at:
                raise ServiceError("the imports of the simulation do not come to an end")
            time.sleep(_PAUSE_S)
            self._clock.advance(seconds=TICK_S)
            self._audit()

    def _read_log(self) -> Log:
        return Log(
            exchanges=self._publisher.exchanges,
            ended_at=self._span.ended_at,
            places=frozenset(self._scenarios.scripts),
            reported=list(self._read_reported()),
            interval=timedelta(seconds=self._settings.fetch_interval_s),
            max_per_host=self._settings.fetch_per_host,
        )

    def _read_reported(self) -> Iterator[str]:
        """Yield what the service shows its operator about the feeds and their imports."""
        for feed in self._stores.feeds.read_many(self._scenarios.subscriptions).values():
            yield from (feed.error or "", feed.next_fetch_reason)
        for importing in self._read_imports():
            yield from (importing.error or "", *importing.warnings)

    def _read_imports(self) -> Iterator[Import]:
        cursor = None
        while True:
            page = self._stores.imports.find_page(
                source=None, state=None, limit=_PAGE, cursor=cursor
            )
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
