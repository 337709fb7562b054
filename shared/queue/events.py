"""What happens in a queue, as BullMQ writes it into the queue's stream; and waiting for a job.

Node's programs, Bull Board and ours write there alike. The stream keeps about 10,000 events: who
reads more slowly than they come misses some.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared.errors import JobFailed, JobNotFound
from shared.queue.clients import connection_named
from shared.queue.connection import raw, readable, run, run_at, run_on_any_type, text
from shared.queue.inspection import QueueReader
from shared.queue.keys import worker_connection_name
from shared.queue.reading import json_or_text, whole_number

# Longest single wait for events: a stream that is closed elsewhere ends within it.
_BLOCK_S = 1.0
_PAGE = 1000
# A job that is waited for is looked at so often, whatever the stream shows of it.
_LOOK_EVERY_S = 5.0
# The fields of events that hold JSON.
_JSON_FIELDS = frozenset({("completed", "returnvalue"), ("progress", "data")})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; ``id`` is its place in the stream, ``job_id`` None if to no job.

    ``name`` and ``fields`` are BullMQ's: ``completed`` has ``returnvalue`` and ``prev``, ``failed``
    has ``failedReason``, ``progress`` has ``data``, ``delayed`` has ``delay``, the ms since 1970
    when it is due. What is to be JSON is decoded; a text that is none is given as it is.
    """

    id: str
    name: str
    job_id: str | None
    fields: Mapping[str, object]


class EventStream:
    """The events of a queue one after the other, each once. Safe for threads, which share them.

    Begins behind ``last_id``, "$" for what happens from now on, "0" for all that is kept.
    ``last_id`` is then the id of the last event that was given: a stream that begins behind it
    goes on from there.

    Raises (all methods): ``QueueUnavailable`` when Redis cannot serve; none is skipped by that.
    """

    def __init__(self, queue: QueueReader, last_id: str = "$") -> None:
        self._queue = queue
        name = worker_connection_name(queue.prefix, queue.name) + ":qe"
        self._client = connection_named(queue.client, name)
        self._pending: deque[Event] = deque()
        self._lock = threading.Lock()
        self._is_closed = False
        # "$" is where the stream ends at each call: what comes between two would be missed.
        self.last_id = self._newest_id() if last_id == "$" else last_id

    def listen(self, timeout_s: float = math.inf) -> Iterator[Event]:
        """Yield events as they come, for ``timeout_s``, or until :meth:`close`.

        With 0 those that are there already, a thousand at most.
        """
        clock = self._queue.clock
        deadline_s = clock.monotonic_s() + timeout_s
        # None: time is up, only what is read already is still given.
        left_s: float | None = max(timeout_s, 0.0)
        while not self._is_closed:
            event = self._take(left_s)
            if event is not None:
                yield event
            elif left_s is None or left_s <= 0:
                return
            left_s = deadline_s - clock.monotonic_s()
            left_s = left_s if left_s > 0 else None

    def close(self) -> None:
        """End every :meth:`listen`; returns when none of them uses the connection any more."""
        self._is_closed = True
        with self._lock:
            self._pending.clear()

    def _take(self, wait_s: float | None) -> Event | None:
        with self._lock:
            if not self._pending and wait_s is not None and not self._is_closed:
                self._pending.extend(self._read(wait_s))
            if self._is_closed or not self._pending:
                return None
            event = self._pending.popleft()
            self.last_id = event.id
            return event

    def _read(self, wait_s: float) -> Iterator[Event]:
        block_ms = int(min(wait_s, _BLOCK_S) * 1000)
        # BLOCK 0 would be for ever.
        waiting = ("BLOCK", block_ms) if block_ms > 0 else ()
        events = self._queue.keys.events
        command = ("XREAD", "COUNT", _PAGE, *waiting, "STREAMS", events, self.last_id)
        # The driver would ask a Cluster each time where in this command the key is.
        for _, entries in run_at(self._client, events, *command) or ():
            for event_id, fields in entries:
                yield _decode_event(text(event_id), fields)

    def _newest_id(self) -> str:
        entries = run(self._client, "XREVRANGE", self._queue.keys.events, "+", "-", "COUNT", 1)
        return text(entries[0][0]) if entries else "0-0"


def trim_events(queue: QueueReader, max_events: int) -> int:
    """Forget the oldest events but for about ``max_events``, rather more; return how many."""
    answer = run(queue.client, "XTRIM", queue.keys.events, "MAXLEN", "~", max(max_events, 0))
    return int(answer)


def wait_until_finished(queue: QueueReader, job_id: str, timeout_s: float | None = None) -> object:
    """Wait until a job is completed and return its result, decoded; without end if not told.

    Whoever works it: Node's workers or ours. It may be finished already, and may be removed when
    it is: what the stream says counts.

    Raises:
        JobFailed: it failed for good.
        JobNotFound: there is no such job, or it was removed unfinished.
        TimeoutError: it is not finished yet.
        QueueUnavailable: Redis cannot serve; waiting may be begun again.
    """
    # The stream is opened first: what happens after the look stands in it.
    stream = EventStream(queue)
    deadline_s = queue.clock.monotonic_s() + (math.inf if timeout_s is None else timeout_s)
    while True:
        is_there, end = _look_at(queue, job_id)
        left_s = min(deadline_s - queue.clock.monotonic_s(), _LOOK_EVERY_S)
        end = end or _find_end(stream, job_id, left_s if is_there else 0.0)
        if end is not None:
            return _result_of(job_id, end)
        if not is_there:
            raise JobNotFound(job_id)
        if queue.clock.monotonic_s() >= deadline_s:
            raise TimeoutError(f"job {job_id[:80]!r} is not finished after {timeout_s} s")


def _look_at(queue: QueueReader, job_id: str) -> tuple[bool, Event | None]:
    """Return whether a job is there, and how it ended, as the event that told it would."""
    key, member = raw(queue.keys.job(job_id)), raw(job_id)
    completed, failed, fields, is_there = run_on_any_type(
        queue.client,
        [
            ("ZSCORE", queue.keys.completed, member),
            ("ZSCORE", queue.keys.failed, member),
            ("HMGET", key, "returnvalue", "failedReason"),
            ("EXISTS", key),
        ],
    )
    result, reason = fields or (None, None)
    # One that was removed between these commands has no text: its end stands in the stream.
    if completed is not None and (result is not None or is_there):
        return True, _decode_event("", {b"event": b"completed", b"returnvalue": result or b"null"})
    if failed is not None and (reason is not None or is_there):
        return True, _decode_event("", {b"event": b"failed", b"failedReason": reason or b""})
    return bool(is_there), None


def _find_end(stream: EventStream, job_id: str, wait_s: float) -> Event | None:
    for event in stream.listen(wait_s):
        if event.job_id == job_id and event.name in ("completed", "failed", "removed"):
            return event
    return None


def _result_of(job_id: str, end: Event) -> object:
    if end.name == "completed":
        return end.fields.get("returnvalue")
    if end.name == "failed":
        reason = str(end.fields.get("failedReason") or f"job {job_id[:80]!r} failed for no reason")
        raise JobFailed(job_id, reason)
    raise JobNotFound(job_id)


def _decode_event(event_id: str, fields: Mapping[bytes, bytes]) -> Event:
    shown = {text(field): value for field, value in fields.items()}
    name = readable(shown.pop("event", b"")) or ""
    job_id = shown.pop("jobId", None)
    return Event(
        id=event_id,
        name=name,
        job_id=None if job_id is None else text(job_id),
        fields={field: _decode_field(name, field, value) for field, value in shown.items()},
    )


def _decode_field(event_name: str, field: str, value: bytes) -> object:
    decoded = readable(value) or ""
    if (event_name, field) in _JSON_FIELDS:
        return json_or_text(decoded)
    if (event_name, field) == ("delayed", "delay"):
        return whole_number(value)
    return decoded
