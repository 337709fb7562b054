"""Waiting for work without asking over and over: BullMQ's marker."""

from collections.abc import Sequence

from shared.queue.clients import connection_named
from shared.queue.connection import MAX_BLOCK_S, RedisConnection, run, run_at
from shared.queue.job_queue import JobQueue
from shared.queue.keys import worker_connection_name


def wait_for_work(
    client: RedisConnection,
    queues: Sequence[JobQueue],
    timeout_s: float,
    *,
    worker_name: str | None = None,
) -> bool:
    """Block until one of the queues may have work, or ``timeout_s`` has passed; answer which.

    True is no promise: somebody else may be faster. Blocks on a connection of its own, named as
    BullMQ names its workers', so that ``getWorkers`` and Bull Board list this process, by
    ``worker_name`` if it has one.

    Raises:
        QueueUnavailable: Redis cannot serve.
    """
    blocking = _present_connections(client, queues, worker_name)[0]
    return _wait_for_marker(blocking, queues, queues[0].clock.monotonic_s() + timeout_s)


def _wait_for_marker(
    blocking: RedisConnection, queues: Sequence[JobQueue], deadline_s: float
) -> bool:
    clock, markers = queues[0].clock, [queue.keys.marker for queue in queues]
    due_s: float | None = None
    while True:
        now_s = clock.monotonic_s()
        if due_s is not None and now_s >= due_s:
            return True
        if now_s >= deadline_s:
            return False
        until_s = deadline_s if due_s is None else min(deadline_s, due_s)
        block_s = max(min(until_s - now_s, MAX_BLOCK_S), 0.01)
        popped = run(blocking, "BZPOPMIN", *markers, f"{block_s:.3f}")
        if popped is not None:
            wait_ms = float(popped[2]) - clock.now_ms()
            # The score of the other marker is when the next delayed job is due; popping removed it.
            if wait_ms <= 0:
                return True
            due_s = min(due_s or float("inf"), clock.monotonic_s() + wait_ms / 1000)


def _present_connections(
    client: RedisConnection, queues: Sequence[JobQueue], worker_name: str | None
) -> list[RedisConnection]:
    """Return one named connection per queue: a client has one name, so the others just live."""
    names = [worker_connection_name(each.prefix, each.name, worker_name) for each in queues]
    connections = [connection_named(client, name) for name in names]
    for queue, idle in zip(queues[1:], connections[1:], strict=True):
        run_at(idle, queue.keys.base, "PING")
    return connections
