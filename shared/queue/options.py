"""What may be asked of a job when it is added, and how BullMQ stores it. Pure.

Names are BullMQ's in Python's case; times are in ms, ages in seconds, as BullMQ has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import InvalidJobId, InvalidJobOptions
from shared.queue.keys import check_job_id
from shared.queue.option_readers import (
    Readers,
    read_bool,
    read_option,
    read_text,
    whole_between,
)

MAX_PRIORITY = 2_097_151
# Scores of delayed jobs are exact until 2039.
MAX_DELAY_MS = 10 * 365 * 24 * 60 * 60 * 1000
MAX_WHOLE = 2**53 - 1
# So many parts an id with colons has in BullMQ: those of its old repeated jobs.
ID_PARTS = 3

Keep = bool | int | Mapping[str, int]


class ParentRule(StrEnum):
    """What a child's final failure does to its parent; the value is BullMQ's stored name."""

    FAIL = "fpof"
    """The parent fails too."""
    CONTINUE = "cpof"
    """The parent runs at once, with the other children still open."""
    IGNORE = "idof"
    """The parent runs when the others are done, and can read this failure."""
    REMOVE = "rdof"
    """The parent runs when the others are done, as if this child had never been."""


@dataclass(frozen=True, slots=True)
class Deduplication:
    """Jobs with one ``id`` stand for one another while the id is owned.

    It is owned until its owner ends, or for ``ttl`` ms. ``extend``: a refused add renews the ttl.
    ``replace``: a delayed owner gives way to the new job. ``keep_last_if_active``: what was refused
    last while the owner ran starts when it is done. ``reschedule``: a delayed owner waits anew.
    """

    id: str
    ttl: int | None = None
    extend: bool = False
    replace: bool = False
    keep_last_if_active: bool = False
    reschedule: bool = False


@dataclass(frozen=True, slots=True)
class ParentRef:
    """The job that waits for this one: its id, and its queue with the prefix ("bull:name")."""

    id: str
    queue: str


@dataclass(frozen=True, slots=True)
class JobOptions:
    """A job's options, checked; None stands for what was not asked."""

    job_id: str | None = None
    delay: int | None = None
    priority: int | None = None
    attempts: int = 0
    backoff: Mapping[str, object] | None = None
    lifo: bool | None = None
    remove_on_complete: Keep | None = None
    remove_on_fail: Keep | None = None
    deduplication: Deduplication | None = None
    parent: ParentRef | None = None
    on_failure: ParentRule | None = None
    keep_logs: int | None = None
    stack_trace_limit: int | None = None
    size_limit: int | None = None
    timestamp: int | None = None


_RULES = {
    "fail_parent_on_failure": ParentRule.FAIL,
    "continue_parent_on_failure": ParentRule.CONTINUE,
    "ignore_dependency_on_failure": ParentRule.IGNORE,
    "remove_dependency_on_failure": ParentRule.REMOVE,
}
# By the names of the fields that BullMQ stores as they are.
_STORED = {
    "job_id": "jobId",
    "delay": "delay",
    "priority": "priority",
    "attempts": "attempts",
    "backoff": "backoff",
    "lifo": "lifo",
    "remove_on_complete": "removeOnComplete",
    "remove_on_fail": "removeOnFail",
    "keep_logs": "kl",
    "stack_trace_limit": "stackTraceLimit",
    "size_limit": "sizeLimit",
    "timestamp": "timestamp",
}
_STORED_DEDUPLICATION = {
    "ttl": "ttl",
    "extend": "extend",
    "replace": "replace",
    "keep_last_if_active": "keepLastIfActive",
    "reschedule": "reschedule",
}


def read_options(defaults: Mapping[str, object], given: Mapping[str, object]) -> JobOptions:
    """Return a job's options: those of the queue, and above them its own. None is not given.

    Raises:
        InvalidJobOptions: one line that names the option, its value and what is accepted.
        InvalidJobId: a ``job_id`` that BullMQ would not take, or that its layout reserves.
    """
    if defaults.get("job_id") is not None:
        raise InvalidJobOptions("job_id", defaults["job_id"], "none as a default: it names one job")
    merged = {name: value for name, value in {**defaults, **given}.items() if value is not None}
    rules = [rule for name, rule in _RULES.items() if _read_flag(name, merged.pop(name, False))]
    if len(rules) > 1:
        names = ", ".join(name for name, rule in _RULES.items() if rule in rules)
        raise InvalidJobOptions(names, True, "one of them at most")
    values = {
        name: read_option(_READERS, name, value, others=_RULES) for name, value in merged.items()
    }
    options = JobOptions(**values, on_failure=rules[0] if rules else None)
    if options.deduplication is not None and options.parent is not None:
        raise InvalidJobOptions("deduplication", options.deduplication.id, "none with a parent")
    return options


def opts_json(options: JobOptions) -> dict[str, object]:
    """Return ``opts`` as BullMQ stores it: ``attempts`` always, others only where given."""
    stored: dict[str, object] = {}
    for name, stored_name in _STORED.items():
        value = getattr(options, name)
        if value is not None:
            stored[stored_name] = value
    if options.on_failure is not None:
        stored[options.on_failure.value] = True
    if options.parent is not None:
        stored["parent"] = {"id": options.parent.id, "queue": options.parent.queue}
    if options.deduplication is not None:
        stored["de"] = deduplication_json(options.deduplication)
    return stored


def deduplication_json(deduplication: Deduplication) -> dict[str, object]:
    """Return a deduplication as BullMQ stores it."""
    stored: dict[str, object] = {"id": deduplication.id}
    for name, stored_name in _STORED_DEDUPLICATION.items():
        value = getattr(deduplication, name)
        if value:
            stored[stored_name] = value
    return stored


def check_payload_id(job_id: str) -> str:
    """Return an id that a job may be added with, by BullMQ's own rules.

    Raises:
        InvalidJobId: empty, an integer, with a colon, or a name of the layout's own.
    """
    if ":" in job_id and len(job_id.split(":")) != ID_PARTS:
        raise InvalidJobId(job_id, "has a colon, which BullMQ refuses")
    return check_job_id(job_id)


def _read_flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidJobOptions(name, value, "True or False")
    return value


_read_count = whole_between(0, MAX_WHOLE)
_read_delay = whole_between(0, MAX_DELAY_MS)


def _read_mapping(value: object, known: set[str]) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not set(value) <= known:
        raise ValueError(value)
    return value


def _read_backoff(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        return {"type": "fixed", "delay": _read_delay(value)}
    backoff = dict(_read_mapping(value, {"type", "delay", "jitter"}))
    read_text(backoff.get("type"))
    _read_delay(backoff.get("delay", 0))
    jitter = backoff.get("jitter", 0)
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
        raise ValueError(value)
    return backoff


def _read_keep(value: object) -> Keep:
    if isinstance(value, bool):
        return value
    if not isinstance(value, Mapping):
        return _read_count(value)
    keep = _read_mapping(value, {"count", "age", "limit"})
    return {name: _read_count(count) for name, count in keep.items()}


def _read_deduplication(value: object) -> Deduplication:
    given = _read_mapping(value, {"id", *_STORED_DEDUPLICATION})
    flags = {name: read_bool(flag) for name, flag in given.items() if name not in ("id", "ttl")}
    ttl = _read_delay(given["ttl"]) if given.get("ttl") is not None else None
    return Deduplication(read_text(given.get("id")), ttl, **flags)


def _read_parent(value: object) -> ParentRef:
    given = _read_mapping(value, {"id", "queue"})
    return ParentRef(read_text(given.get("id")), read_text(given.get("queue")))


_KEEP_ACCEPTED = "True, False, a count, or a mapping of count, age (s) and limit"
_COUNT_ACCEPTED = "a whole number from 0"
_DELAY_ACCEPTED = f"whole milliseconds from 0 to {MAX_DELAY_MS}"
_READERS: Readers = {
    "job_id": (check_payload_id, "a text"),
    "delay": (_read_delay, _DELAY_ACCEPTED),
    "priority": (whole_between(0, MAX_PRIORITY), f"a whole number from 0 to {MAX_PRIORITY}"),
    "attempts": (_read_count, _COUNT_ACCEPTED),
    "backoff": (
        _read_backoff,
        "milliseconds, or a mapping of type, delay (ms) and jitter (0 to 1)",
    ),
    "lifo": (read_bool, "True or False"),
    "remove_on_complete": (_read_keep, _KEEP_ACCEPTED),
    "remove_on_fail": (_read_keep, _KEEP_ACCEPTED),
    "deduplication": (
        _read_deduplication,
        f"a mapping of id and, if wanted, {', '.join(_STORED_DEDUPLICATION)}",
    ),
    "parent": (_read_parent, "a mapping of id and queue, the queue with its prefix"),
    "keep_logs": (_read_count, _COUNT_ACCEPTED),
    "stack_trace_limit": (_read_count, _COUNT_ACCEPTED),
    "size_limit": (_read_count, "bytes, a whole number from 0"),
    "timestamp": (_read_count, "milliseconds since 1970"),
}
