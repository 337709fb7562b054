"""BullMQ queues for synchronous Python: produce jobs, work them, look at them.

Node's BullMQ and Bull Board read and write the same queues. Names are BullMQ's in Python's case,
times are in ms. Whatever is done to a queue raises ``QueueUnavailable`` when Redis cannot serve;
nothing is known of the call's effect then. A job is run at least once, and settled once.
"""

from feedmill.breakers import Breaker
from feedmill.configuring import configure
from feedmill.declaring import Declared, queue
from feedmill.events import QueueEvents
from feedmill.flows import Flow, FlowNode, FlowProducer
from feedmill.jobs import Job
from feedmill.planning import Planned, flow
from feedmill.queues import Queue
from feedmill.scheduling import JobScheduler
from feedmill.workers import Worker
from shared.errors import (
    AddLimitExceeded,
    AppError,
    DelayedError,
    InvalidJobId,
    InvalidJobOptions,
    JobFailed,
    JobNotFound,
    JobStateError,
    QueueError,
    QueueFull,
    QueueUnavailable,
    RateLimitError,
    UnencodableJob,
    UnrecoverableError,
    WaitingChildrenError,
    WaitingError,
)
from shared.queue import connect
from shared.queue.batches import BatchResult

__all__ = [
    "AddLimitExceeded",
    "AppError",
    "BatchResult",
    "Breaker",
    "Declared",
    "DelayedError",
    "Flow",
    "FlowNode",
    "FlowProducer",
    "InvalidJobId",
    "InvalidJobOptions",
    "Job",
    "JobFailed",
    "JobNotFound",
    "JobScheduler",
    "JobStateError",
    "Planned",
    "Queue",
    "QueueError",
    "QueueEvents",
    "QueueFull",
    "QueueUnavailable",
    "RateLimitError",
    "UnencodableJob",
    "UnrecoverableError",
    "WaitingChildrenError",
    "WaitingError",
    "Worker",
    "configure",
    "connect",
    "flow",
    "queue",
]
