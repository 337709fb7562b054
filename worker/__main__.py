"""The worker's composition root: settings → clients → threads → signals."""

import os
import signal
import sys
import threading
from collections.abc import Sequence

from shared.clock import Clock, SystemClock
from shared.errors import FeedmillError, SettingsError
from shared.logs import configure_logs, get_logger
from shared.queue import JobQueue, RedisConnection, Upkeep
from shared.settings import Settings, load_settings
from shared.startup import connect_stores, rate_limit
from shared.store import Stores
from worker.batch_runner import BatchRunner
from worker.breaker import Breaker
from worker.buffer import Buffer
from worker.burial import BurialRunner
from worker.consumer import Consumer, ConsumerLimits, ConsumerParts
from worker.dead_letterer import DeadLetterer
from worker.flush_pool import FlushPool
from worker.flusher import Flusher
from worker.heartbeat import Heartbeat
from worker.holdings import Holdings
from worker.intake import Intake

log = get_logger("worker")

# More flushes at once gain nothing: one store, one interpreter.
MAX_FLUSH_THREADS = 8


class WorkerProcess:
    """All threads of one worker: consumer, flushes, heartbeat, upkeep."""

    def __init__(
        self, settings: Settings, redis: RedisConnection, stores: Stores, clock: Clock
    ) -> None:
        self._stop = threading.Event()
        queues = item_queues(settings, redis, clock)
        dead_letter_queue = JobQueue(
            redis, settings.dead_letter_queue, prefix=settings.queue_prefix, clock=clock
        )
        holdings = Holdings(queues)
        self._heartbeat = Heartbeat(holdings, lock_ms=settings.worker_lock_ms, clock=clock)
        self._upkeep = Upkeep(
            queues,
            every_ms=settings.worker_stalled_ms,
            max_stalled=settings.worker_max_stalled,
            clock=clock,
            log_event=log.info,
        )
        self._pool = FlushPool(min(settings.worker_concurrency, MAX_FLUSH_THREADS))
        self._consumer = Consumer(
            queues=queues,
            wake_connection=redis,
            parts=_consumer_parts(settings, stores, dead_letter_queue, holdings, self._pool, clock),
            limits=ConsumerLimits(settings.worker_batch_size, settings.worker_concurrency),
            clock=clock,
        )

    def run(self) -> None:
        """Work until :meth:`stop`; returns within about 4 s of it."""
        self._pool.start()
        self._heartbeat.start()
        self._upkeep.start()
        self._consumer.run(self._stop)
        self._upkeep.stop(timeout_s=0.5)
        self._heartbeat.stop()

    def stop(self) -> None:
        """Begin to hand over. Safe to call again, and in a signal handler."""
        self._stop.set()


def item_queues(settings: Settings, redis: RedisConnection, clock: Clock) -> Sequence[JobQueue]:
    """Return the item queues that WORKER_TYPE names, light first."""
    names = {
        "light": [settings.light_queue],
        "heavy": [settings.heavy_queue],
        "all": [settings.light_queue, settings.heavy_queue],
    }[settings.worker_type]
    return [JobQueue(redis, name, prefix=settings.queue_prefix, clock=clock) for name in names]


def main() -> int:
    """Run a worker until SIGTERM or SIGINT. Exit code 1: a store is away; 2: a setting is wrong."""
    try:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        redis, stores = connect_stores(settings, "feedmill-worker")
    except SettingsError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - before anything can be logged
        return 2
    except FeedmillError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - one line is what a start that fails owes
        return 1
    process = WorkerProcess(settings, redis, stores, SystemClock())
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: process.stop())
    log.info("worker_started", queues=settings.worker_type)
    process.run()
    log.info("worker_stopped")
    return 0


def _consumer_parts(
    settings: Settings,
    stores: Stores,
    dead_letter_queue: JobQueue,
    holdings: Holdings,
    pool: FlushPool,
    clock: Clock,
) -> ConsumerParts:
    breaker = Breaker(clock)
    dead_letterer = DeadLetterer(stores.dead_letters, dead_letter_queue, clock)
    flusher = Flusher(
        stores=stores,
        dead_letterer=dead_letterer,
        dead_letter_queue=dead_letter_queue,
        clock=clock,
    )
    return ConsumerParts(
        intake=Intake(
            holdings=holdings,
            sources=stores.sources,
            lock_ms=settings.worker_lock_ms,
            max_item_bytes=settings.job_max_bytes,
            rate_limit=rate_limit(settings),
        ),
        buffer=Buffer(
            max_items=settings.worker_batch_size,
            max_age_s=settings.worker_flush_ms / 1000,
            clock=clock,
        ),
        pool=pool,
        batches=BatchRunner(
            flusher=flusher, stores=stores, holdings=holdings, breaker=breaker, clock=clock
        ),
        burials=BurialRunner(
            dead_letterer=dead_letterer, holdings=holdings, breaker=breaker, clock=clock
        ),
        holdings=holdings,
        breaker=breaker,
        stores=stores,
    )


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: a flush that hangs in the driver must not hold up the exit.
    os._exit(code)
