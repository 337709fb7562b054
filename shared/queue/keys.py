"""All names in Redis, and which job ids they leave room for."""

import re
from base64 import b64encode

from shared.errors import InvalidJobId, QueueError

# The keys of a queue that the scripts name by themselves, in the order of `NAMES` in layout.lua.
QUEUE_KEYS = (
    "wait",
    "paused",
    "active",
    "prioritized",
    "pc",
    "delayed",
    "waiting-children",
    "completed",
    "failed",
    "stalled",
    "limiter",
    "meta",
    "id",
    "events",
    "marker",
)

_RESERVED_IDS = frozenset(QUEUE_KEYS) | {"stalled-check", "repeat", "de", "dn", "priority", "delay"}
_RESERVED_PREFIXES = ("0:", "own:", "de:", "dn:", "repeat:", "metrics:")
_RESERVED_SUFFIXES = (
    ":lock",
    ":logs",
    ":dependencies",
    ":processed",
    ":failed",
    ":unsuccessful",
)
_ANY_PREFIX = r"[^:{}]*\{[^}]*\}[^:]*|[^:]*"
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


class QueueKeys:
    """The keys of one queue. ``base`` ("bull:name:") starts all of them."""

    def __init__(self, prefix: str, name: str) -> None:
        if not name or ":" in name:
            raise QueueError(f"queue name {name!r} must be non-empty and without ':'")
        self.base = f"{prefix}:{name}:"
        self.wait = self.base + "wait"
        self.paused = self.base + "paused"
        self.active = self.base + "active"
        self.prioritized = self.base + "prioritized"
        self.delayed = self.base + "delayed"
        self.waiting_children = self.base + "waiting-children"
        self.completed = self.base + "completed"
        self.failed = self.base + "failed"
        self.limiter = self.base + "limiter"
        self.meta = self.base + "meta"
        self.events = self.base + "events"
        self.marker = self.base + "marker"
        self.repeat = self.base + "repeat"
        self.totals = self.base + "own:totals"
        self.incarnation = self.base + "own:incarnation"

    def job(self, job_id: str) -> str:
        """Return the key of a job's hash."""
        return self.base + job_id

    def logs(self, job_id: str) -> str:
        """Return the key of the lines that a job's handlers logged."""
        return self.job(job_id) + ":logs"

    def metrics(self, state: str) -> str:
        """Return the key of what workers count of jobs that end in this state."""
        return f"{self.base}metrics:{state}"

    def deduplication(self, dedup_id: str) -> str:
        """Return the key that names the job that owns a deduplication id."""
        return f"{self.base}de:{dedup_id}"

    def lock(self, job_id: str) -> str:
        """Return the key that is there while somebody holds a job."""
        return f"{self.base}{job_id}:lock"

    def tally(self, name: str) -> str:
        """Return the key of the live counters that jobs with this tally raise."""
        return f"{self.base}own:tally:{name}"


def worker_connection_name(prefix: str, queue_name: str, worker_name: str | None = None) -> str:
    """Return the client name by which BullMQ's ``getWorkers`` finds who waits for jobs."""
    unnamed = f"{prefix}:{b64encode(queue_name.encode()).decode()}"
    return unnamed if worker_name is None else f"{unnamed}:w:{worker_name}"


def may_be_job(name: str) -> bool:
    """Return whether a key of a queue, without its base, is a job's: also a Node producer's."""
    return not (
        name in _RESERVED_IDS
        or name.startswith(_RESERVED_PREFIXES)
        or name.endswith(_RESERVED_SUFFIXES)
    )


def is_own_key(name: str) -> bool:
    """Return whether a key of a queue, without its base, is the queue's own, and never a job's."""
    is_of_scheduler = name.startswith("repeat:") and name.count(":") > 1
    return name in _RESERVED_IDS or (name.startswith(_RESERVED_PREFIXES) and not is_of_scheduler)


def split_job_key(key: str, prefix: str) -> tuple[str, str, str] | None:
    """Return the prefix, the queue's name and the id of a job's key; None for another key.

    ``prefix`` is the likely one, and may hold colons. Of another one its tag in braces, or else its
    first part, is taken for all of it. Names of queues hold no colon; ids may.
    """
    found = re.match(rf"({re.escape(prefix)}|{_ANY_PREFIX}):([^:]+):(.+)", key, re.DOTALL)
    return (found[1], found[2], found[3]) if found else None


def glob_of(base: str) -> str:
    """Return the pattern for SCAN that finds all keys beginning with ``base``."""
    return "".join("\\" + c if c in "*?[]\\^" else c for c in base) + "*"


def check_job_id(job_id: str) -> str:
    """Return an id that a new job may have.

    Colons are allowed, for item ids hold URLs; Node reads such jobs, but would not add them.

    Raises:
        InvalidJobId: empty, an integer, or a name of the layout's own.
    """
    if not job_id:
        raise InvalidJobId(job_id, "is empty")
    if _INTEGER.fullmatch(job_id):
        raise InvalidJobId(job_id, "is an integer, as BullMQ's own ids are")
    if job_id in _RESERVED_IDS or job_id.startswith(_RESERVED_PREFIXES):
        raise InvalidJobId(job_id, "names a key of the queue itself")
    if job_id.endswith(_RESERVED_SUFFIXES):
        raise InvalidJobId(job_id, "ends like a key that belongs to another job")
    return job_id
