"""Dead letters of queues of one's own: jobs that have failed for good, in a queue for them alone.

A dead letter is a job that waits there, id ``<queue>/<id>``; Node and Bull Board see a plain one.
Its data tells all of the job that failed: ``queue``, ``job_id``, ``name``, ``data``, ``opts``,
``reason``, ``attempts`` (runs made) and ``failed_at`` (RFC 3339). Both queues have one prefix, and
a job is in one of them at every moment.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import orjson

from shared.errors import InvalidJobId, QueueError
from shared.queue.clients import is_same_database
from shared.queue.connection import raw, readable, run, run_on_any_type, text
from shared.queue.end_rules import NO_RULES, EndRules
from shared.queue.job import ClaimedJob, DeadLettering, Failure, JobState, NewJob, SettleOutcome
from shared.queue.job_queue import DEAD_NAME, JobQueue
from shared.queue.keys import check_job_id, is_own_key
from shared.queue.options import MAX_PRIORITY
from shared.queue.reading import read_object, whole_number, with_whole_characters
from shared.queue.runs import EndedRun

# So many dead letters are read at a time.
BATCH = 500
# What ties a job to others that have gone on without it.
_TIES = ("parent", "fpof", "cpof", "idof", "rdof", "repeat", "repeatJobKey", "prevMillis")
_Arguments = list[str | bytes]


def check_dead_letters(queue: JobQueue, dead_letters: JobQueue) -> None:
    """Refuse a queue that cannot take the dead letters of another.

    Raises:
        QueueError: it is the same one, or its prefix or its Redis is another.
    """
    if not is_same_database(dead_letters.client, queue.client):
        raise QueueError(
            f"queue {dead_letters.name!r} cannot take dead letters of {queue.name!r}: it is in "
            "another Redis; give both the same connection"
        )
    if dead_letters.prefix != queue.prefix:
        raise QueueError(
            f"queue {dead_letters.name!r} cannot take dead letters of {queue.name!r}: "
            f"its prefix is {dead_letters.prefix!r}, not {queue.prefix!r}"
        )
    if dead_letters.name == queue.name:
        raise QueueError(f"queue {queue.name!r} cannot take its own dead letters: name another")


def move_failed(
    queue: JobQueue,
    failed: Sequence[EndedRun],
    dead_letters: JobQueue,
    rules: EndRules = NO_RULES,
) -> list[SettleOutcome]:
    """Move the jobs of runs that are their last, and failed, to the dead letters, each in one step.

    They carry the data that their handlers have left. To parents, events and ``rules`` it is the
    job's failure; nothing of it stays in its queue. One that lies there under the same id is
    replaced. Safe to repeat.

    Raises:
        QueueUnavailable: Redis cannot serve; some may have been moved.
    """
    keys = [raw(queue.keys.job(run.job.id)) for run in failed]
    stored = run_on_any_type(queue.client, [("HMGET", key, "data", "opts") for key in keys])
    now = queue.clock.now()
    moves = [
        _move_of(queue.name, run.job, run.outcome, fields or (None, None), now)
        for run, fields in zip(failed, stored, strict=True)
        if isinstance(run.outcome, Failure)
    ]
    return queue.dead_letter_many(moves, dead_letters, rules)


def _move_of(
    queue_name: str,
    job: ClaimedJob,
    failure: Failure,
    stored: Sequence[bytes | None],
    now: datetime,
) -> DeadLettering:
    data, opts = stored
    letter = {
        "queue": queue_name,
        "job_id": _encodable(job.id),
        "name": job.name,
        "data": _json_or_text(data),
        "opts": read_object(opts),
        "reason": _encodable(failure.reason),
        "attempts": job.attempts_made + 1,
        "failed_at": now.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z",
    }
    dead = NewJob(_dead_id(queue_name, job.id), DEAD_NAME, orjson.dumps(letter))
    return DeadLettering(job.id, job.token, failure.reason, failure.stacktrace, dead)


def _dead_id(queue_name: str, job_id: str) -> str:
    dead_id = f"{queue_name}/{job_id}"
    try:
        return check_job_id(dead_id)
    except InvalidJobId:
        # Node takes ids that end like a key of another job.
        return f"{dead_id}/"


def replay(
    dead_letters: JobQueue, dead_ids: Sequence[str] | None = None, *, reason: str | None = None
) -> int:
    """Put jobs back into the queues that they came from, as if just added; return how many.

    Those with these ids, or all that wait, oldest first; of them those whose reason holds the text
    ``reason``. 500 a script. Their attempts begin anew, they wait no delay, and flows and schedules
    go on without them. A dead letter stays where it is while a worker holds it, and where its job's
    id is taken in its queue. What is no dead letter is left alone.

    Each job moves in one step, so it is neither lost nor there twice; safe to repeat.

    Raises:
        QueueFull: Redis has no room; of the script that met it nothing was moved.
    """
    if dead_ids is not None:
        pages = (dead_ids[start : start + BATCH] for start in range(0, len(dead_ids), BATCH))
        return sum(_replay(dead_letters, page, reason) for page in pages)
    stayed = moved = 0
    # Not those that fail for good anew meanwhile.
    left = dead_letters.counts()[JobState.WAITING]
    while left > 0:
        page = _page(dead_letters, stayed, min(left, BATCH))
        moved_now = _replay(dead_letters, page, reason)
        moved, stayed = moved + moved_now, stayed + len(page) - moved_now
        left = left - len(page) if page else 0
    return moved


@dataclass(frozen=True, slots=True)
class _Letter:
    """A dead letter as it was read, and the job that it was."""

    queue: str
    dead_id: str
    digest: str
    job_id: str
    name: str
    data: bytes
    opts: dict[str, object]
    reason: str

    @property
    def arguments(self) -> _Arguments:
        priority = whole_number(self.opts.get("priority")) or 0
        return [
            self.dead_id,
            self.digest,
            self.job_id,
            self.name,
            self.data,
            orjson.dumps(self.opts),
            str(priority if 0 <= priority <= MAX_PRIORITY else 0),
            "1" if self.opts.get("lifo") is True else "0",
        ]


def _page(dead_letters: JobQueue, offset: int, limit: int) -> list[str]:
    command = dead_letters.range_command(
        JobState.WAITING, offset, offset + limit - 1, is_ascending=True
    )
    ids = run(dead_letters.client, *command)
    return dead_letters.read_range(JobState.WAITING, ids, is_ascending=True)


def _replay(dead_letters: JobQueue, dead_ids: Sequence[str], reason: str | None) -> int:
    letters = [
        letter
        for letter in _read_letters(dead_letters, dead_ids)
        if reason is None or reason in letter.reason
    ]
    moved, of_queue = 0, attrgetter("queue")
    for queue_name, alike in groupby(sorted(letters, key=of_queue), key=of_queue):
        origin = JobQueue(
            dead_letters.client, queue_name, prefix=dead_letters.prefix, clock=dead_letters.clock
        )
        answers = dead_letters.run_in_chunks(
            "replay",
            list(alike),
            lambda letter: letter.arguments,
            (dead_letters.clock.now_ms(),),
            (origin.keys.base, dead_letters.keys.base),
        )
        moved += answers.count(b"moved")
    return moved


def _read_letters(dead_letters: JobQueue, dead_ids: Sequence[str]) -> Iterator[_Letter]:
    commands = [("HGET", raw(dead_letters.keys.job(dead_id)), "data") for dead_id in dead_ids]
    found = run_on_any_type(dead_letters.client, commands)
    for dead_id, data in zip(dead_ids, found, strict=True):
        letter = None if data is None else _read_letter(dead_id, data)
        if letter is not None and letter.queue != dead_letters.name:
            yield letter


def _read_letter(dead_id: str, data: bytes) -> _Letter | None:
    told = read_object(data)
    queue, job_id, name = told.get("queue"), told.get("job_id"), told.get("name")
    opts = told.get("opts")
    if not (_is_queue_name(queue) and _is_job_id(job_id) and isinstance(name, str)):
        return None
    kept: dict[str, object] = dict(opts) if isinstance(opts, dict) else {"attempts": 0}
    return _Letter(
        queue=str(queue),
        dead_id=dead_id,
        digest=hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        job_id=str(job_id),
        name=name,
        data=orjson.dumps(told.get("data")),
        opts={field: value for field, value in kept.items() if field not in _TIES},
        reason=str(told.get("reason", "")),
    )


def _is_queue_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and ":" not in value


def _is_job_id(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not is_own_key(value)


def _json_or_text(data: bytes | None) -> Any:
    """Return a job's data as JSON holds it, text for text; as a text when it is none."""
    written = data or b"null"
    return _part(written) or _part(with_whole_characters(written)) or readable(data)


def _part(written: bytes | str) -> orjson.Fragment | None:
    """Return a text as a part of other JSON, as it stands; None if it is no JSON."""
    try:
        orjson.loads(written)
    except orjson.JSONDecodeError:
        return None
    return orjson.Fragment(written)


def _encodable(value: str) -> str:
    return text(value.encode("utf-8", "replace"))
