"""Whether the stores answer, found out within a short time even when they hang."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from shared.errors import FeedmillError

PING_TIMEOUT_S = 2.0


class Readiness:
    """Pings stores in threads of its own: those of the API may all be waiting for a store.

    Lives on one event loop.
    """

    def __init__(self, pings: Mapping[str, Callable[[], object]]) -> None:
        self._pings = pings
        self._executor = ThreadPoolExecutor(len(pings), thread_name_prefix="readiness")
        self._running: dict[str, Future[object]] = {}

    async def find_absent(self) -> list[str]:
        """Return the names of the stores that do not answer within 2 s.

        A ping that hangs is not repeated until it ends, so at most one a store is under way.
        """
        for name, ping in self._pings.items():
            if name not in self._running or self._running[name].done():
                self._running[name] = self._executor.submit(ping)
        asked = dict(self._running)
        await asyncio.wait(map(_awaitable, asked.values()), timeout=PING_TIMEOUT_S)
        return [name for name, future in asked.items() if not _has_answered(future)]

    def close(self) -> None:
        """End the threads, without waiting for a ping that hangs."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def describe_absent(names: Sequence[str]) -> str:
    """Return in words which stores do not answer."""
    return f"{' and '.join(names)} {'does' if len(names) == 1 else 'do'} not answer"


def _awaitable(future: Future[object]) -> asyncio.Future[None]:
    """Return a future that is done when this one is, and keeps its error to itself."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not ended.done():
            ended.set_result(None)

    future.add_done_callback(lambda _: loop.call_soon_threadsafe(settle))
    return ended


def _has_answered(future: Future[object]) -> bool:
    if not future.done():
        return False
    error = future.exception()
    if error is not None and not isinstance(error, FeedmillError):
        raise error
    return error is None
