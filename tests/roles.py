"""Servers and workers as tests drive them: the real parts, step by step on the test's thread.

Each is wired by its own composition root; only the web, the parser's process, the clock and the
flush threads are stand-ins.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, cast
from unittest import mock

import pytest

from server.composition import Web
from server.fetching.fetcher import Fetcher
from server.fetching.host_slots import HostSlots
from server.parsing import ParsedFeed, parse_feed
from server.parsing.isolation import ParserPool
from server.process import ServerProcess
from shared.queue import RedisConnection
from shared.settings import Settings
from shared.store import Database, Import, Stores
from tests.fake_publisher import FakePublisher, read_leniently
from tests.fakes import FakeClock
from tests.lines import Crash, Line, LinedDatabase, LinedRedis
from worker.claiming import Taken
from worker.process import WorkerProcess

_HELD_TIMEOUT_S = 30.0


class Role:
    """Something that can crash: it reaches the stores by a line of its own."""

    def __init__(self, redis: RedisConnection, database: Database) -> None:
        self.line = Line()
        self.redis = cast(RedisConnection, LinedRedis(redis, self.line))
        self.stores = Stores.of(cast(Database, LinedDatabase(database, self.line)))

    def crash_at(
        self,
        target: object,
        method: str,
        act: Callable[[], object],
        *,
        nth: int = 1,
        after: bool = False,
    ) -> None:
        """Do ``act``, and crash at the ``nth`` call of a method, before it or after it."""

        def die() -> None:
            self.line.cut()
            raise Crash

        with (
            _stopped_at(target, method, die, nth=nth, after=after),
            pytest.raises(Crash),
        ):
            act()


class Server(Role):
    """One server: its API's services, its fetch thread, its auditor, its tick."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisConnection,
        database: Database,
        clock: FakeClock,
        publisher: FakePublisher,
    ) -> None:
        super().__init__(redis, database)
        fetcher, parser = cast(Fetcher, publisher), cast(ParserPool, InlineParser())
        web = Web(fetcher, parser, HostSlots(settings.fetch_per_host, clock))
        self.process = ServerProcess(
            settings, self.redis, self.stores, clock, random=lambda: 0.0, web=web
        )
        self.services = self.process.services
        self.auditor = self.process.auditor
        self.scheduler = self.process.scheduler
        self.dispatcher = self.process.dispatcher
        self.reservations = self.process.base.reservations

    def start(self, source: str, *, force: bool = False) -> Import:
        """Ask for an import of a feed, as the API does."""
        [started] = self.services.starter.start_sources([source], force=force)
        return started

    def dispatch(self) -> None:
        """Let the dispatcher do a round of each indexer that is due, or nearly so."""
        self.dispatcher.look()

    def fetch(self) -> bool:
        """Run one fetch job to its settlement; False when none is ready."""
        return self.process.fetch_one()

    def look(self) -> None:
        """Let the auditor look once at what is due."""
        self.auditor.look()

    def audit(self, import_id: str, *, add_missing: bool = True) -> bool:
        """Audit one import now, whether due or not; answers whether that closed it."""
        seen = self.stores.imports.get(import_id)
        assert seen is not None
        return self.auditor.audit(seen, add_missing=add_missing)

    def heal(self) -> None:
        """Let the healer do everything but the hourly sweep."""
        self.auditor._healer.heal()


class Worker(Role):
    """One worker, whose flushes run on the thread that drives it."""

    def __init__(
        self, settings: Settings, redis: RedisConnection, database: Database, clock: FakeClock
    ) -> None:
        super().__init__(redis, database)
        self._pool = InlinePool()
        with mock.patch("worker.process.FlushPool", return_value=self._pool):
            self.process = WorkerProcess(settings, self.redis, self.stores, clock)
        self.consumer = self.process.parts.consumer
        self.storer = self.process.parts.consumer_parts.batches._storer
        self.queues = self.process.parts.queues

    def work(self) -> int:
        """Claim once from each queue and flush all that came; returns how many jobs were taken."""
        taken = self.claim()
        self.flush()
        return sum(len(one.items) + len(one.failed) for one in taken)

    def claim(self) -> list[Taken]:
        """Claim once from each queue."""
        return [one for parts in self.process.partitions for one in parts.consumer.step()]

    def flush(self) -> None:
        """Bring all that is due to its end."""
        self._pool.run_all()


class InlinePool:
    """The flush pool without threads: what is submitted waits for :meth:`run_all`."""

    is_idle = True
    finished = 0

    def __init__(self) -> None:
        self._acts: list[Callable[[], None]] = []

    def submit(self, act: Callable[[], None]) -> None:
        self._acts.append(act)

    def run_all(self) -> None:
        while self._acts:
            self._acts.pop(0)()


class InlineParser:
    """The parser without its process."""

    def parse(self, body: bytes, *, timeout_s: float | None = None, **arguments: Any) -> ParsedFeed:
        return read_leniently(parse_feed(body, **arguments), body)


class Held:
    """An act on a thread of its own, stopped at a call; it goes on when the test lets it.

    As a context manager it is held inside, and has ended behind.
    """

    def __init__(
        self,
        act: Callable[[], object],
        target: object,
        method: str,
        *,
        nth: int = 1,
        after: bool = False,
    ) -> None:
        self._act = act
        self._stop = partial(_stopped_at, target, method, self._wait_there, nth=nth, after=after)
        self._paused = threading.Event()
        self._ended = threading.Event()
        self._released = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> bool:
        """Start the act; answers whether it is held, False when it ended without coming there."""
        self._thread.start()
        assert self._paused.wait(_HELD_TIMEOUT_S), "the act hangs"
        return not self._ended.is_set()

    def __enter__(self) -> Self:
        if not self.begin():
            self.go_on()
            raise AssertionError("the act never came to the call it was to be held at")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.go_on()

    def go_on(self) -> None:
        """Let it go on to its end. Safe to call twice."""
        self._released.set()
        self._thread.join(_HELD_TIMEOUT_S)
        assert not self._thread.is_alive()
        if self._error is not None and not isinstance(self._error, Crash):
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        try:
            with self._stop():
                self._act()
        except BaseException as exc:  # noqa: BLE001 - raised again on the test's own thread
            self._error = exc
        finally:
            self._ended.set()
            self._paused.set()

    def _wait_there(self) -> None:
        self._paused.set()
        self._released.wait(_HELD_TIMEOUT_S)


@contextmanager
def _stopped_at(
    target: object, method: str, stop: Callable[[], None], *, nth: int, after: bool
) -> Iterator[None]:
    """Call ``stop`` at the ``nth`` call of a method of one object, before it or after it."""
    original = getattr(target, method)
    calls = 0

    def stopping(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        is_there = calls == nth
        if is_there and not after:
            stop()
        answer = original(*args, **options)
        if is_there and after:
            stop()
        return answer

    with mock.patch.object(target, method, stopping):
        yield
