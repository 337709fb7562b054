"""What limits a whole queue, over all its workers, Node's too: its concurrency and its rate.

Functions beside :class:`JobQueue`; all raise ``QueueUnavailable`` when Redis cannot serve, and are
safe to repeat. What makes no sense in Redis is no limit.
"""

from typing import Any

from shared.errors import InvalidJobOptions
from shared.queue.connection import run, run_on_any_type
from shared.queue.inspection import QueueReader
from shared.queue.job import GroupLimit, RateLimit
from shared.queue.job_queue import JobQueue
from shared.queue.reading import MAX_WHOLE, whole_number
from shared.queue.wire import decode_group_limit

# As many jobs as BullMQ takes for having used up any limit.
_USED_UP = MAX_WHOLE
_ACCEPTED = "a whole number from 1"


def set_concurrency(queue: QueueReader, max_active: int) -> None:
    """Let at most so many jobs be claimed at a time; those that are more now go on.

    Raises:
        InvalidJobOptions: fewer than one.
    """
    _check("concurrency", max_active)
    run(queue.client, "HSET", queue.keys.meta, "concurrency", max_active)


def read_concurrency(queue: QueueReader) -> int | None:
    """Return how many jobs may be claimed at a time; None for no limit."""
    [stored] = run_on_any_type(queue.client, [("HGET", queue.keys.meta, "concurrency")])
    return _positive(stored)


def remove_concurrency(queue: QueueReader) -> None:
    """Let any number of jobs be claimed at a time."""
    run(queue.client, "HDEL", queue.keys.meta, "concurrency")


def set_rate(queue: QueueReader, limit: RateLimit) -> None:
    """Let at most so many jobs be started in a window; it holds instead of a worker's own limit.

    A window that is open lasts as long as it would have.

    Raises:
        InvalidJobOptions: no job at all, or no time.
    """
    _check("max", limit.max_jobs)
    _check("duration", limit.duration_ms)
    fields = ("max", limit.max_jobs, "duration", limit.duration_ms)
    run(queue.client, "HSET", queue.keys.meta, *fields)


def read_rate(queue: QueueReader) -> RateLimit | None:
    """Return the queue's own rate limit, if it has one."""
    [stored] = run_on_any_type(queue.client, [("HMGET", queue.keys.meta, "max", "duration")])
    max_jobs, duration_ms = map(_positive, stored or (None, None))
    return None if max_jobs is None or duration_ms is None else RateLimit(max_jobs, duration_ms)


def remove_rate(queue: QueueReader) -> None:
    """Lift the queue's own rate limit; workers that have one obey theirs."""
    run(queue.client, "HDEL", queue.keys.meta, "max", "duration")


def stop_claims(queue: QueueReader, duration_ms: int) -> None:
    """Let no job be started for so long by whoever obeys a rate limit: the queue's or its own.

    Raises:
        InvalidJobOptions: no time.
    """
    _check("rate limit in ms", duration_ms)
    run(queue.client, "SET", queue.keys.limiter, _USED_UP, "PX", duration_ms)


def read_rate_ttl_ms(queue: QueueReader, max_jobs: int | None = None) -> int:
    """Return for how many ms jobs are still refused by a limit of ``max_jobs`` a window; else 0.

    Without ``max_jobs`` the queue's own limit counts; where it has none either, it is how long the
    open window still lasts: -2 for none, as BullMQ has it.
    """
    started, ttl_ms, own_max = run_on_any_type(queue.client, _ttl_commands(queue))
    limit = max_jobs or whole_number(own_max)
    if limit is None:
        return int(ttl_ms)
    is_used_up = limit <= (whole_number(started) or 0)
    return max(int(ttl_ms), 0) if is_used_up else 0


def _ttl_commands(queue: QueueReader) -> list[tuple[Any, ...]]:
    return [
        ("GET", queue.keys.limiter),
        ("PTTL", queue.keys.limiter),
        ("HGET", queue.keys.meta, "max"),
    ]


def end_window(queue: QueueReader) -> bool:
    """End the window of the rate limit, so that jobs are started again; False if none was open."""
    return bool(run(queue.client, "DEL", queue.keys.limiter))


def limit_rate(queue: JobQueue, limit: RateLimit | None) -> None:
    """Let at most so many jobs be started in a window; None lifts the queue's own limit.

    A limit that changes begins with a new window, in one step: what the old one has let start does
    not count, nor does its length. One that is there already keeps its window.

    Raises:
        InvalidJobOptions: no job at all, or no time.
    """
    if limit is None:
        queue.run_script("limit_rate", [0, 0])
        return
    _check("max", limit.max_jobs)
    _check("duration", limit.duration_ms)
    queue.run_script("limit_rate", [limit.max_jobs, limit.duration_ms])


def limit_groups(queue: JobQueue, limit: GroupLimit | None) -> None:
    """Let at most so many jobs of each group be started in a window; None lifts the limit.

    A group that has used it up costs the others nothing; its jobs keep their order. Until they may
    start they are among the prioritized ones, behind all that have a priority, in Redis for Node
    and Bull Board as well. Node's workers do not know of it: they take them last, unlimited.

    Raises:
        InvalidJobOptions: a limit that cannot be.
    """
    if limit is None or limit.max_jobs <= 0:
        queue.run_script("limit_groups", [0, 0, ""])
        return
    check_group_limit(limit)
    queue.run_script("limit_groups", [limit.max_jobs, limit.duration_ms, limit.key])


def check_group_limit(limit: GroupLimit) -> GroupLimit:
    """Return a limit that can be set.

    Raises:
        InvalidJobOptions: it lets no job pass, has no time, or no field.
    """
    _check("group_limit", limit.max_jobs)
    _check("group_limit duration", limit.duration_ms)
    if not isinstance(limit.key, str) or not limit.key:
        raise InvalidJobOptions("group", limit.key, "the name of a field of the jobs' data")
    return limit


def read_group_limit(queue: QueueReader) -> GroupLimit | None:
    """Return how often jobs of one group may start, if that is limited."""
    [stored] = run_on_any_type(queue.client, [("HGET", queue.keys.meta, "own:grouping")])
    return decode_group_limit(stored)


def _check(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WHOLE:
        raise InvalidJobOptions(option, value, _ACCEPTED)


def _positive(stored: object) -> int | None:
    number = whole_number(stored)
    return number if number is not None and number >= 1 else None
