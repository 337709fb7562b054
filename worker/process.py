"""All parts of one worker, made from its settings, and the worker that runs them."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from shared.clock import Clock
from shared.logs import get_logger
from shared.queue import Breaker, HeldLocks, JobQueue, RedisConnection, Upkeep, WorkerSigns
from shared.settings import Settings
from shared.startup import rate_limit, source_limit
from shared.stopping import STOP_AT_WORST_S, end_at_worst_after
from shared.store import Stores
from shared.supervision import Supervisor
from worker.buffer import Buffer
from worker.claiming import Claimer, ClaimLimits
from worker.consumer import Consumer, ConsumerLimits, ConsumerParts
from worker.flush_pool import FlushPool
from worker.heartbeat import Heartbeat
from worker.observing import WorkerMetrics
from worker.outages import make_breaker
from worker.settling import Settler
from worker.signalling import Signaller, item_signs
from worker.storing import BatchRunner, Storer

log = get_logger("worker")

# More flushes at once gain nothing: one store, one interpreter.
MAX_FLUSH_THREADS = 8


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the parts of one worker share."""

    settings: Settings
    redis: RedisConnection
    stores: Stores
    clock: Clock
    supervisor: Supervisor

    def queue(self, name: str) -> JobQueue:
        """Return a queue by its name."""
        return JobQueue(self.redis, name, prefix=self.settings.queue_prefix, clock=self.clock)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """One worker's parts: those of the way of an item, and those that run beside it."""

    queues: Sequence[JobQueue]
    consumer_parts: ConsumerParts
    consumer: Consumer
    metrics: WorkerMetrics
    heartbeat: Heartbeat
    upkeep: Upkeep
    signaller: Signaller


def make_worker(around: Surroundings) -> WorkerParts:
    """Make the parts of a worker; nothing runs yet."""
    settings, clock, supervisor = around.settings, around.clock, around.supervisor
    queues = _item_queues(around)
    held, breaker, buffer = HeldLocks(clock), make_breaker(clock), _make_buffer(settings, clock)
    metrics = WorkerMetrics(held, buffer, breaker, supervisor)
    parts = _consumer_parts(around, held, breaker, buffer, metrics)
    consumer = Consumer(
        queues=queues,
        wake_connection=around.redis,
        parts=parts,
        limits=ConsumerLimits(settings.worker_batch_size, settings.worker_concurrency),
        clock=clock,
        supervisor=supervisor,
    )
    return WorkerParts(
        queues=queues,
        consumer_parts=parts,
        consumer=consumer,
        metrics=metrics,
        heartbeat=Heartbeat(
            held, lock_ms=settings.worker_lock_ms, clock=clock, supervisor=supervisor
        ),
        upkeep=_make_upkeep(around, queues),
        signaller=_make_signaller(around, queues, held, breaker),
    )


class WorkerProcess:
    """A worker: made, run until it is stopped, gone."""

    stops_within_s = STOP_AT_WORST_S

    def __init__(
        self, settings: Settings, redis: RedisConnection, stores: Stores, clock: Clock
    ) -> None:
        self._stop = threading.Event()
        self.supervisor = Supervisor(clock, log.error, give_up=self._give_up)
        self.parts = make_worker(Surroundings(settings, redis, stores, clock, self.supervisor))

    def run(self) -> None:
        """Work until :meth:`stop`; returns within about 4 s of it.

        Returns also when a thread was given up (``supervisor.given_up``), handed over as in a stop.
        """
        parts = self.parts
        parts.consumer_parts.pool.start()
        parts.heartbeat.start()
        parts.upkeep.start()
        parts.signaller.start()
        parts.consumer.run(self._stop)
        parts.signaller.stop()
        parts.upkeep.stop(timeout_s=0.5)
        parts.heartbeat.stop()

    def stop(self) -> None:
        """Begin to hand over. Safe to call again, and in a signal handler."""
        self._stop.set()

    def _give_up(self, _thread: str) -> None:
        end_at_worst_after(exit_code=1)
        self._stop.set()


def _item_queues(around: Surroundings) -> Sequence[JobQueue]:
    """Return the item queues that WORKER_TYPE names, light first."""
    light, heavy = around.settings.light_queue, around.settings.heavy_queue
    names = {"light": [light], "heavy": [heavy], "all": [light, heavy]}
    return [around.queue(name) for name in names[around.settings.worker_type]]


def _make_buffer(settings: Settings, clock: Clock) -> Buffer:
    return Buffer(
        max_items=settings.worker_batch_size,
        max_age_s=settings.worker_flush_ms / 1000,
        clock=clock,
    )


def _consumer_parts(
    around: Surroundings, held: HeldLocks, breaker: Breaker, buffer: Buffer, metrics: WorkerMetrics
) -> ConsumerParts:
    settler = _make_settler(around, held, breaker)
    threads = min(around.settings.worker_concurrency, MAX_FLUSH_THREADS)
    return ConsumerParts(
        claimer=_make_claimer(around, held, metrics),
        buffer=buffer,
        pool=FlushPool(threads, around.supervisor),
        batches=BatchRunner(
            storer=Storer(stores=around.stores, clock=around.clock),
            settler=settler,
            stores=around.stores,
            breaker=breaker,
            clock=around.clock,
            metrics=metrics,
        ),
        settler=settler,
        held=held,
        breaker=breaker,
        stores=around.stores,
    )


def _make_claimer(around: Surroundings, held: HeldLocks, metrics: WorkerMetrics) -> Claimer:
    settings = around.settings
    limits = ClaimLimits(
        lock_ms=settings.worker_lock_ms,
        max_item_bytes=settings.job_max_bytes,
        rate_limit=rate_limit(settings),
        source_limit=source_limit(settings),
    )
    return Claimer(held=held, sources=around.stores.sources, limits=limits, metrics=metrics)


def _make_settler(around: Surroundings, held: HeldLocks, breaker: Breaker) -> Settler:
    return Settler(
        letters=around.stores.dead_letters,
        dead_letter_queue=around.queue(around.settings.dead_letter_queue),
        held=held,
        breaker=breaker,
        clock=around.clock,
    )


def _make_upkeep(around: Surroundings, queues: Sequence[JobQueue]) -> Upkeep:
    settings = around.settings
    return Upkeep(
        queues,
        every_ms=settings.worker_stalled_ms,
        max_stalled=settings.worker_max_stalled,
        lock_ms=settings.worker_lock_ms,
        clock=around.clock,
        log_event=log.info,
        supervisor=around.supervisor,
    )


def _make_signaller(
    around: Surroundings, queues: Sequence[JobQueue], held: HeldLocks, breaker: Breaker
) -> Signaller:
    return Signaller(
        WorkerSigns(around.redis, prefix=around.settings.queue_prefix),
        item_signs([queue.name for queue in queues], held, breaker, around.supervisor),
        around.clock,
        around.supervisor,
    )
