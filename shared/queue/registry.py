"""Which queues programs have of their own: workers write it down, servers show them.

At ``<prefix>:own:queues``: a hash, name to JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from shared.clock import Clock
from shared.queue.connection import RedisConnection, raw, run, text
from shared.queue.job import JobState, RateLimit
from shared.queue.job_queue import JobQueue

# A worker registers again and again: Redis may be emptied.
REGISTER_EVERY_S = 600.0
MAX_WEIGHT_LENGTH = 40
# Instead of a weight: nobody need work its jobs.
DEAD_LETTERS = "dead-letter"
FORGET_AFTER_MS = 7 * 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A queue of a program's own: how heavy its jobs are, and how many may start.

    One that only takes dead letters has ``DEAD_LETTERS`` instead of a weight.
    ``schedules`` are the ids of the schedulers that its program makes.
    """

    name: str
    weight: str
    limit: RateLimit | None = None
    schedules: tuple[str, ...] = ()


class QueueRegistry:
    """The queues of programs under one prefix. Safe for threads.

    Raises (all methods): ``QueueUnavailable`` when Redis cannot serve.
    """

    def __init__(self, client: RedisConnection, *, prefix: str, clock: Clock) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._key = f"{prefix}:own:queues"

    def register(self, records: Sequence[QueueRecord]) -> None:
        """Write queues down as worked now."""
        now_ms = self._clock.now_ms()
        fields = [part for each in records for part in (raw(each.name), _encode(each, now_ms))]
        if fields:
            run(self._client, "HSET", self._key, *fields)

    def read(self) -> list[QueueRecord]:
        """Return the queues by name; those that nobody has worked for a week only with jobs.

        Such a queue without any is forgotten. What cannot be read is left out.
        """
        answer = run(self._client, "HGETALL", self._key)
        found = [_decode(text(name), record) for name, record in sorted(answer.items())]
        kept = []
        for record, at_ms in filter(None, found):
            if at_ms > self._clock.now_ms() - FORGET_AFTER_MS or self._has_jobs(record.name):
                kept.append(record)
            else:
                run(self._client, "HDEL", self._key, raw(record.name))
        return kept

    def _has_jobs(self, name: str) -> bool:
        counts = JobQueue(self._client, name, prefix=self._prefix, clock=self._clock).counts()
        return any(count for state, count in counts.items() if state is not JobState.COMPLETED)


def _encode(record: QueueRecord, now_ms: int) -> bytes:
    limit = record.limit
    written = {
        "weight": record.weight,
        "limit": None if limit is None else [limit.max_jobs, limit.duration_ms],
        "schedules": record.schedules,
        "at": now_ms,
    }
    return orjson.dumps(written)


def _decode(name: str, written: bytes) -> tuple[QueueRecord, int] | None:
    """Return a record and when it was written; None for one that cannot be read."""
    try:
        read = orjson.loads(written)
        weight, at_ms = read["weight"], read["at"]
        is_shown = name.isprintable() and weight.isprintable() and len(weight) <= MAX_WEIGHT_LENGTH
        if not name or ":" in name or not is_shown or not isinstance(at_ms, int):
            return None
        schedules = tuple(str(each) for each in read.get("schedules") or ())
        return QueueRecord(name, weight, _read_limit(read["limit"]), schedules), at_ms
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_limit(written: object) -> RateLimit | None:
    if written is None:
        return None
    max_jobs, duration_ms = (max(int(each), 1) for each in written)  # type: ignore[attr-defined]
    return RateLimit(max_jobs, duration_ms)
