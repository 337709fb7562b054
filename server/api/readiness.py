"""Whether the stores serve us, found out within a short time even when they hang."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from shared.clock import Clock
from shared.errors import FeedmillError, QueueRefused, StoreRefused
from shared.queue import JobQueue, probe_queue
from shared.store import Stores

PING_TIMEOUT_S = 2.0
# How old a write may be that stands for others: health checks are frequent, and need no key.
WRITE_EVERY_S = 2.0
SILENT = "does not answer"


class StorePings:
    """Asks each store for what all work needs of it: more than an answer to a ping."""

    def __init__(self, queue: JobQueue, stores: Stores, clock: Clock) -> None:
        self._queue = queue
        self._stores = stores
        self._clock = clock
        self._written_s = float("-inf")

    def ping_redis(self) -> None:
        """Do what every queue needs, on a key of its own.

        Raises:
            QueueUnavailable: Redis does not serve, or refuses a command.
        """
        probe_queue(self._queue.client, self._queue.keys.base)

    def ping_mongodb(self) -> None:
        """Ping; every 2 s also write with the record's guarantees.

        Raises:
            StoreUnavailable: MongoDB does not serve, or refuses the write.
        """
        self._stores.database.ping()
        if self._clock.monotonic_s() - self._written_s >= WRITE_EVERY_S:
            self._stores.probe_write(self._clock.now())
            self._written_s = self._clock.monotonic_s()


class Readiness:
    """Pings stores in threads of its own: those of the API may all be waiting for a store.

    Lives on one event loop.
    """

    def __init__(self, pings: Mapping[str, Callable[[], object]]) -> None:
        self._pings = pings
        self._executor = ThreadPoolExecutor(len(pings), thread_name_prefix="readiness")
        self._running: dict[str, Future[object]] = {}

    async def find_absent(self) -> dict[str, str]:
        """Return the stores that do not serve within 2 s by name, each with what it does instead.

        A ping that hangs is not repeated until it ends, so at most one a store is under way.
        """
        for name, ping in self._pings.items():
            if name not in self._running or self._running[name].done():
                self._running[name] = self._executor.submit(ping)
        asked = dict(self._running)
        await asyncio.wait(map(_awaitable, asked.values()), timeout=PING_TIMEOUT_S)
        troubles = {name: _trouble_of(future) for name, future in asked.items()}
        return {name: trouble for name, trouble in troubles.items() if trouble is not None}

    def close(self) -> None:
        """End the threads, without waiting for a ping that hangs."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def describe_absent(absent: Mapping[str, str]) -> str:
    """Return in words which stores do not serve, and what they do instead."""
    if len(absent) > 1 and set(absent.values()) == {SILENT}:
        return f"{' and '.join(absent)} do not answer"
    return " and ".join(f"{name} {trouble}" for name, trouble in absent.items())


def describe_trouble(error: FeedmillError) -> str:
    """Return what a store does instead of serving, in words that need no key to be read."""
    if isinstance(error, QueueRefused | StoreRefused):
        return f"refuses {error.what}"
    return SILENT


def _awaitable(future: Future[object]) -> asyncio.Future[None]:
    """Return a future that is done when this one is, and keeps its error to itself."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not ended.done():
            ended.set_result(None)

    future.add_done_callback(lambda _: loop.call_soon_threadsafe(settle))
    return ended


def _trouble_of(future: Future[object]) -> str | None:
    if not future.done():
        return SILENT
    error = future.exception()
    if error is not None and not isinstance(error, FeedmillError):
        raise error
    return describe_trouble(error) if error is not None else None
