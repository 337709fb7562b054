"""All parts of one worker, made from its settings, and the worker that runs them."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from shared.clock import Clock
from shared.item_limits import CurrentLimits, limits_of, source_limiter
from shared.last_resort import STOP_AT_WORST_S, end_at_worst_after
from shared.logs import get_logger
from shared.partitions import divide
from shared.queue import (
    Breaker,
    HeldLocks,
    JobQueue,
    RedisConnection,
    SoloGate,
    Upkeep,
    WorkerSigns,
)
from shared.settings import Settings
from shared.store import Stores
from shared.supervision import PartSupervisor, Supervisor
from worker.buffer import Buffer
from worker.claiming import MAX_CLAIM_BYTES, Claimer, ClaimLimits
from worker.consumer import MAX_HELD_BYTES, Consumer, ConsumerLimits, ConsumerParts
from worker.epochs import EpochGuard
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
    """One worker's parts: those of the way of an item, and those that run beside it.

    One that works several partitions has such parts for each; numbers and signs are of all.
    """

    queues: Sequence[JobQueue]
    consumer_parts: ConsumerParts
    consumer: Consumer
    metrics: WorkerMetrics
    heartbeat: Heartbeat
    upkeep: Upkeep
    signaller: Signaller


@dataclass(frozen=True, slots=True)
class _Stock:
    """What a worker holds of one partition, and the gate that it shares with the others."""

    held: HeldLocks
    buffer: Buffer
    gate: SoloGate


def make_partitions(around: Surroundings) -> list[WorkerParts]:
    """Make the parts of a worker for each partition; together they hold what one may.

    Nothing runs yet.
    """
    settings, clock = around.settings, around.clock
    divided = divide(settings)
    held, breaker = [HeldLocks(clock) for _ in divided], make_breaker(clock)
    gate = SoloGate(held)
    stocks = [_Stock(each, _make_buffer(settings, clock), gate) for each in held]
    metrics = WorkerMetrics(held, [each.buffer for each in stocks], breaker, around.supervisor)
    signaller = _make_signaller(around, held, breaker)
    make = partial(_make_parts, breaker=breaker, metrics=metrics, signaller=signaller)
    if len(divided) == 1:
        return [make(around, stocks[0])]
    return [
        make(_within(around, number, share), stock)
        for number, (share, stock) in enumerate(zip(divided, stocks, strict=True))
    ]


def _within(around: Surroundings, number: int, settings: Settings) -> Surroundings:
    supervisor = PartSupervisor(around.supervisor, str(number))
    return replace(around, settings=settings, supervisor=supervisor)


def _make_parts(
    around: Surroundings,
    stock: _Stock,
    *,
    breaker: Breaker,
    metrics: WorkerMetrics,
    signaller: Signaller,
) -> WorkerParts:
    settings, clock, supervisor = around.settings, around.clock, around.supervisor
    queues = _item_queues(around)
    parts = _consumer_parts(around, stock, breaker, metrics)
    consumer = Consumer(
        queues=queues,
        wake_connection=around.redis,
        parts=parts,
        limits=_consumer_limits(settings),
        clock=clock,
        supervisor=supervisor,
    )
    return WorkerParts(
        queues=queues,
        consumer_parts=parts,
        consumer=consumer,
        metrics=metrics,
        heartbeat=Heartbeat(
            stock.held, lock_ms=settings.worker_lock_ms, clock=clock, supervisor=supervisor
        ),
        upkeep=_make_upkeep(around, queues),
        signaller=signaller,
    )


class WorkerProcess:
    """A worker: made, run until it is stopped, gone."""

    stops_within_s = STOP_AT_WORST_S

    def __init__(
        self, settings: Settings, redis: RedisConnection, stores: Stores, clock: Clock
    ) -> None:
        self._stop = threading.Event()
        self.supervisor = Supervisor(clock, log.error, give_up=self._give_up)
        around = Surroundings(settings, redis, stores, clock, self.supervisor)
        self.partitions = make_partitions(around)
        self.parts = self.partitions[0]

    def run(self) -> None:
        """Work until :meth:`stop`; returns within about 4 s of it.

        Returns also when a thread was given up (``supervisor.given_up``), handed over as in a stop.
        """
        for parts in self.partitions:
            parts.consumer_parts.pool.start()
            parts.heartbeat.start()
            parts.upkeep.start()
        self.parts.signaller.start()
        self._consume()
        self.parts.signaller.stop()
        for parts in self.partitions:
            parts.upkeep.stop(timeout_s=0.5)
            parts.heartbeat.stop()

    def _consume(self) -> None:
        """Work all partitions until they are stopped, the first one on this thread."""
        others = [
            threading.Thread(target=parts.consumer.run, args=(self._stop,), name="consumer")
            for parts in self.partitions[1:]
        ]
        for thread in others:
            thread.start()
        self.parts.consumer.run(self._stop)
        for thread in others:
            thread.join()

    def stop(self) -> None:
        """Begin to hand over. Safe to call again, and in a signal handler."""
        self._stop.set()

    def _give_up(self, _thread: str) -> None:
        end_at_worst_after(exit_code=1)
        self._stop.set()


def _item_queues(around: Surroundings) -> Sequence[JobQueue]:
    """Return the item queues that WORKER_TYPE names, light first."""
    return [around.queue(name) for name in _queue_names(around.settings)]


def _queue_names(settings: Settings) -> Sequence[str]:
    light, heavy = settings.light_queue, settings.heavy_queue
    return {"light": [light], "heavy": [heavy], "all": [light, heavy]}[settings.worker_type]


def _consumer_limits(settings: Settings) -> ConsumerLimits:
    return ConsumerLimits(
        settings.worker_batch_size,
        settings.worker_concurrency,
        MAX_HELD_BYTES // settings.queue_partitions,
    )


def _make_buffer(settings: Settings, clock: Clock) -> Buffer:
    return Buffer(
        max_items=settings.worker_batch_size,
        max_age_s=settings.worker_flush_ms / 1000,
        clock=clock,
    )


def _consumer_parts(
    around: Surroundings, stock: _Stock, breaker: Breaker, metrics: WorkerMetrics
) -> ConsumerParts:
    settler = _make_settler(around, stock.held, breaker)
    threads = min(around.settings.worker_concurrency, MAX_FLUSH_THREADS)
    return ConsumerParts(
        claimer=_make_claimer(around, stock.held, metrics),
        buffer=stock.buffer,
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
        held=stock.held,
        gate=stock.gate,
        breaker=breaker,
        stores=around.stores,
    )


def _make_claimer(around: Surroundings, held: HeldLocks, metrics: WorkerMetrics) -> Claimer:
    settings, environment = around.settings, limits_of(around.settings)
    limits = ClaimLimits(
        lock_ms=settings.worker_lock_ms,
        max_item_bytes=settings.job_max_bytes,
        rate_limit=CurrentLimits(environment).of_partition(settings.queue_partitions),
        claim_bytes=MAX_CLAIM_BYTES // settings.queue_partitions,
    )
    # Without a limit of its own it lifts none: servers write what was changed since.
    limit_sources = source_limiter(around.stores.item_limits, environment)
    return Claimer(
        held=held,
        sources=around.stores.sources,
        limits=limits,
        metrics=metrics,
        limit_sources=limit_sources if environment.source_max_items else None,
    )


def _make_settler(around: Surroundings, held: HeldLocks, breaker: Breaker) -> Settler:
    return Settler(
        letters=around.stores.dead_letters,
        epochs=EpochGuard(around.stores.intervals),
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


def _make_signaller(around: Surroundings, held: Sequence[HeldLocks], breaker: Breaker) -> Signaller:
    return Signaller(
        WorkerSigns(around.redis, prefix=around.settings.queue_prefix),
        item_signs(_queue_names(around.settings), held, breaker, around.supervisor),
        around.clock,
        around.supervisor,
    )
