"""Lists, states, logs, metrics and children of a queue's jobs, as BullMQ's getters answer.

Functions over a :class:`QueueReader`; nothing here changes a key. All raise ``QueueUnavailable``
when Redis cannot serve. A job's key of another type than it should be of counts as an empty one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.queue.connection import raw, readable, run_all, run_on_any_type, text
from shared.queue.inspection import QueueReader
from shared.queue.job import JobState, JobView
from shared.queue.reading import whole_number
from shared.queue.wire import decode_view

# Scores in the sorted set of prioritized jobs: a priority times this, and a counter below it.
_PER_PRIORITY = 2**32


@dataclass(frozen=True, slots=True)
class Metrics:
    """How many jobs ended in one way, counted by workers that were asked to.

    ``count`` is all of them; ``data`` are the jobs of each minute, the newest minute first, of
    which ``points`` are kept. ``prev_ts`` (ms) is when the newest point was closed, at
    ``prev_count`` jobs.
    """

    count: int
    prev_ts: int
    prev_count: int
    data: list[int]
    points: int


@dataclass(frozen=True, slots=True)
class Dependencies:
    """A parent's children by what became of them; all are named by their whole keys.

    ``processed``: the results of those that completed, JSON text as stored. ``ignored``: the
    reasons of those that failed without harm to the parent. ``failed``: those that failed it.
    """

    processed: Mapping[str, str]
    unprocessed: list[str]
    ignored: Mapping[str, str]
    failed: list[str]


def list_range(
    queue: QueueReader, states: Sequence[JobState], start: int, end: int, *, is_ascending: bool
) -> list[JobView]:
    """Return the jobs from rank ``start`` to ``end`` of each state, one state after the other.

    Both ends are included, negative ones count from the end; ascending is with the one first that
    came first or is next to move. Two round trips: a job that moves meanwhile may be missed, but is
    not listed twice. Ids whose job has vanished are left out.
    """
    commands = [
        queue.range_command(state, start, end, is_ascending=is_ascending) for state in states
    ]
    states_by_id: dict[str, JobState] = {}
    for state, ids in zip(states, run_all(queue.client, commands), strict=True):
        for job_id in queue.read_range(state, ids, is_ascending=is_ascending):
            states_by_id.setdefault(job_id, state)
    hashes = run_on_any_type(
        queue.client, [("HGETALL", raw(queue.keys.job(job_id))) for job_id in states_by_id]
    )
    pairs = zip(states_by_id.items(), hashes, strict=True)
    return [decode_view(job_id, state, fields) for (job_id, state), fields in pairs if fields]


def read_state(queue: QueueReader, job_id: str) -> JobState | None:
    """Return the state of a job, None for one that is in no state; searches the whole line."""
    member = raw(job_id)
    looks = {
        JobState.COMPLETED: ("ZSCORE", queue.keys.completed, member),
        JobState.FAILED: ("ZSCORE", queue.keys.failed, member),
        JobState.DELAYED: ("ZSCORE", queue.keys.delayed, member),
        JobState.PRIORITIZED: ("ZSCORE", queue.keys.prioritized, member),
        JobState.ACTIVE: ("LPOS", queue.keys.active, member),
        JobState.WAITING: ("LPOS", queue.keys.wait, member),
        JobState.WAITING_CHILDREN: ("ZSCORE", queue.keys.waiting_children, member),
    }
    *found, in_paused = run_on_any_type(
        queue.client, [*looks.values(), ("LPOS", queue.keys.paused, member)]
    )
    for state, place in zip(looks, found, strict=True):
        if place is not None:
            return state
    # Where versions before 6 kept the line of a paused queue.
    return JobState.WAITING if in_paused is not None else None


def count_per_priority(queue: QueueReader, priorities: Sequence[int]) -> dict[int, int]:
    """Return how many jobs wait with each of these priorities; 0 are those without one."""
    commands: list[tuple[Any, ...]] = [
        ("LLEN", queue.keys.wait)
        if priority == 0
        else (
            "ZCOUNT",
            queue.keys.prioritized,
            priority * _PER_PRIORITY,
            (priority + 1) * _PER_PRIORITY - 1,
        )
        for priority in priorities
    ]
    return dict(zip(priorities, run_on_any_type(queue.client, commands), strict=True))


def is_maxed(queue: QueueReader) -> bool:
    """Return whether as many jobs are claimed as the queue's own concurrency allows."""
    stored, claimed = run_on_any_type(
        queue.client, [("HGET", queue.keys.meta, "concurrency"), ("LLEN", queue.keys.active)]
    )
    limit = whole_number(stored)
    return limit is not None and (claimed or 0) >= limit


def read_deduplication_owner(queue: QueueReader, dedup_id: str) -> str | None:
    """Return the id of the job that stands for others with this deduplication id, if one does."""
    [owner] = run_on_any_type(queue.client, [("GET", raw(queue.keys.deduplication(dedup_id)))])
    return None if owner is None else text(owner)


def read_logs(
    queue: QueueReader, job_id: str, start: int = 0, end: int = -1, *, is_ascending: bool = True
) -> tuple[list[str], int]:
    """Return lines that a job's handlers logged, from ``start`` to ``end``, and how many there are.

    The oldest line is the first, or with ``is_ascending`` off the last; ends are as in
    :func:`list_range`.
    """
    key = raw(queue.keys.logs(job_id))
    first, last = (start, end) if is_ascending else (-(end + 1), -(start + 1))
    lines, count = run_on_any_type(queue.client, [("LRANGE", key, first, last), ("LLEN", key)])
    shown = [readable(line) or "" for line in lines or ()]
    return (shown if is_ascending else shown[::-1]), count or 0


def read_metrics(queue: QueueReader, state: JobState, start: int = 0, end: int = -1) -> Metrics:
    """Return what workers counted of jobs that ended in ``state``: completed or failed.

    ``start`` and ``end`` choose among the minutes, the newest is 0.
    """
    key = queue.keys.metrics(state)
    fields, data, points = run_on_any_type(
        queue.client,
        [
            ("HMGET", key, "count", "prevTS", "prevCount"),
            ("LRANGE", f"{key}:data", start, end),
            ("LLEN", f"{key}:data"),
        ],
    )
    count, prev_ts, prev_count = (whole_number(field) or 0 for field in fields or (None,) * 3)
    jobs = [whole_number(point) or 0 for point in data or ()]
    return Metrics(count, prev_ts, prev_count, jobs, points or 0)


def read_dependencies(queue: QueueReader, job_id: str) -> Dependencies:
    """Return a job's children; all of them, in one round trip."""
    key = queue.keys.job(job_id)
    processed, unprocessed, ignored, failed = run_on_any_type(
        queue.client,
        [
            ("HGETALL", raw(f"{key}:processed")),
            ("SMEMBERS", raw(f"{key}:dependencies")),
            ("HGETALL", raw(f"{key}:failed")),
            ("ZRANGE", raw(f"{key}:unsuccessful"), 0, -1),
        ],
    )
    return Dependencies(
        processed=_by_child(processed),
        unprocessed=sorted(text(child) for child in unprocessed or ()),
        ignored=_by_child(ignored),
        failed=[text(child) for child in failed or ()],
    )


def count_dependencies(queue: QueueReader, job_id: str) -> dict[str, int]:
    """Return how many children a job has of each kind, by the fields of :class:`Dependencies`."""
    key = queue.keys.job(job_id)
    commands = {
        "processed": ("HLEN", raw(f"{key}:processed")),
        "unprocessed": ("SCARD", raw(f"{key}:dependencies")),
        "ignored": ("HLEN", raw(f"{key}:failed")),
        "failed": ("ZCARD", raw(f"{key}:unsuccessful")),
    }
    counts = run_on_any_type(queue.client, list(commands.values()))
    return {kind: count or 0 for kind, count in zip(commands, counts, strict=True)}


def _by_child(fields: Mapping[bytes, bytes] | None) -> dict[str, str]:
    return {text(child): readable(value) or "" for child, value in (fields or {}).items()}
