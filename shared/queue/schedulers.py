"""Schedulers: each makes jobs of one template, the next one when the last one is claimed.

As BullMQ's job schedulers: Node's workers go on with ours, and ours with Node's. All functions
raise ``QueueUnavailable`` when Redis cannot serve; the effect is unknown then, and all are safe to
repeat.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

import orjson

from shared.errors import InvalidJobOptions, JobStateError, UnencodableJob
from shared.queue.connection import raw, readable, run, run_on_any_type, text
from shared.queue.job import ClaimedJob, JobState, JobView
from shared.queue.job_queue import JobQueue
from shared.queue.options import MAX_PRIORITY, opts_json, read_options
from shared.queue.reading import read_object, whole_number
from shared.queue.repeats import (
    Repeat,
    is_over,
    next_of_pattern,
    read_stored,
    stored_repeat,
)
from shared.queue.wire import decode_view, to_json

# What a scheduler decides for each of its jobs, or what names one job only.
_NOT_IN_TEMPLATE = ("job_id", "delay", "timestamp", "deduplication", "parent", "size_limit")
_ENDS_AS_JOB = re.compile(r":[0-9]+$")


class Continuation(StrEnum):
    """What became of a schedule when one of its jobs was claimed."""

    SCHEDULED = "scheduled"
    """The next job is made."""
    OTHER = "other"
    """The claimed job is not the pending one: its next one was made before, or nobody waits."""
    BLOCKED = "blocked"
    """A job with the next one's id is there: the schedule stands still until it is set anew."""
    ENDED = "ended"
    """The claimed job was the last one, by limit, end or pattern."""


@dataclass(frozen=True, slots=True)
class Template:
    """What a scheduler's jobs are made of: their name, data and opts as JSON, and their place."""

    name: str
    data: bytes
    opts: Mapping[str, object]
    priority: int
    lifo: bool


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A scheduler as it lies in Redis.

    ``next_ms`` is when its pending job is due, ``iterations`` how many it has made. ``data`` and
    ``opts`` are those of its jobs, in BullMQ's words; ``data`` is JSON text.
    """

    id: str
    name: str
    repeat: Repeat
    next_ms: int
    iterations: int
    data: str
    opts: Mapping[str, object]


def check_scheduler_id(scheduler_id: str) -> str:
    """Return an id that a scheduler may have.

    Raises:
        InvalidJobOptions: empty, or with an end that makes it a job of another scheduler.
    """
    if not scheduler_id or _ENDS_AS_JOB.search(scheduler_id):
        accepted = "a text that does not end in a colon and digits, as ids of jobs do"
        raise InvalidJobOptions("scheduler id", scheduler_id, accepted)
    return scheduler_id


def read_template(
    name: str, data: object, defaults: Mapping[str, object], given: Mapping[str, object]
) -> Template:
    """Return what jobs are to be made of, checked.

    Raises:
        InvalidJobOptions: one that no job can have, or that a scheduler decides itself.
        UnencodableJob: data that JSON cannot hold.
    """
    for option in _NOT_IN_TEMPLATE:
        if given.get(option) is not None:
            raise InvalidJobOptions(option, given[option], "none in a scheduler's template")
    usual = {name: value for name, value in defaults.items() if name not in _NOT_IN_TEMPLATE}
    options = read_options(usual, given)
    opts = opts_json(options)
    asked = {**usual, **given}
    if asked.get("attempts") is None:
        del opts["attempts"]
    if isinstance(asked.get("backoff"), int):
        # As Node has it in a template; the next job has it written out.
        opts["backoff"] = asked["backoff"]
    try:
        encoded = orjson.dumps(data)
    except TypeError as exc:
        raise UnencodableJob(name, str(exc)) from exc
    return Template(name, encoded, opts, options.priority or 0, bool(options.lifo))


def schedule(queue: JobQueue, scheduler_id: str, repeat: Repeat, template: Template) -> JobView:
    """Make or change a scheduler and its next job, in one step; return that job.

    A pending job that nobody has claimed is replaced, and comes when it was due if it recurs
    ``every`` so many ms as before.

    Raises:
        InvalidJobOptions: the id, or a pattern that names no time to come; nothing was changed.
        JobStateError: another job has the id of the next one; nothing was changed.
        QueueFull: Redis has no room; nothing was changed.
    """
    check_scheduler_id(scheduler_id)
    now_ms = queue.clock.now_ms()
    due_ms = None if repeat.pattern is None else _first_due_ms(repeat, now_ms)
    opts = _opts_of_run(scheduler_id, repeat, template.opts, 1, due_ms, now_ms)
    opts_text = to_json(scheduler_id, opts)
    times = map(_or_empty, (due_ms, repeat.every, repeat.offset, repeat.start_date))
    place = (template.priority, "1" if template.lifo else "")
    record = chain.from_iterable(_record(repeat, template).items())
    head = (now_ms, scheduler_id, *times, template.name, template.data, opts_text, *place)
    word, job_id, *fields = queue.run_script("schedule", [*head, *record])
    if word == b"taken":
        raise JobStateError(text(job_id), f"it has the id of the next job of {scheduler_id!r}")
    found = dict(zip(fields[0][::2], fields[0][1::2], strict=True))
    delay = whole_number(found.get(b"delay"))
    return decode_view(text(job_id), JobState.DELAYED if delay else JobState.WAITING, found)


def unschedule(queue: JobQueue, scheduler_id: str) -> bool:
    """Remove a scheduler; False where there is none. A job of it that is in line is still run."""
    return bool(queue.run_script("unschedule", [scheduler_id]))


def read_scheduler(queue: JobQueue, scheduler_id: str) -> Scheduler | None:
    """Return a scheduler, or None."""
    due_ms = run(queue.client, "ZSCORE", queue.keys.repeat, raw(scheduler_id))
    return None if due_ms is None else _read_all(queue, [(scheduler_id, due_ms)])[0]


def list_schedulers(
    queue: JobQueue, start: int = 0, end: int = -1, *, is_ascending: bool = False
) -> list[Scheduler]:
    """Return schedulers from rank ``start`` to ``end``; ascending: the one that is due first."""
    command = "ZRANGE" if is_ascending else "ZREVRANGE"
    pairs = run(queue.client, command, queue.keys.repeat, start, end, "WITHSCORES")
    found = zip(map(text, pairs[::2]), pairs[1::2], strict=True)
    return [scheduler for scheduler in _read_all(queue, list(found)) if scheduler is not None]


def count_schedulers(queue: JobQueue) -> int:
    """Return how many schedulers there are."""
    return int(run(queue.client, "ZCARD", queue.keys.repeat))


def continue_schedule(queue: JobQueue, job: ClaimedJob) -> Continuation:
    """Make the job that comes behind a claimed one, before that is run; at most once for each.

    ``job`` is a scheduler's, whoever made it. Without this call its schedule ends.

    Raises:
        InvalidJobOptions: a pattern or zone that cannot be read; nothing was changed.
        QueueFull: Redis has no room; nothing was changed.
    """
    now_ms = queue.clock.now_ms()
    repeat, count = read_stored(job.opts.get("repeat"))
    if is_over(repeat, count, now_ms):
        return Continuation.ENDED
    due_ms = None
    if repeat.pattern is not None:
        previous_ms = whole_number(job.opts.get("prevMillis")) or 0
        due_ms = next_of_pattern(repeat, max(now_ms, previous_ms))
        if due_ms is None:
            return Continuation.ENDED
    return schedule_next(queue, job, repeat, count + 1, due_ms, now_ms)


def is_pending(queue: JobQueue, job: ClaimedJob) -> bool:
    """Return whether a claimed job is its scheduler's newest: nobody has made the next one yet."""
    scheduler_id = job.scheduler_id or ""
    score = run(queue.client, "ZSCORE", queue.keys.repeat, raw(scheduler_id))
    due_ms = whole_number(score)
    return due_ms is not None and job.id == f"repeat:{scheduler_id}:{due_ms}"


def schedule_next(
    queue: JobQueue, job: ClaimedJob, repeat: Repeat, count: int, due_ms: int | None, now_ms: int
) -> Continuation:
    """Make the ``count``-th job of the scheduler of ``job``, which is claimed.

    ``due_ms`` is None where it recurs ``every`` so many ms. Its opts are those of ``job``, its name
    and data what the scheduler remembers.
    """
    scheduler_id, opts = job.scheduler_id or "", dict(job.opts)
    backoff = opts.get("backoff")
    if isinstance(backoff, int) and not isinstance(backoff, bool):
        opts["backoff"] = {"type": "fixed", "delay": backoff}
    opts = _opts_of_run(scheduler_id, repeat, {"attempts": 0, **opts}, count, due_ms, now_ms)
    priority = whole_number(opts.get("priority")) or 0
    arguments: list[str | int | bytes] = [
        now_ms,
        scheduler_id,
        job.id,
        _or_empty(due_ms),
        _or_empty(repeat.every),
        to_json(job.id, opts),
        min(max(priority, 0), MAX_PRIORITY),
        "1" if opts.get("lifo") else "",
    ]
    word, _ = queue.run_script("schedule_next", arguments)
    return Continuation(text(word))


def _first_due_ms(repeat: Repeat, now_ms: int) -> int:
    due_ms = now_ms if repeat.immediately else next_of_pattern(repeat, now_ms)
    if due_ms is None:
        accepted = "a pattern that names a time before its end"
        raise InvalidJobOptions("pattern", repeat.pattern, accepted)
    return due_ms


def _opts_of_run(
    scheduler_id: str,
    repeat: Repeat,
    opts: Mapping[str, object],
    count: int,
    due_ms: int | None,
    now_ms: int,
) -> dict[str, object]:
    """Return a job's opts but for what the script adds: its id and delay."""
    run_opts = {name: opts[name] for name in opts if name not in ("jobId", "delay", "prevMillis")}
    run_opts |= {"timestamp": now_ms, "repeatJobKey": scheduler_id}
    run_opts["repeat"] = {**stored_repeat(repeat), "count": count}
    if due_ms is not None:
        run_opts["prevMillis"] = due_ms
    return run_opts


def _record(repeat: Repeat, template: Template) -> dict[str, str | bytes]:
    """Return the fields of a scheduler's hash but for those that the script adds."""
    fields: dict[str, str | bytes] = {"name": template.name}
    fields |= {name: str(value) for name, value in stored_repeat(repeat).items()}
    fields.pop("offset", None)
    if template.opts:
        fields["opts"] = to_json(template.name, dict(template.opts))
    if template.data != b"{}":
        fields["data"] = template.data
    return fields


def _read_all(queue: JobQueue, found: list[tuple[str, bytes]]) -> list[Scheduler | None]:
    commands = [("HGETALL", raw(f"{queue.keys.repeat}:{name}")) for name, _ in found]
    records = run_on_any_type(queue.client, commands) if commands else []
    pairs = zip(found, records, strict=True)
    return [_decode(name, due_ms, fields) for (name, due_ms), fields in pairs]


def _decode(
    scheduler_id: str, due_ms: bytes, fields: Mapping[bytes, bytes] | None
) -> Scheduler | None:
    if not fields:
        return None
    words = {readable(field): readable(value) for field, value in fields.items()}
    return Scheduler(
        id=scheduler_id,
        name=readable(fields.get(b"name")) or "",
        repeat=read_stored(words)[0],
        next_ms=whole_number(due_ms) or 0,
        iterations=whole_number(fields.get(b"ic")) or 0,
        data=readable(fields.get(b"data")) or "{}",
        opts=read_object(fields.get(b"opts")),
    )


def _or_empty(value: int | None) -> str | int:
    return "" if value is None else value
