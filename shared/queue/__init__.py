"""A free-standing job queue that lives in Redis as BullMQ 6.7's does.

Node's BullMQ and Bull Board read and write the same queues. This package knows jobs and their
data, not feeds. Each arrow is a script in ``lua/`` and a method of :class:`JobQueue` of the same
name (``_many`` where it takes many jobs)::

    absent ──────add──▶ waiting ◀──────────────── delayed      promote_due: into line when due
    completed ───add──▶ prioritized ◀──────────── delayed      add: newer content makes it ready
    failed ──────add──▶    │  ▲
                     claim │  │ release, retry, reclaim_stalled
                           ▼  │
        ┌─────────────── active ──retry, postpone──▶ delayed   extend, assign_revision: stays active
        │                  │ │
        │ complete    fail │ │ dead_letter
        ▼                  ▼ ▼
    completed          failed  dead: waiting in the dead-letter queue

    lock: any state but a locked one, as a claim of one job by its id; then remove, or release
    remove: any state but a locked one, or what one's own token locks ──▶ absent

What people and programs do to the jobs of a queue of their own is in ``editing.py``: promote, retry
what has ended, change a delay or a priority, clean, drain, obliterate, remove with all children.
Parents wait for their children: trees of jobs are added by ``flows.py``, which also lets an active
job wait for children that it was given later.

The arrows in full are in ``transitions.py``.

A claimed job belongs to whoever holds its lock, by token; the lock runs out unless it is extended.
At least once is the promise: a handler may see a job again, its settlement counts once.
"""

from shared.queue.batches import Batching, BatchWorker
from shared.queue.breaker import Breaker
from shared.queue.clients import check_client, connect, disconnect
from shared.queue.connection import RedisConnection
from shared.queue.health import (
    QueueExaminer,
    QueueLook,
    RedisReport,
    allows_client_names,
    check_permissions,
    examine_redis,
    probe_queue,
)
from shared.queue.held_locks import Admission, HeldLocks, Met, SoloGate
from shared.queue.inspection import QueueSample, sample_queues
from shared.queue.job import (
    AddOutcome,
    BlockedBy,
    Claim,
    ClaimedJob,
    Completion,
    DeadLettering,
    Failure,
    GroupLimit,
    JobState,
    JobView,
    Lock,
    Locking,
    NewJob,
    Postponement,
    RateLimit,
    ReclaimReport,
    RemoveOutcome,
    Retry,
    SettleOutcome,
    backoff_delay_ms,
)
from shared.queue.job_queue import JobQueue
from shared.queue.partitions import (
    PartitionedQueue,
    holder_of,
    join_incarnations,
    partition_of,
    partition_prefixes,
)
from shared.queue.runs import EndedRun, RunRules
from shared.queue.transitions import TRANSITIONS
from shared.queue.upkeep import Upkeep
from shared.queue.wakeup import wait_for_work
from shared.queue.worker import Worker
from shared.queue.worker_options import WorkerOptions
from shared.queue.worker_signs import WorkerSign, WorkerSigns, find_workers

__all__ = [
    "TRANSITIONS",
    "AddOutcome",
    "Admission",
    "BatchWorker",
    "Batching",
    "BlockedBy",
    "Breaker",
    "Claim",
    "ClaimedJob",
    "Completion",
    "DeadLettering",
    "EndedRun",
    "Failure",
    "GroupLimit",
    "HeldLocks",
    "JobQueue",
    "JobState",
    "JobView",
    "Lock",
    "Locking",
    "Met",
    "NewJob",
    "PartitionedQueue",
    "Postponement",
    "QueueExaminer",
    "QueueLook",
    "QueueSample",
    "RateLimit",
    "ReclaimReport",
    "RedisConnection",
    "RedisReport",
    "RemoveOutcome",
    "Retry",
    "RunRules",
    "SettleOutcome",
    "SoloGate",
    "Upkeep",
    "Worker",
    "WorkerOptions",
    "WorkerSign",
    "WorkerSigns",
    "allows_client_names",
    "backoff_delay_ms",
    "check_client",
    "check_permissions",
    "connect",
    "disconnect",
    "examine_redis",
    "find_workers",
    "holder_of",
    "join_incarnations",
    "partition_of",
    "partition_prefixes",
    "probe_queue",
    "sample_queues",
    "wait_for_work",
]
