"""Adding jobs as BullMQ adds them: numbered or named, delayed, prioritized, deduplicated, in flows.

Beside :meth:`JobQueue.add_many`, where the highest revision of an id wins: here an id that is
there is never touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any

import orjson

from shared.errors import (
    AddLimitExceeded,
    InvalidJobOptions,
    JobNotFound,
    JobStateError,
    QueueError,
    UnencodableJob,
)
from shared.queue.connection import raw, text
from shared.queue.job import JobState, JobView
from shared.queue.job_queue import CHUNK_BYTES, JobQueue, in_chunks
from shared.queue.options import JobOptions, deduplication_json, opts_json
from shared.queue.wire import decode_view, to_json

Arguments = list[str | bytes]

MAX_TREE_JOBS = 5_000
OTHER_PARENT = "is the child of another parent, which is there"


@dataclass(frozen=True, slots=True)
class Payload:
    """A job to add, checked and encoded. ``base`` is its queue's, ``data`` is JSON.

    Without an ``id`` it gets its queue's next number. ``is_parent``: its children come with it.
    """

    base: str
    id: str | None
    name: str
    data: bytes
    options: JobOptions
    timestamp_ms: int
    is_parent: bool = False


class EnqueueOutcome(StrEnum):
    """What adding a job did."""

    ADDED = "added"
    DUPLICATED = "duplicated"
    """The id is there, in whatever state; nothing of that job changed, but perhaps its parent."""
    DEDUPLICATED = "deduplicated"
    """The owner of its deduplication id stands for it."""
    OTHER_PARENT = "other_parent"
    """The id is there as the child of another living parent; nothing changed."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a job: ``id`` is that of the job which is there now."""

    id: str
    outcome: EnqueueOutcome


@dataclass(frozen=True, slots=True)
class AddLimit:
    """At most so many jobs of one caller in a fixed window; each queue counts for itself."""

    max_jobs: int
    duration_ms: int
    caller: str


def payload(
    queue: JobQueue,
    name: str,
    data: object,
    options: JobOptions,
    *,
    job_id: str | None = None,
    is_parent: bool = False,
) -> Payload:
    """Return a job to add to a queue; ``job_id`` is for one whose options name none.

    Raises:
        UnencodableJob: data that JSON cannot hold.
        InvalidJobOptions: data larger than its ``size_limit``.
    """
    try:
        encoded = orjson.dumps(data)
    except TypeError as exc:
        raise UnencodableJob(options.job_id or name, str(exc)) from exc
    if options.size_limit and len(encoded) > options.size_limit:
        accepted = f"no less than the {len(encoded)} bytes of its data"
        raise InvalidJobOptions("size_limit", options.size_limit, accepted)
    timestamp_ms = queue.clock.now_ms() if options.timestamp is None else options.timestamp
    chosen = options.job_id or job_id
    return Payload(queue.keys.base, chosen, name, encoded, options, timestamp_ms, is_parent)


def enqueue_many(
    queue: JobQueue, jobs: Sequence[Payload], *, limit: AddLimit | None = None
) -> list[Enqueued]:
    """Add jobs, in order; what became of them, in the same order.

    500 jobs or 8 MiB a call; a call is atomic, the whole is not. Safe to repeat only for jobs that
    have an id: after a lost reply others may be there twice.

    Raises:
        AddLimitExceeded: nothing was added. More jobs than a window holds never have room.
        JobNotFound: a parent is not there; of the chunk that met it nothing was added.
        QueueFull: Redis has no room; of the chunk that met it nothing was added.
        UnencodableJob: nothing was added.
    """
    bases = _bases(queue, jobs)
    encoded = [_encode(job, bases) for job in jobs]
    enqueued: list[Enqueued] = []
    for chunk in in_chunks(encoded):
        counted = len(jobs) if limit is not None and not enqueued else 0
        enqueued += _enqueue(queue, bases, chunk, limit if counted else None, counted)
    return enqueued


def enqueue_tree(queue: JobQueue, jobs: Sequence[Payload]) -> list[Enqueued]:
    """Add parents and their children, each parent before its own, all of them or none.

    They may be of any queues with one prefix; parents run when their last child is done.

    Raises:
        JobStateError: one is there already as the child of another living parent, or it is named
            under two parents of the tree; nothing was added.
        QueueError: more than 5,000 jobs or 8 MiB; nothing was added.
        JobNotFound, QueueFull, UnencodableJob: nothing was added.
    """
    bases = _bases(queue, jobs)
    encoded = [_encode(job, bases) for job in jobs]
    size = sum(len(value) for arguments in encoded for value in arguments)
    if len(jobs) > MAX_TREE_JOBS or size > CHUNK_BYTES:
        most = f"{MAX_TREE_JOBS} jobs and {CHUNK_BYTES} bytes"
        raise QueueError(f"a flow of {len(jobs)} jobs and {size} bytes: at most {most}")
    return _enqueue(queue, bases, encoded, None, 0, is_tree=True)


def view_of(job: Payload, enqueued: Enqueued) -> JobView:
    """Return a job that was added as it lay in Redis at that moment."""
    options = job.options
    fields = {
        b"name": job.name.encode("utf-8", "replace"),
        b"data": job.data,
        b"opts": to_json(enqueued.id, opts_json(options)),
        b"timestamp": str(job.timestamp_ms).encode(),
        b"delay": str(options.delay or 0).encode(),
        b"priority": str(options.priority or 0).encode(),
    }
    if options.deduplication is not None:
        fields[b"deid"] = options.deduplication.id.encode("utf-8", "replace")
    if options.parent is not None:
        parent_key, parent = _encode_parent(enqueued.id, options)
        fields |= {b"parentKey": raw(parent_key), b"parent": parent}
    return decode_view(enqueued.id, JobState.WAITING, fields)


def _bases(queue: JobQueue, jobs: Sequence[Payload]) -> Mapping[str, str]:
    """Return the number of each queue among the keys of the call; the first is ``queue``."""
    bases = dict.fromkeys((queue.keys.base, *(job.base for job in jobs)))
    return {base: str(number) for number, base in enumerate(bases, start=1)}


def _enqueue(
    queue: JobQueue,
    bases: Mapping[str, str],
    encoded: Sequence[Arguments],
    limit: AddLimit | None,
    counted: int,
    *,
    is_tree: bool = False,
) -> list[Enqueued]:
    window = (0, 0, "") if limit is None else (limit.max_jobs, limit.duration_ms, limit.caller)
    head = (queue.clock.now_ms(), *window, counted, "1" if is_tree else "")
    arguments = [*head, *chain.from_iterable(encoded)]
    word, *answers = queue.run_script("enqueue", arguments, tuple(bases))
    if limit is not None and word == b"limited":
        raise AddLimitExceeded(limit.caller, int(answers[0]))
    if word == b"no_parent":
        raise JobNotFound(text(answers[0]))
    if word == b"other_parent":
        raise JobStateError(text(answers[0]), OTHER_PARENT)
    return _decode(answers)


def _decode(answers: Sequence[Any]) -> list[Enqueued]:
    pairs = zip(answers[::2], answers[1::2], strict=True)
    return [Enqueued(text(job_id), EnqueueOutcome(text(word))) for word, job_id in pairs]


def _encode(job: Payload, bases: Mapping[str, str]) -> Arguments:
    options, named = job.options, job.id or job.name
    return [
        bases[job.base],
        job.id or "",
        job.name,
        job.data,
        to_json(named, opts_json(options)),
        str(job.timestamp_ms),
        str(options.delay or 0),
        str(options.priority or 0),
        "1" if options.lifo else "",
        "parent" if job.is_parent else "",
        *_encode_parent(named, options),
        _encode_deduplication(named, options),
    ]


def _encode_parent(named: str, options: JobOptions) -> tuple[str, bytes]:
    parent = options.parent
    if parent is None:
        return "", b""
    stored: dict[str, object] = {"id": parent.id, "queueKey": parent.queue}
    if options.on_failure is not None:
        stored[options.on_failure.value] = True
    return f"{parent.queue}:{parent.id}", to_json(named, stored)


def _encode_deduplication(named: str, options: JobOptions) -> str | bytes:
    if options.deduplication is None:
        return ""
    return to_json(named, deduplication_json(options.deduplication))
