"""How often one client may start work."""

import math
import time

from limits import parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import MovingWindowRateLimiter

from shared.logs import get_logger
from shared.queue import RedisConnection

log = get_logger("server.api.rate_limit")


class StartLimit:
    """Counts the calls that start work, per client, in a moving window as ``60/minute``.

    All servers count together in Redis, under keys that begin with ``key_prefix``; while it does
    not answer, each counts for itself.
    """

    def __init__(self, limit: str, *, client: RedisConnection, key_prefix: str) -> None:
        self._limit = parse(limit)
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared = MovingWindowRateLimiter(_open_storage(client, key_prefix))

    def count(self, client: str) -> int | None:
        """Count one call; returns None, or the seconds to wait when it is one too many."""
        try:
            return self._count_in(self._shared, client)
        except StorageError as exc:
            log.warning("rate_limit_counts_alone", error=str(exc))
            return self._count_in(self._own, client)

    def _count_in(self, limiter: MovingWindowRateLimiter, client: str) -> int | None:
        if limiter.hit(self._limit, client):
            return None
        reset_at = limiter.get_window_stats(self._limit, client).reset_time
        return max(1, math.ceil(reset_at - time.time()))


def _open_storage(client: RedisConnection, key_prefix: str) -> Storage:
    # On the client's own pool, so with its timeouts and without the driver's retries.
    return RedisStorage(
        "redis://",
        connection_pool=client.connection_pool,
        key_prefix=key_prefix,
        wrap_exceptions=True,
    )
