"""Reading a queue: counts, jobs, counters. Nothing here changes a job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from shared.clock import Clock
from shared.errors import QueueError
from shared.queue.connection import (
    RedisConnection,
    check_hash_tag,
    raw,
    run,
    run_all,
    run_on_any_type,
    text,
)
from shared.queue.job import GroupLimit, JobState, JobView
from shared.queue.keys import QueueKeys
from shared.queue.reading import whole_number
from shared.queue.wire import decode_group_limit, decode_view

_LISTS = frozenset({JobState.WAITING, JobState.ACTIVE})
_SETS = (
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.DELAYED,
    JobState.PRIORITIZED,
    JobState.WAITING_CHILDREN,
)
_SCAN_PAGE = 500
# More than any list in Redis can hold.
_ALL = 1 << 32
Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True)
class QueueSample:
    """How a queue stands: jobs by state, and what has ended since this Redis began.

    ``oldest_waiting_ms`` is the age of the job that is next to run, None when none waits.
    ``rate_limit_ttl_ms`` is how long claims are still refused by the limit in ``meta``, else 0.
    """

    counts: Mapping[JobState, int]
    totals: Mapping[str, int]
    is_paused: bool
    oldest_waiting_ms: int | None
    rate_limit_ttl_ms: int
    group_limit: GroupLimit | None = None


class QueueReader:
    """What can be seen of a queue. Every method is one or two round trips, unless it says so.

    Raises (all methods): ``QueueUnavailable`` when Redis cannot serve.
    """

    def __init__(
        self, client: RedisConnection, name: str, *, prefix: str = "bull", clock: Clock
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.client = client
        self.clock = clock
        self.keys = QueueKeys(prefix, name)
        check_hash_tag(client, self.keys.base)
        self.states = {
            JobState.WAITING: self.keys.wait,
            JobState.PRIORITIZED: self.keys.prioritized,
            JobState.DELAYED: self.keys.delayed,
            JobState.WAITING_CHILDREN: self.keys.waiting_children,
            JobState.ACTIVE: self.keys.active,
            JobState.COMPLETED: self.keys.completed,
            JobState.FAILED: self.keys.failed,
        }

    @property
    def parts(self) -> "Sequence[QueueReader]":
        """The queues that this one is made of: itself, unless its jobs are in partitions."""
        return (self,)

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state."""
        return dict(zip(self.states, run_all(self.client, self.count_commands()), strict=True))

    def count_commands(self) -> list[tuple[str, str]]:
        """Return the commands that count the jobs of each of ``states``."""
        return [("LLEN" if state in _LISTS else "ZCARD", key) for state, key in self.states.items()]

    def needs_upkeep(self) -> tuple[bool, bool]:
        """Return whether any job is claimed, and whether a delayed one is due."""
        claimed, due = run_on_any_type(
            self.client,
            [
                ("LLEN", self.keys.active),
                ("ZCOUNT", self.keys.delayed, "-inf", (self.clock.now_ms() + 1) * 4096 - 1),
            ],
        )
        # What is of another type answers None: the script is to meet it, and name it.
        return claimed != 0, due != 0

    def is_paused(self) -> bool:
        """Return whether claims find nothing because somebody paused the queue."""
        [is_paused] = run_on_any_type(self.client, [("HEXISTS", self.keys.meta, "paused")])
        return bool(is_paused)

    def sample(self) -> "QueueSample":
        """Return how the queue stands; see :func:`sample_queues`."""
        return sample_queues([self])[0]

    def get_job(self, job_id: str) -> JobView | None:
        """Return a job, or None."""
        return self.get_jobs([job_id])[0]

    def get_jobs(self, job_ids: Sequence[str]) -> list[JobView | None]:
        """Return jobs in the order asked for; None for an id that has no job.

        A job that is in none of the other states is taken as waiting: the wait list, which may be
        very long, is not searched.
        """
        per_job = [self._job_commands(job_id) for job_id in job_ids]
        answers = run_on_any_type(
            self.client, [command for commands in per_job for command in commands]
        )
        views: list[JobView | None] = []
        for position, job_id in enumerate(job_ids):
            width = len(_SETS) + 2
            fields, in_active, *scores = answers[position * width : (position + 1) * width]
            state = _state_of(scores, is_active=in_active is not None)
            views.append(decode_view(job_id, state, fields) if fields else None)
        return views

    def _job_commands(self, job_id: str) -> list[tuple[str | bytes, ...]]:
        encoded = raw(job_id)
        scores = [("ZSCORE", self.states[state], encoded) for state in _SETS]
        return [
            ("HGETALL", raw(self.keys.job(job_id))),
            ("LPOS", self.keys.active, encoded),
            *scores,
        ]

    def list_jobs(self, state: JobState, offset: int, limit: int) -> list[JobView]:
        """Return up to ``limit`` jobs of a state, without those that have vanished meanwhile.

        Newest first; delayed ones with the one first that is due first. With several priorities
        the prioritized ones of the last priority come first, and each page is newest first.
        """
        ids = self._page(state, offset, limit, is_ascending=state is JobState.DELAYED)
        views = self._views(state, ids)
        return sort_page(state, views) if state is JobState.PRIORITIZED else views

    def jobs_to_clean(self, state: JobState, grace_ms: int, limit: int) -> list[JobView]:
        """Return up to ``limit`` jobs of a state that are older than ``grace_ms``, oldest first.

        Age counts from the end of a finished job, from the last claim of another, else from its
        making. Looks at the whole state, in pages, until it has enough.
        """
        newest_ms = self.clock.now_ms() - grace_ms
        found: list[JobView] = []
        offset = 0
        while len(found) < limit:
            ids = self._page(state, offset, _SCAN_PAGE, is_ascending=True)
            found += [view for view in self._views(state, ids) if _age_mark_ms(view) <= newest_ms]
            offset += _SCAN_PAGE
            if len(ids) < _SCAN_PAGE:
                break
        return found[:limit]

    def active_ids(self) -> list[str]:
        """Return the ids of all jobs that are claimed at this moment."""
        return self._page(JobState.ACTIVE, 0, _ALL, is_ascending=False)

    def _page(self, state: JobState, offset: int, limit: int, *, is_ascending: bool) -> list[str]:
        if limit <= 0:
            return []
        command = self.range_command(state, offset, offset + limit - 1, is_ascending=is_ascending)
        return self.read_range(state, run(self.client, *command), is_ascending=is_ascending)

    def range_command(
        self, state: JobState, start: int, end: int, *, is_ascending: bool
    ) -> tuple[Any, ...]:
        """Return the command for the ids from rank ``start`` to ``end``, both included.

        Ascending is with the one first that came first or is next to move. Negative ranks count
        from the end. :meth:`read_range` reads the answer.
        """
        key = self.states[state]
        if state in _LISTS:
            # What comes next stands on the right.
            ranks = (-(end + 1), -(start + 1)) if is_ascending else (start, end)
            return ("LRANGE", key, *ranks)
        return ("ZRANGE" if is_ascending else "ZREVRANGE", key, start, end)

    def read_range(self, state: JobState, ids: Sequence[bytes], *, is_ascending: bool) -> list[str]:
        """Return the ids that :meth:`range_command` has asked for, in their order."""
        is_reversed = is_ascending and state in _LISTS
        return [text(job_id) for job_id in (reversed(ids) if is_reversed else ids)]

    def _views(self, state: JobState, job_ids: Sequence[str]) -> list[JobView]:
        commands = [("HGETALL", raw(self.keys.job(job_id))) for job_id in job_ids]
        hashes = run_on_any_type(self.client, commands)
        pairs = zip(job_ids, hashes, strict=True)
        return [decode_view(job_id, state, fields) for job_id, fields in pairs if fields]

    def read_tallies(self, names: Sequence[str]) -> list[dict[str, int]]:
        """Return the live counters of each name; an empty dict where none were raised."""
        commands = [("HGETALL", raw(self.keys.tally(name))) for name in names]
        return [_counters(fields or {}) for fields in run_on_any_type(self.client, commands)]

    def read_totals(self) -> dict[str, int]:
        """Return ``completed``, ``failed`` and ``retried`` since this Redis began."""
        [fields] = run_on_any_type(self.client, [("HGETALL", self.keys.totals)])
        return _totals(fields)

    def read_incarnation(self) -> str | None:
        """Return the mark of this Redis' content; None when it has none, as after a loss."""
        [value] = run_on_any_type(self.client, [("GET", self.keys.incarnation)])
        return None if value is None else text(value)


def sort_page(state: JobState, views: Sequence[JobView]) -> list[JobView]:
    """Return jobs of a state as lists show them: newest first, delayed ones by when they are due.

    Those of equal times stay as they are.
    """
    if state is JobState.DELAYED:
        return sorted(views, key=lambda one: _claimed_ms(one) + one.delay_ms)
    return sorted(views, key=_PAGE_ORDER.get(state, _added_ms), reverse=True)


def sample_queues(queues: Sequence[QueueReader]) -> list[QueueSample]:
    """Return a sample of each queue of one Redis: two round trips for all, however long they are.

    Raises:
        QueueUnavailable: Redis cannot serve.
        QueueError: what should hold the jobs of a state is of another type.
    """
    if not queues:
        return []
    parts = [part for queue in queues for part in queue.parts]
    commands = [command for part in parts for command in _sample_commands(part)]
    answers = run_on_any_type(parts[0].client, commands)
    width = len(answers) // len(parts)
    rows = [answers[start : start + width] for start in range(0, len(answers), width)]
    pairs = list(zip(parts, rows, strict=True))
    timestamps = _read_timestamps([(part, _next_id(row)) for part, row in pairs])
    samples = (_sample_of(*pair, time) for pair, time in zip(pairs, timestamps, strict=True))
    return [_together(list(islice(samples, len(queue.parts)))) for queue in queues]


def _together(samples: Sequence[QueueSample]) -> QueueSample:
    """Return the sample of a queue from those of its parts: paused where one of them is."""
    if len(samples) == 1:
        return samples[0]
    ages_ms = [one.oldest_waiting_ms for one in samples if one.oldest_waiting_ms is not None]
    return QueueSample(
        counts=_sum([one.counts for one in samples]),
        totals=_sum([one.totals for one in samples]),
        is_paused=any(one.is_paused for one in samples),
        oldest_waiting_ms=max(ages_ms, default=None),
        rate_limit_ttl_ms=max(one.rate_limit_ttl_ms for one in samples),
        group_limit=next((one.group_limit for one in samples if one.group_limit), None),
    )


def _sum(counters: Sequence[Mapping[Name, int]]) -> dict[Name, int]:
    return {name: sum(each[name] for each in counters) for name in counters[0]}


def _sample_commands(queue: QueueReader) -> list[tuple[Any, ...]]:
    keys = queue.keys
    return [
        ("LINDEX", keys.wait, -1),
        ("ZRANGE", keys.prioritized, 0, 0),
        ("HGETALL", keys.totals),
        ("HMGET", keys.meta, "paused", "max", "own:grouping"),
        ("GET", keys.limiter),
        ("PTTL", keys.limiter),
        *queue.count_commands(),
    ]


def _next_id(row: Sequence[Any]) -> bytes | None:
    waiting, prioritized = row[:2]
    return waiting if waiting is not None else next(iter(prioritized or ()), None)


def _read_timestamps(next_jobs: Sequence[tuple[QueueReader, bytes | None]]) -> list[int | None]:
    """Return when each job was made; None where there is none, or it is not known."""
    asked = [(queue, job_id) for queue, job_id in next_jobs if job_id is not None]
    commands = [("HGET", raw(queue.keys.job(text(each))), "timestamp") for queue, each in asked]
    found = iter(run_on_any_type(next_jobs[0][0].client, commands))
    return [None if job_id is None else whole_number(next(found)) for _, job_id in next_jobs]


def _sample_of(queue: QueueReader, row: Sequence[Any], created_ms: int | None) -> QueueSample:
    _, _, totals, meta, used, ttl_ms, *counts = row
    if None in counts:
        raise QueueError(f"a list or set of the queue {queue.name!r} is of another type")
    paused, max_jobs, grouping = meta or (None, None, None)
    limit, started = whole_number(max_jobs), whole_number(used)
    is_used_up = limit is not None and started is not None and started >= limit
    return QueueSample(
        counts=dict(zip(queue.states, counts, strict=True)),
        totals=_totals(totals),
        is_paused=paused is not None,
        oldest_waiting_ms=None if created_ms is None else max(queue.clock.now_ms() - created_ms, 0),
        rate_limit_ttl_ms=max(ttl_ms, 0) if is_used_up else 0,
        group_limit=decode_group_limit(grouping),
    )


def _totals(fields: dict[bytes, bytes] | None) -> dict[str, int]:
    stored = _counters(fields or {})
    return {field: stored.get(field, 0) for field in ("completed", "failed", "retried")}


def _state_of(scores: Sequence[object], *, is_active: bool) -> JobState:
    for state, score in zip(_SETS, scores, strict=True):
        if score is not None:
            return state
    return JobState.ACTIVE if is_active else JobState.WAITING


def _added_ms(view: JobView) -> int:
    return view.timestamp_ms


def _claimed_ms(view: JobView) -> int:
    return view.processed_ms or view.timestamp_ms


def _ended_ms(view: JobView) -> int:
    return view.finished_ms or view.timestamp_ms


_PAGE_ORDER = {
    JobState.ACTIVE: _claimed_ms,
    JobState.COMPLETED: _ended_ms,
    JobState.FAILED: _ended_ms,
}


def _age_mark_ms(view: JobView) -> int:
    return view.finished_ms or view.processed_ms or view.timestamp_ms


def _counters(fields: dict[bytes, bytes]) -> dict[str, int]:
    return {text(field): whole_number(value) or 0 for field, value in fields.items()}
