"""Collects the facts from the stores. Changes nothing but the record's write probe."""

import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from server.doctor.facts import (
    APP_WORKER,
    WORKER,
    DiskFacts,
    QueueFacts,
    RecordLook,
    StoreFacts,
    Unreachable,
)
from shared.clock import Clock
from shared.dead_jobs import DEAD_JOB_NAME
from shared.errors import QueueError, QueueRefused, StoreError
from shared.item_limits import CurrentLimits, current_limits, limits_of, read_or_ignore
from shared.partitions import read_partitions
from shared.queue import (
    QueueExaminer,
    QueueLook,
    RedisConnection,
    RedisReport,
    WorkerSigns,
    disconnect,
    examine_redis,
    join_incarnations,
    partition_prefixes,
)
from shared.queue.registry import DEAD_LETTERS, QueueRecord, QueueRegistry
from shared.running import Running
from shared.settings import Settings
from shared.startup import check_redis, connect_mongodb, connect_redis
from shared.store import LetterKind, MongoReport, Stores, examine_mongodb

APP_NAME = "feedmill-doctor"
MAX_JOBS = 20_000
MAX_LETTERS = 2_000
# Of each kind, whether they can be read.
MAX_DOCUMENTS = 5_000
_LETTERS_A_READ = 200
# What moves shows up in one look and not in the next one. Longer than a reclaim takes by default,
# and than the audits of a server are apart.
_MIN_PAUSE_S = 2.0
_MAX_PAUSE_S = 6.0
_NOT_RUNNING = "the embedded stores in DATA_DIR={} are not running"


def collect_store_facts(settings: Settings, running: Running | None, clock: Clock) -> StoreFacts:
    """Look at both stores and, where both can be reached, at what they hold."""
    redis_url = settings.redis_url or (running.redis_url if running else None)
    mongodb_url = settings.mongodb_url or (running.mongodb_url if running else None)
    not_running = Unreachable(_NOT_RUNNING.format(settings.data_dir), is_stopped=True)
    redis = _open_redis(redis_url, settings) if redis_url else not_running
    stores = _open_mongodb(mongodb_url) if mongodb_url else not_running
    try:
        return _look_at(settings, redis, stores, clock)
    finally:
        if not isinstance(redis, Unreachable):
            disconnect(redis)
        if not isinstance(stores, Unreachable):
            stores.database.close()


def measure_disk(data_dir: Path) -> DiskFacts | None:
    """Return how much of the disk is free; None where there is no folder yet."""
    try:
        usage = shutil.disk_usage(data_dir)
    except OSError:
        return None
    return DiskFacts(str(data_dir), usage.free, usage.total)


def _open_redis(url: str, settings: Settings) -> RedisConnection | Unreachable:
    try:
        return connect_redis(url, settings)
    except QueueError as exc:
        return Unreachable(str(exc))


def _open_mongodb(url: str) -> Stores | Unreachable:
    try:
        return connect_mongodb(url, APP_NAME)
    except StoreError as exc:
        return Unreachable(str(exc))


def _look_at(
    settings: Settings,
    redis: RedisConnection | Unreachable,
    stores: Stores | Unreachable,
    clock: Clock,
) -> StoreFacts:
    redis_report = (
        redis if isinstance(redis, Unreachable) else _examine_redis(settings, redis, clock)
    )
    mongodb_report = stores if isinstance(stores, Unreachable) else _examine_mongodb(stores, clock)
    write_error = None if isinstance(stores, Unreachable) else _probe_write(stores, clock)
    refusal = None if isinstance(redis, Unreachable) else _find_refusal(redis, settings)
    facts = StoreFacts(
        redis_report,
        mongodb_report,
        write_error,
        refusal,
        are_for_apps_alone=_has_no_mongodb(settings, stores) and bool(settings.feedmill_app),
    )
    if isinstance(redis, Unreachable):
        return facts
    return _look_into_redis(facts, settings, redis, stores, clock)


def _look_into_redis(
    facts: StoreFacts,
    settings: Settings,
    redis: RedisConnection,
    stores: Stores | Unreachable,
    clock: Clock,
) -> StoreFacts:
    """Return the facts with what Redis holds, and what that has to do with the record."""
    try:
        workers = WorkerSigns(redis, prefix=settings.queue_prefix).read()
        own = QueueRegistry(redis, prefix=settings.queue_prefix, clock=clock).read()
        limits = _read_limits(settings, stores)
        facts = replace(
            facts,
            limits=limits,
            partitions=read_partitions(redis, settings),
            are_for_apps_alone=facts.are_for_apps_alone
            or (_has_no_mongodb(settings, stores) and bool(own)),
        )
        has_items = not facts.are_for_apps_alone
        contents = _Contents(settings, redis, stores, clock, own, limits, has_items=has_items)
        queues, record = contents.look_twice()
    except (QueueError, StoreError) as exc:
        return replace(facts, unreadable=str(exc))
    return replace(facts, queues=queues, record=record, workers=workers)


def _has_no_mongodb(settings: Settings, stores: Stores | Unreachable) -> bool:
    """Return whether a Redis is named and no MongoDB: with apps' queues, these are all there is."""
    is_absent = isinstance(stores, Unreachable) and stores.is_stopped
    return is_absent and settings.redis_url is not None


def _read_limits(settings: Settings, stores: Stores | Unreachable) -> CurrentLimits:
    environment = limits_of(settings)
    if isinstance(stores, Unreachable):
        return CurrentLimits(environment)
    return current_limits(read_or_ignore(stores.item_limits), environment)


def _examine_redis(
    settings: Settings, redis: RedisConnection, clock: Clock
) -> RedisReport | Unreachable:
    try:
        return examine_redis(redis, clock, prefix=settings.queue_prefix)
    except QueueError as exc:
        return Unreachable(f"it cannot be asked about itself: {exc}")


def _find_refusal(redis: RedisConnection, settings: Settings) -> str | None:
    try:
        check_redis(redis, settings)
    except QueueRefused as exc:
        return str(exc)
    except QueueError:
        # It cannot serve now, as a replica: other checks say so.
        return None
    return None


def _examine_mongodb(stores: Stores, clock: Clock) -> MongoReport | Unreachable:
    try:
        return examine_mongodb(stores.database, clock)
    except StoreError as exc:
        return Unreachable(f"it cannot be asked about itself: {exc}")


def _probe_write(stores: Stores, clock: Clock) -> str | None:
    # In the collection that servers and workers probe, not in one of its own: SecantusDB 0.7 that
    # is killed while a new collection is being made cannot open its data again.
    try:
        stores.probe_write(clock.now())
    except StoreError as exc:
        return str(exc)
    return None


class _Contents:
    """Looks at queues and record, and once more a moment later when something looks wrong."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisConnection,
        stores: Stores | Unreachable,
        clock: Clock,
        own_queues: Sequence[QueueRecord],
        limits: CurrentLimits,
        *,
        has_items: bool,
    ) -> None:
        self._limits = limits
        self._settings = settings
        self._stores = stores
        self._clock = clock
        self._prefixes = partition_prefixes(settings.queue_prefix, settings.queue_partitions)
        self._own_queues = [own.name for own in own_queues if own.weight != DEAD_LETTERS]
        open_queue = partial(QueueExaminer, redis, clock=clock)
        spread = (settings.light_queue, settings.heavy_queue, settings.dead_letter_queue)
        whole = [*([settings.fetch_queue] if has_items else []), *(own.name for own in own_queues)]
        self._queues = {
            shown: open_queue(name, prefix=prefix)
            for name in (spread if has_items else ())
            for prefix, shown in zip(self._prefixes, self._shown(name), strict=True)
        } | {name: open_queue(name, prefix=settings.queue_prefix) for name in whole}

    def _shown(self, name: str) -> list[str]:
        """Return under which name each partition of a queue is spoken of."""
        if len(self._prefixes) == 1:
            return [name]
        return [f"{prefix}:{name}" for prefix in self._prefixes]

    def _parts(self, name: str) -> list[QueueExaminer]:
        return [self._queues[shown] for shown in self._shown(name)]

    def look_twice(self) -> tuple[dict[str, QueueFacts], RecordLook | None]:
        """Return what is there to stay, of queues by name and of the record."""
        looks, record = self._look()
        is_suspicious = any(look.is_suspicious for look in looks.values())
        if is_suspicious or (record is not None and record.is_suspicious):
            self._clock.wait(threading.Event(), self._pause_s())
            later_looks, later_record = self._look()
            looks = {name: look.and_later(later_looks[name]) for name, look in looks.items()}
            if record is not None and later_record is not None:
                record = record.and_later(later_record)
        return self._with_settings(looks), record

    def _look(self) -> tuple[Mapping[str, QueueLook], RecordLook | None]:
        looks = {name: queue.look(MAX_JOBS) for name, queue in self._queues.items()}
        return looks, None if isinstance(self._stores, Unreachable) else self._look_at_record(
            self._stores
        )

    def _pause_s(self) -> float:
        stall_s = 2 * self._settings.worker_stalled_ms / 1000
        return min(max(stall_s, _MIN_PAUSE_S), _MAX_PAUSE_S)

    def _with_settings(self, looks: Mapping[str, QueueLook]) -> dict[str, QueueFacts]:
        settings = self._settings
        limit = self._limits.of_partition(settings.queue_partitions)
        item_queues = (*self._shown(settings.light_queue), *self._shown(settings.heavy_queue))
        worked_by = {
            **dict.fromkeys(self._own_queues, APP_WORKER),
            **dict.fromkeys(item_queues, WORKER),
            settings.fetch_queue: "server",
        }
        return {
            name: QueueFacts(look, worked_by.get(name), limit if name in item_queues else None)
            for name, look in looks.items()
        }

    def _look_at_record(self, stores: Stores) -> RecordLook:
        journaled = set(stores.journal.read_lowest_revisions())
        running = stores.feeds.find_running()
        named = {feed.source: feed.running_import or "" for feed in running}
        imports = stores.imports.read_many(journaled | set(named.values()))
        # One that cannot be read is neither lost nor closed.
        gone = stores.imports.find_absent((journaled | set(named.values())) - imports.keys())
        on_record, missing = self._missing_letters(stores)
        return RecordLook(
            open_imports=stores.imports.find_open(),
            stray_journals=frozenset(
                one
                for one in journaled
                if one in gone or (one in imports and not imports[one].is_open)
            ),
            lost_imports={source: one for source, one in named.items() if one in gone},
            missing_letters=frozenset(missing),
            stray_letters=frozenset(self._stray_letters(stores)),
            letters_looked_at=on_record,
            is_redis_matched=self._is_redis_matched(stores),
            misfits=stores.find_misfits(MAX_DOCUMENTS),
        )

    def _missing_letters(self, stores: Stores) -> tuple[int, list[str]]:
        """Return how many dead letters were looked at, and those without a job."""
        ids: list[str] = []
        batches = stores.dead_letters.iterate_ids(batch_size=_LETTERS_A_READ, kind=LetterKind.DEAD)
        for batch in batches:
            ids += batch
            if len(ids) >= MAX_LETTERS:
                break
        absent = ids
        for queue in self._parts(self._settings.dead_letter_queue):
            absent = queue.find_absent(absent)
        return len(ids), absent

    def _stray_letters(self, stores: Stores) -> list[str]:
        waiting: dict[str, str] = {}
        for queue in self._parts(self._settings.dead_letter_queue):
            waiting |= queue.read_waiting(MAX_LETTERS)
        ids = [job_id for job_id, name in waiting.items() if name == DEAD_JOB_NAME]
        dead: set[str] = set()
        for start in range(0, len(ids), _LETTERS_A_READ):
            letters = stores.dead_letters.read_many(ids[start : start + _LETTERS_A_READ])
            dead |= {one for one, letter in letters.items() if letter.kind is LetterKind.DEAD}
        return [job_id for job_id in ids if job_id not in dead]

    def _is_redis_matched(self, stores: Stores) -> bool:
        known = stores.read_incarnation()
        parts = self._parts(self._settings.light_queue)
        return known is None or known == join_incarnations(parts)
