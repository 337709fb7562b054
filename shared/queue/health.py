"""What a Redis reports of itself, what its login may do, and whether jobs and lists fit together.

The reports only read, and look at a bounded number of jobs; rights are found out by trying them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import ResponseError

from shared.clock import Clock
from shared.errors import QueueError, QueueFull, QueueRefused
from shared.queue.clusters import is_cluster_client
from shared.queue.connection import (
    RedisConnection,
    call,
    call_unloaded,
    map_error,
    raw,
    run,
    run_all,
    run_at,
    run_on_any_type,
    text,
)
from shared.queue.inspection import QueueReader
from shared.queue.job import JobState, RateLimit
from shared.queue.keys import QueueKeys, glob_of, may_be_job, worker_connection_name
from shared.queue.reading import whole_number

_PAGE = 1000
# Keys of all of Redis that one search for a queue's jobs walks past.
_MAX_SCANNED = 500_000
_SCRIPT = "probe"
_MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class RedisReport:
    """What a Redis says of itself; None where it does not tell.

    ``clock_ahead_ms`` is against this machine's clock, known to half of ``round_trip_ms``.
    ``is_followed``: where the keys of a Cluster go, the client goes too.
    ``max_bytes`` 0 is no limit. ``is_told``: INFO was answered; where it is forbidden, all that
    comes from it is unknown, and stands here as nothing or None.
    """

    version: str
    role: str
    is_cluster: bool
    eviction_policy: str | None
    is_append_only: bool
    is_append_ok: bool
    has_snapshots: bool | None
    is_snapshot_ok: bool
    used_bytes: int
    max_bytes: int
    clock_ahead_ms: int | None
    round_trip_ms: int
    is_told: bool = True
    is_followed: bool = False


@dataclass(frozen=True, slots=True)
class QueueLook:
    """One look at a queue that others work on meanwhile.

    ``without_hash``: ids in a line or set that no job stands behind; ``without_state``: jobs that
    are in none; ``without_lock``: claimed ones that nobody holds. Moving jobs may show up in one
    look, those of a broken queue in the next one too, see :meth:`and_later`. ``is_whole``: no job
    was left out. ``workers`` is None where Redis does not tell who is connected.
    """

    counts: Mapping[JobState, int]
    is_paused: bool
    rate_limit: RateLimit | None
    workers: int | None
    without_hash: frozenset[str]
    without_state: frozenset[str]
    without_lock: frozenset[str]
    is_whole: bool

    @property
    def is_suspicious(self) -> bool:
        """Whether another look is needed to know."""
        return bool(self.without_hash or self.without_state or self.without_lock)

    def and_later(self, later: "QueueLook") -> "QueueLook":
        """Return the later look with what both have seen."""
        return replace(
            later,
            without_hash=self.without_hash & later.without_hash,
            without_state=self.without_state & later.without_state,
            without_lock=self.without_lock & later.without_lock,
        )


def examine_redis(client: RedisConnection, clock: Clock, *, prefix: str = "bull") -> RedisReport:
    """Ask Redis about itself, as far as it lets us; of a Cluster the node of this prefix's keys.

    Raises:
        QueueError: it does not answer.
    """
    base = f"{prefix}:"
    info: dict[str, Any] | None = _ask_optional(client, base, "INFO")
    is_told, info = info is not None, info or {}
    asked_ms = clock.now_ms()
    time = _ask_optional(client, base, "TIME")
    answered_ms = clock.now_ms()
    appends = (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status"))
    return RedisReport(
        version=str(info.get("redis_version", "unknown")),
        role=str(info.get("role", "unknown")),
        is_cluster=bool(info.get("cluster_enabled")),
        eviction_policy=info.get("maxmemory_policy"),
        is_append_only=bool(info.get("aof_enabled")),
        is_append_ok="err" not in appends,
        has_snapshots=_has_snapshots(client, base),
        is_snapshot_ok=info.get("rdb_last_bgsave_status") != "err",
        used_bytes=int(info.get("used_memory", 0)),
        max_bytes=int(info.get("maxmemory", 0)),
        clock_ahead_ms=_to_ms(time) - (asked_ms + answered_ms) // 2 if time is not None else None,
        round_trip_ms=answered_ms - asked_ms,
        is_told=is_told,
        is_followed=is_cluster_client(client),
    )


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A connection that waits for jobs of a queue; ``name`` is the worker's own, if it has one.

    ``age_s``: since it was made. ``idle_s``: since it last asked for something.
    """

    name: str | None
    address: str
    age_s: int
    idle_s: int


def list_workers(queue: QueueReader) -> list[WorkerInfo] | None:
    """Return who waits for a queue's jobs, Node's workers too; None if Redis hides it.

    These are connections: of a process that works several queues each queue has its own.
    """
    unnamed = worker_connection_name(queue.prefix, queue.name)
    clients: list[dict[str, str]] | None = _ask_optional(
        queue.client, queue.keys.base, "CLIENT LIST"
    )
    if clients is None:
        return None
    own = f"{unnamed}:w:"
    return [
        _worker_info(each, each["name"].removeprefix(own) if each["name"] != unnamed else None)
        for each in clients
        if each["name"] == unnamed or each["name"].startswith(own)
    ]


def _worker_info(client: Mapping[str, str], name: str | None) -> WorkerInfo:
    return WorkerInfo(
        name=name,
        address=client.get("addr", ""),
        age_s=whole_number(client.get("age")) or 0,
        idle_s=whole_number(client.get("idle")) or 0,
    )


class QueueExaminer(QueueReader):
    """Looks at whether a queue's parts fit together. Many round trips; nothing is changed."""

    def look(self, max_jobs: int) -> QueueLook:
        """Look at up to ``max_jobs`` jobs of each state, the ones first that are next to move."""
        counts = self.counts()
        ids = {state: list(self._ids(state, max_jobs)) for state in counts}
        listed = {job_id for in_state in ids.values() for job_id in in_state}
        is_whole = all(count <= max_jobs for count in counts.values())
        hashes, is_scanned = self._scan_jobs() if is_whole else (set(), False)
        paused = {text(job_id) for job_id in run(self.client, "LRANGE", self.keys.paused, 0, -1)}
        return QueueLook(
            counts=counts,
            is_paused=self.is_paused(),
            rate_limit=self._read_rate_limit(),
            workers=self.count_workers(),
            without_hash=frozenset(self.find_absent(sorted(listed))),
            without_state=frozenset(hashes - listed - paused),
            without_lock=frozenset(self._find_unlocked(ids[JobState.ACTIVE])),
            is_whole=is_whole and is_scanned,
        )

    def find_absent(self, job_ids: Sequence[str]) -> list[str]:
        """Return those of these ids that have no job."""
        keys = [self.keys.job(job_id) for job_id in job_ids]
        return [job_ids[place] for place in self._missing_places(keys)]

    def read_waiting(self, max_jobs: int) -> dict[str, str]:
        """Return names of up to ``max_jobs`` waiting jobs by id, of those that have one."""
        ids = list(self._ids(JobState.WAITING, max_jobs))
        names = run_on_any_type(
            self.client, [("HGET", raw(self.keys.job(one)), "name") for one in ids]
        )
        return {
            job_id: text(name) for job_id, name in zip(ids, names, strict=True) if name is not None
        }

    def count_workers(self) -> int | None:
        """Return how many connections wait here for jobs, or have; None if Redis hides them."""
        workers = list_workers(self)
        return None if workers is None else len(workers)

    def _ids(self, state: JobState, max_jobs: int) -> Iterator[str]:
        for offset in range(0, max_jobs, _PAGE):
            page = self._page(state, offset, min(_PAGE, max_jobs - offset), is_ascending=True)
            yield from page
            if len(page) < _PAGE:
                return

    def _scan_jobs(self) -> tuple[set[str], bool]:
        """Return the ids of all hashes that may be jobs, and whether all of Redis was searched."""
        found: set[str] = set()
        cursor, pattern = 0, glob_of(self.keys.base)
        for _ in range(_MAX_SCANNED // _PAGE):
            command = ("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE, "TYPE", "hash")
            answer = _ask_optional(self.client, self.keys.base, *command)
            if answer is None:
                return set(), False
            cursor, keys = answer
            found |= {text(key).removeprefix(self.keys.base) for key in keys}
            if int(cursor) == 0:
                break
        return {name for name in found if may_be_job(name)}, int(cursor) == 0

    def _find_unlocked(self, job_ids: Sequence[str]) -> list[str]:
        places = self._missing_places([self.keys.lock(job_id) for job_id in job_ids])
        return [job_ids[place] for place in places]

    def _missing_places(self, keys: Sequence[str]) -> Iterator[int]:
        for start in range(0, len(keys), _PAGE):
            page = [("EXISTS", raw(key)) for key in keys[start : start + _PAGE]]
            for place, is_there in enumerate(run_all(self.client, page)):
                if not is_there:
                    yield start + place

    def _read_rate_limit(self) -> RateLimit | None:
        [stored] = run_on_any_type(self.client, [("HMGET", self.keys.meta, "max", "duration")])
        max_jobs, duration_ms = map(whole_number, stored or (None, None))
        return RateLimit(max_jobs, duration_ms or 0) if max_jobs else None


def _has_snapshots(client: RedisConnection, base: str) -> bool | None:
    answer = _ask_optional(client, base, "CONFIG GET", "save")
    return None if answer is None else bool(answer.get("save"))


def _ask_optional(client: RedisConnection, base: str, *command: str | int) -> Any:
    """Return an answer; None where Redis refuses it, as hosted ones do."""
    try:
        return run_at(client, base, *command)
    except QueueRefused:
        return None
    except QueueError as exc:
        if exc.retryable:
            raise
        return None


def _to_ms(time: Sequence[Any]) -> int:
    seconds, microseconds = time
    return int(seconds) * 1000 + int(microseconds) // 1000


def check_permissions(client: RedisConnection, prefix: str, queue_names: Sequence[str]) -> None:
    """Do once all that the queues of these names need, on keys of their own.

    Nothing is left behind, and any number of processes may check at once. A full Redis passes:
    jobs can still be settled there. Four round trips.

    Raises:
        QueueRefused: it refuses something; the text names everything that it refuses.
        QueueUnavailable: it cannot serve now, being a replica or loading, for example.
    """
    # The last one is for what is kept beside the queues, as the workers' signs of life.
    bases = (*(QueueKeys(prefix, name).base for name in queue_names), f"{prefix}:")
    refused = dict(_find_refused_in_scripts(client, bases))
    refused |= _refusal_of(client, bases[0], "PING")
    refused |= _refusal_of_waiting(client, bases[0])
    _raise_if_any(refused)


def probe_queue(client: RedisConnection, base: str) -> None:
    """Do what one queue needs, as a sign that its jobs can be moved; two round trips.

    Raises:
        QueueRefused: Redis refuses scripts, or a command.
        QueueUnavailable: it cannot serve now.
    """
    refused = dict(_read_refused(call(client, _SCRIPT, (base,), [])))
    refused |= _refusal_of_waiting(client, base)
    _raise_if_any(refused)


def allows_client_names(client: RedisConnection, *, prefix: str = "bull") -> bool:
    """Return whether connections may have names, by which BullMQ finds a queue's workers."""
    try:
        run_at(client, f"{prefix}:", "CLIENT SETNAME", "")
    except QueueRefused:
        return False
    return True


def _find_refused_in_scripts(
    client: RedisConnection, bases: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    # By EVAL first: EVALSHA is enough only until Redis forgets a script.
    for run_script in (call_unloaded, call):
        try:
            yield from _read_refused(run_script(client, _SCRIPT, bases, []))
        except QueueRefused as exc:
            if exc.is_cluster:
                raise
            yield exc.what, _words_of(exc)


def _read_refused(answer: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """Yield the commands that a probe met with a refusal, each with Redis' words."""
    for command, words in zip(answer[::2], answer[1::2], strict=True):
        error = map_error(ResponseError(text(words)))
        if isinstance(error, QueueFull):
            continue
        if not isinstance(error, QueueRefused):
            raise error
        yield text(command), _words_of(error)


def _refusal_of_waiting(client: RedisConnection, base: str) -> Mapping[str, str]:
    # Not from a script: Redis 6 lets none wait. Rights are looked at before arguments are: where
    # it is allowed, the answer comes at once, an error about a time to wait that is none.
    return _refusal_of(client, base, "BZPOPMIN", f"{base}own:probe", "not at all")


def _refusal_of(client: RedisConnection, base: str, *command: Any) -> Mapping[str, str]:
    try:
        run_at(client, base, *command)
    except QueueRefused as exc:
        return {exc.what: _words_of(exc)}
    except QueueError as exc:
        if exc.retryable:
            raise
    return {}


def _words_of(error: QueueRefused) -> str:
    return str(error).partition(": ")[2] or str(error)


def _raise_if_any(refused: Mapping[str, str]) -> None:
    if refused:
        names = _name_some(refused)
        words = next(iter(refused.values()))
        raise QueueRefused(f"Redis refuses its login {names} ({words})", what=names)


def _name_some(refused: Mapping[str, str]) -> str:
    names = sorted(refused)
    more = len(names) - _MAX_NAMED
    shown = ", ".join(names[:_MAX_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown
