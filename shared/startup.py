"""What both composition roots begin with: connections that are known to work, and the limit."""

from shared.clock import SystemClock
from shared.errors import QueueError, StoreError
from shared.queue import JobQueue, RateLimit, RedisConnection, connect
from shared.settings import Settings
from shared.store import Stores, open_database


def connect_stores(settings: Settings, app_name: str) -> tuple[RedisConnection, Stores]:
    """Connect to the stores that the settings name, and make sure that they answer.

    Raises:
        SettingsError: one is not named.
        QueueError, StoreError: one cannot be reached; the text names the setting.
    """
    redis_url, mongodb_url = settings.named_stores()
    redis = connect_redis(redis_url, settings)
    return redis, connect_mongodb(mongodb_url, app_name)


def connect_redis(url: str, settings: Settings) -> RedisConnection:
    """Connect to Redis and make sure that it answers.

    Raises:
        QueueError: it does not; the text names the setting.
    """
    try:
        redis = connect(url)
        JobQueue(
            redis, settings.light_queue, prefix=settings.queue_prefix, clock=SystemClock()
        ).is_paused()
    except QueueError as exc:
        raise QueueError(f"REDIS_URL: {exc}") from exc
    return redis


def connect_mongodb(url: str, app_name: str) -> Stores:
    """Connect to MongoDB and make sure that it answers.

    Raises:
        StoreError: it does not; the text names the setting.
    """
    try:
        database = open_database(url, app_name=app_name)
        try:
            database.ping()
        except StoreError:
            database.close()
            raise
    except StoreError as exc:
        raise StoreError(f"MONGODB_URL: {exc}") from exc
    return Stores.of(database)


def rate_limit(settings: Settings) -> RateLimit | None:
    """Return the limit of items started; None for no limit."""
    if settings.worker_rate_limit_max == 0:
        return None
    return RateLimit(settings.worker_rate_limit_max, settings.worker_rate_limit_duration_ms)
