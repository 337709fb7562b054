"""What both composition roots begin with: connections that are known to work."""

import gc
import re
from collections.abc import Sequence
from contextlib import suppress

from shared.clock import SystemClock
from shared.errors import (
    QueueError,
    QueueRefused,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from shared.logs import get_logger
from shared.partitions import check_partitions
from shared.queue import (
    JobQueue,
    RedisConnection,
    allows_client_names,
    check_permissions,
    connect,
    disconnect,
    partition_prefixes,
)
from shared.settings import Settings, find_misspelt_settings
from shared.store import Stores, open_database

log = get_logger("startup")

_HASH_TAG = re.compile(r"\{[^}]+\}")
# An import makes some ten objects an item that live until it ends; Python's own 700 are one batch.
_COLLECT_EVERY_OBJECTS = 10_000


def collect_garbage_seldom() -> None:
    """Leave all that a process has loaded out of garbage collections, and let these be fewer.

    Nothing of it becomes garbage, and looking through it took a fifth of an import's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY_OBJECTS)


def warn_of_misspelt_settings() -> None:
    """Log each variable that nobody reads and that is nearly named as a setting."""
    for each in find_misspelt_settings():
        log.warning(
            "setting_misspelt",
            variable=each.name,
            place=each.place,
            nearest=each.nearest,
            effect=f"{each.name} is not read; did you mean {each.nearest}?",
        )


def connect_stores(settings: Settings, app_name: str) -> tuple[RedisConnection, Stores]:
    """Connect to the stores that the settings name, and make sure that they can be worked with.

    What is optional and refused is logged once; the rest is an error. A few round trips.

    Raises:
        SettingsError: one is not named.
        QueueError, StoreError: one cannot be reached, or refuses what is needed; the text is one
            line that names the setting and what to do.
    """
    redis_url, mongodb_url = settings.named_stores()
    redis = connect_redis(redis_url, settings)
    check_redis(redis, settings)
    check_partitions(redis, settings)
    stores = connect_mongodb(mongodb_url, app_name)
    check_mongodb(stores)
    if not allows_client_names(redis, prefix=settings.queue_prefix):
        log.warning(
            "redis_command_refused",
            command="CLIENT SETNAME",
            effect="BullMQ's getWorkers and Bull Board list no workers; nothing else is missing",
        )
    return redis, stores


def check_named_stores(settings: Settings) -> None:
    """Check the stores that the settings name, before children are started that need them.

    Raises:
        QueueError, StoreError: as :func:`connect_stores`, and also for indexes.
    """
    if settings.redis_url is not None:
        redis = connect_redis(settings.redis_url, settings)
        try:
            check_redis(redis, settings)
            check_partitions(redis, settings)
        finally:
            disconnect(redis)
    if settings.mongodb_url is not None:
        stores = connect_mongodb(settings.mongodb_url, "feedmill-up")
        try:
            check_mongodb(stores)
            ensure_indexes(stores)
        finally:
            stores.database.close()


def connect_redis(url: str, settings: Settings) -> RedisConnection:
    """Connect to Redis and make sure that it answers.

    Raises:
        QueueError: it does not; the text names the setting.
    """
    try:
        redis = connect(url)
        # A refusal is an answer too; check_redis finds all that is refused.
        with suppress(QueueRefused):
            JobQueue(
                redis, settings.light_queue, prefix=settings.queue_prefix, clock=SystemClock()
            ).is_paused()
    except QueueError as exc:
        raise QueueError(f"REDIS_URL: {exc}") from exc
    return redis


def check_redis(redis: RedisConnection, settings: Settings) -> None:
    """Make sure that Redis lets its login do all that Feedmill's own queues need.

    Raises:
        QueueError: as :func:`check_queues`.
    """
    names = (settings.light_queue, settings.heavy_queue, settings.dead_letter_queue)
    check_queues(redis, settings.queue_prefix, (*names, settings.fetch_queue))
    if settings.queue_partitions > 1:
        for prefix in partition_prefixes(settings.queue_prefix, settings.queue_partitions):
            check_queues(redis, prefix, names)


def check_queues(redis: RedisConnection, prefix: str, names: Sequence[str]) -> None:
    """Make sure that Redis lets its login do all that these queues need.

    Raises:
        QueueRefused: it does not; the text is one line that says what is refused and what to do.
        QueueError: it cannot serve now.
    """
    try:
        check_permissions(redis, prefix, names)
    except QueueRefused as exc:
        remedy = _remedy_of(exc, prefix)
        raise QueueRefused(
            f"REDIS_URL: {exc}: {remedy}", what=exc.what, is_cluster=exc.is_cluster
        ) from exc
    except QueueError as exc:
        raise QueueError(f"REDIS_URL: {exc}") from exc


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


def check_mongodb(stores: Stores) -> None:
    """Make sure that MongoDB lets its login read and write, and acknowledges its writes.

    Raises:
        StoreRefused: the login may not; the text is one line that says what to do.
        StoreError: writes do not succeed.
    """
    try:
        stores.check_rights(SystemClock().now())
    except StoreRefused as exc:
        database = stores.database.name
        raise StoreRefused(
            f"MONGODB_URL: {exc}: grant its login the role readWrite on database {database}",
            what=exc.what,
        ) from exc
    except StoreUnavailable as exc:
        raise StoreUnavailable(
            f"MONGODB_URL: a write with w: majority, j: true was not acknowledged ({exc}): "
            "check its disk and the members of its replica set"
        ) from exc
    except StoreError as exc:
        raise StoreError(f"MONGODB_URL: {exc}") from exc


def ensure_indexes(stores: Stores) -> None:
    """Make the indexes that are missing.

    Raises:
        StoreError: one cannot be made; the text is one line that names it and what to do.
    """
    try:
        stores.ensure_indexes()
    except StoreRefused as exc:
        raise StoreRefused(f"MONGODB_URL: {exc}", what=exc.what) from exc
    except StoreError as exc:
        raise StoreError(f"MONGODB_URL: {exc}") from exc


def _remedy_of(error: QueueRefused, prefix: str) -> str:
    if not error.is_cluster:
        return f"grant its login these commands, and all keys that begin with {prefix}:"
    if _HASH_TAG.search(prefix):
        return "name its nodes, as REDIS_URL=redis+cluster://HOST:PORT,HOST:PORT"
    return f"give QUEUE_PREFIX={prefix} a hash tag, as QUEUE_PREFIX={{{prefix}}}"
