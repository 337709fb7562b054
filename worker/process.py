"""All parts of one worker, made from its settings: consumer, flushes, heartbeat, upkeep."""

import threading
from collections.abc import Sequence

from shared.clock import Clock
from shared.logs import get_logger
from shared.queue import JobQueue, RedisConnection, Upkeep, WorkerSigns
from shared.settings import Settings
from shared.startup import rate_limit
from shared.stopping import end_at_worst_after
from shared.store import Stores
from shared.supervision import Supervisor
from worker.batch_runner import BatchRunner
from worker.breaker import Breaker
from worker.buffer import Buffer
from worker.consumer import Consumer, ConsumerLimits, ConsumerParts
from worker.flush_pool import FlushPool
from worker.flusher import Flusher
from worker.heartbeat import Heartbeat
from worker.holdings import Holdings
from worker.intake import Intake
from worker.metrics import WorkerMetrics
from worker.settler import SettlementRunner, Settler
from worker.signalling import Signaller

log = get_logger("worker")

# More flushes at once gain nothing: one store, one interpreter.
MAX_FLUSH_THREADS = 8


class WorkerProcess:
    """A worker: made, run until it is stopped, gone."""

    def __init__(
        self, settings: Settings, redis: RedisConnection, stores: Stores, clock: Clock
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._stores = stores
        self._clock = clock
        self._stop = threading.Event()
        self.supervisor = Supervisor(clock, log.error, give_up=self._give_up)
        self._queues = self._item_queues()
        self._holdings = Holdings(self._queues)
        self._breaker = Breaker(clock)
        self._buffer = Buffer(
            max_items=settings.worker_batch_size,
            max_age_s=settings.worker_flush_ms / 1000,
            clock=clock,
        )
        self.metrics = WorkerMetrics(self._holdings, self._buffer, self._breaker, self.supervisor)
        self._pool = FlushPool(min(settings.worker_concurrency, MAX_FLUSH_THREADS), self.supervisor)
        self._heartbeat = Heartbeat(
            self._holdings,
            lock_ms=settings.worker_lock_ms,
            clock=clock,
            supervisor=self.supervisor,
        )
        self._signaller = Signaller(
            WorkerSigns(redis, prefix=settings.queue_prefix),
            [queue.name for queue in self._queues],
            self._holdings,
            self._breaker,
            clock,
            self.supervisor,
        )
        self._upkeep = Upkeep(
            self._queues,
            every_ms=settings.worker_stalled_ms,
            max_stalled=settings.worker_max_stalled,
            lock_ms=settings.worker_lock_ms,
            clock=clock,
            log_event=log.info,
            supervisor=self.supervisor,
        )
        self._consumer = Consumer(
            queues=self._queues,
            wake_connection=redis,
            parts=self._consumer_parts(),
            limits=ConsumerLimits(settings.worker_batch_size, settings.worker_concurrency),
            clock=clock,
            supervisor=self.supervisor,
        )

    def run(self) -> None:
        """Work until :meth:`stop`; returns within about 4 s of it.

        Returns also when a thread was given up (``supervisor.given_up``), handed over as in a stop.
        """
        self._pool.start()
        self._heartbeat.start()
        self._upkeep.start()
        self._signaller.start()
        self._consumer.run(self._stop)
        self._signaller.stop()
        self._upkeep.stop(timeout_s=0.5)
        self._heartbeat.stop()

    def stop(self) -> None:
        """Begin to hand over. Safe to call again, and in a signal handler."""
        self._stop.set()

    def _give_up(self, _thread: str) -> None:
        end_at_worst_after(exit_code=1)
        self._stop.set()

    def _queue(self, name: str) -> JobQueue:
        return JobQueue(self._redis, name, prefix=self._settings.queue_prefix, clock=self._clock)

    def _item_queues(self) -> Sequence[JobQueue]:
        """Return the item queues that WORKER_TYPE names, light first."""
        light, heavy = self._settings.light_queue, self._settings.heavy_queue
        names = {"light": [light], "heavy": [heavy], "all": [light, heavy]}
        return [self._queue(name) for name in names[self._settings.worker_type]]

    def _consumer_parts(self) -> ConsumerParts:
        settings = self._settings
        dead_letter_queue = self._queue(settings.dead_letter_queue)
        settlements = SettlementRunner(
            settler=Settler(
                stores=self._stores,
                dead_letter_queue=dead_letter_queue,
            ),
            holdings=self._holdings,
            breaker=self._breaker,
            clock=self._clock,
        )
        return ConsumerParts(
            intake=Intake(
                holdings=self._holdings,
                sources=self._stores.sources,
                lock_ms=settings.worker_lock_ms,
                max_item_bytes=settings.job_max_bytes,
                rate_limit=rate_limit(settings),
                observer=self.metrics,
            ),
            buffer=self._buffer,
            pool=self._pool,
            batches=BatchRunner(
                flusher=Flusher(stores=self._stores, clock=self._clock),
                settlements=settlements,
                stores=self._stores,
                breaker=self._breaker,
                clock=self._clock,
                observer=self.metrics,
            ),
            settlements=settlements,
            holdings=self._holdings,
            breaker=self._breaker,
            stores=self._stores,
        )
